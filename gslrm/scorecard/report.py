"""A scorecard as files: a page, tables for documents, pictures, and JSON."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from gslrm.data.sample import read_sample
from gslrm.evaluation.disturbance import Received
from gslrm.evaluation.summary import gains, intervals, per_camera, summarise
from gslrm.export import replacing, write_json, write_picture
from gslrm.reconstruct import Reconstructor
from gslrm.scorecard.marks import marks_of
from gslrm.scorecard.page import facts_of, scorecard_page
from gslrm.scorecard.pictures import sample_sheet
from gslrm.scorecard.results import HEADLINE, Results
from gslrm.scorecard.scores import reconstruct
from gslrm.scorecard.tables import all_tables

WORST = 3


def write_report(
    folder: Path, reconstructor: Reconstructor, results: Results, *, every: tuple[int, ...], about: Mapping[str, Any]
) -> None:
    """Write index.html, tables.md, scorecard.json and pictures/ into a folder.

    Raises:
        UserError: they cannot be written, or an image of a sample is damaged.
    """
    pictures = draw_pictures(folder / "pictures", reconstructor, results, every)
    tables = all_tables(results)
    write_json(
        folder / "scorecard.json",
        {
            "about": dict(about),
            "marks": [asdict(mark) | {"is_met": mark.is_met} for mark in marks_of(results)],
            "settings": {setting.name: asdict(setting) for setting in results.settings},
            "summary": {setting.name: summarise(results.scores[setting.name]) for setting in results.settings},
            "intervals": intervals(results.whole),
            "gains": gains(results.whole),
            "cameras": per_camera(results.whole),
            "seconds": dict(results.seconds),
            "tables": {name: asdict(rows) for name, rows in tables.items()},
        },
    )
    facts = "\n".join(f"- {fact}" for fact in facts_of(about))
    _write(folder / "tables.md", "\n\n".join([facts, *(rows.markdown() for rows in tables.values())]) + "\n")
    content = {caption: path.read_bytes() for caption, path in pictures.items()}
    _write(folder / "index.html", scorecard_page(results, about, content))


def draw_pictures(
    folder: Path, reconstructor: Reconstructor, results: Results, every: tuple[int, ...]
) -> dict[str, Path]:
    """Sheets of the worst samples and of the middle one, by caption."""
    ranked = results.samples_by_score()
    chosen = {f"worst_{rank}": directory for rank, directory in enumerate(ranked[:WORST], start=1)}
    if len(ranked) > 2 * WORST:
        chosen["middle"] = ranked[len(ranked) // 2]
    drawn = {}
    for name, directory in chosen.items():
        sample = read_sample(Path(directory))
        scores = [score for score in results.whole if score.directory == directory]
        reconstruction = reconstruct(Received(reconstructor, sample), every)
        path = folder / f"{name}.png"
        write_picture(path, sample_sheet(reconstructor, sample, reconstruction, scores))
        mean = results.of_sample(directory)[HEADLINE]
        drawn[f"{name.replace('_', ' ')}: {sample.name}, psnr_crop {mean:.2f} dB; its worst views"] = path
    return drawn


def _write(path: Path, text: str) -> None:
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
