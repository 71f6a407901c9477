"""The report of one run: a self-contained page under 5 MB, at the end of training or at any time before."""

import math
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

from gslrm.errors import UserError
from gslrm.export import replacing
from gslrm.html_page import Html, details, figures, number, paragraph, section, side_by_side, table, verdict
from gslrm.training.log import METRICS_FILE, SAMPLES
from gslrm.training.report.curves import (
    HEADLINE,
    MEMORISING,
    cost_plots,
    cost_table,
    score_table,
    training_plots,
    validated_metrics,
    validation_plots,
)
from gslrm.training.report.embed import code, document, encode_picture, preformatted, video, zoomable
from gslrm.training.report.record import Drawn, RunRecord, read_run
from gslrm.training.skips import REASONS

REPORT_FILE = "report.html"
PICTURE_BYTES = 420_000  # of one picture; six of them and a video stay below 5 MB in base64
VIDEO_BYTES = 1_000_000
MAX_PICTURES = 6
MAX_SKIPS = 50  # rows of the table of skipped updates
MAX_TEXT = 100_000  # characters of config.yaml
FIRST_AND_LAST = ("val_gt_vs_pred", "train_gt_vs_pred")
TIMED = "Seconds are means over passes, without the first, which starts workers and compiles."
STYLE = """pre { font-size: 0.8125rem; margin: 8px 0; }
figure label { color: var(--quiet); font-size: 0.875rem; }
figure:has(.zoom:checked) img { max-width: none; }
"""


def write_report(run_dir: Path, output: Path | None = None) -> Path:
    """Write the report of a run folder, by default to `report.html` in it; what cannot be read is named on the page.

    Raises:
        UserError: there is no run in the folder, or the page cannot be written.
    """
    record = read_run(run_dir)
    path = output or run_dir / REPORT_FILE
    content = render_report(record)
    with replacing(path) as temporary:
        temporary.write_text(content, encoding="utf-8")
    return path


def render_report(record: RunRecord) -> str:
    """The page of a run."""
    metrics = validated_metrics(record)
    shown = [metric for metric in metrics if metric in HEADLINE]
    others = [metric for metric in metrics if metric not in HEADLINE]
    validation = [score_table(record, shown), validation_plots(record, shown)]
    if others:
        validation.append(details("More scores", score_table(record, others), validation_plots(record, others)))
    parts = [
        _state(record),
        _memorising(record),
        _headline(record),
        *(paragraph(problem, "note") for problem in record.problems),
        section("Held-out and input views", paragraph(_explain(), "note"), *validation),
        _pictures(record),
        _turntable(record),
        section("Training", training_plots(record)),
        section("Time and memory", paragraph(TIMED, "note"), cost_table(record), cost_plots(record)),
        _skips(record),
        section("Set-up", _environment(record), _configuration(record)),
    ]
    return document(f"Run {record.name}", [part for part in parts if part], STYLE)


def _state(record: RunRecord) -> Html:
    asked = record.asked_passes
    if not record.entries:
        return verdict("No figures yet: the run has not logged a pass.", "unsure")
    if asked is None:
        return verdict(f"Figures up to pass {record.last_pass}.", "unsure")
    if record.last_pass >= asked:
        return verdict(f"All {asked} passes are done.", "good")
    return verdict(
        f"Figures up to pass {record.last_pass} of at most {asked}: the run goes on, stopped early, was "
        "interrupted or killed. The command that started it takes it up again.",
        "unsure",
    )


def _memorising(record: RunRecord) -> Html:
    if not record.latest(MEMORISING):
        return Html("")
    text = (
        "The model was learning its input pictures, not the object, at the last validation: scores rose at input views "
        "and fell at held-out ones. Use more or other training samples, stop earlier, or lower training.optimizer.lr."
    )
    return verdict(text, "bad")


def _headline(record: RunRecord) -> Html:
    latest: Mapping[str, float | None] = {
        "PSNR_fg held-out, dB": record.latest("val_heldout/psnr_fg"),
        "PSNR_crop held-out, dB": record.latest("val_heldout/psnr_crop"),
        "mask IoU held-out": record.latest("val_heldout/mask_iou"),
        "loss": record.latest("train/loss"),
        "seconds per pass": record.latest("train/step_time"),
        "updates skipped": record.latest("train/skipped_total"),
    }
    values: dict[str, object] = {"passes": record.last_pass}
    values |= {name: number(value) for name, value in latest.items() if value is not None}
    metrics = record.folder / METRICS_FILE
    if metrics.is_file():
        values["last figure written"] = f"{datetime.fromtimestamp(metrics.stat().st_mtime):%Y-%m-%d %H:%M}"
    return figures(values)


def _explain() -> str:
    return (
        "Input views were given to the model, held-out views were not: only the latter show that 3D was learned. The "
        "copy of the nearest input view is what a method without any 3D scores there, white paper is the score of "
        "drawing nothing; the best of these baselines is the line to beat in the plots. Means over validation samples, "
        "at the last validation."
    )


def _pictures(record: RunRecord) -> Html:
    chosen = [drawn for name in FIRST_AND_LAST for drawn in _ends(record.pictures(name))]
    names = dict.fromkeys(drawn.name for drawn in record.drawn)
    chosen += [record.pictures(name)[-1] for name in names if name not in FIRST_AND_LAST]
    validation = [_picture(drawn) for drawn in chosen[:MAX_PICTURES] if drawn.name.startswith("val_")]
    training = [_picture(drawn) for drawn in chosen[:MAX_PICTURES] if not drawn.name.startswith("val_")]
    if not chosen:
        validation = [paragraph("None were drawn yet.", "note")]
    return section("Pictures", *validation, side_by_side(training))


def _ends(drawn: list[Drawn]) -> list[Drawn]:
    return drawn if len(drawn) < 2 else [drawn[0], drawn[-1]]


def _picture(drawn: Drawn) -> Html:
    caption = f"{drawn.name.replace('_', '/', 1)} after pass {drawn.step}"
    try:
        content = encode_picture(drawn.path, PICTURE_BYTES)
    except UserError as error:
        return paragraph(f"{caption}: {error}", "note")
    return zoomable(content, caption)


def _turntable(record: RunRecord) -> Html:
    """The newest turntable that `inference.py` wrote somewhere in the run folder."""
    found = sorted(record.folder.rglob("turntable*.mp4"), key=lambda path: path.stat().st_mtime)
    if not found:
        return Html("")
    name, size = found[-1].relative_to(record.folder), found[-1].stat().st_size
    if size > VIDEO_BYTES:
        text = f"{name} is not shown here, it has {size / 1e6:.1f} MB; at most {VIDEO_BYTES / 1e6:.1f} MB are."
        return section("Turntable", paragraph(text, "note"))
    return section("Turntable", video(found[-1].read_bytes(), "the reconstruction, once around", caption=name))


def _skips(record: RunRecord) -> Html:
    skipped = [entry for entry in record.entries if entry.get("train/skipped_updates")]
    total = record.latest("train/skipped_total")
    if not skipped and not total:
        return section("Skipped updates", paragraph("None."))
    rows = [
        [entry["step"], entry.get("train/grad_norm"), ", ".join(map(str, entry.get(SAMPLES, [])))]
        for entry in skipped[:MAX_SKIPS]
    ]
    shown = f"The first {MAX_SKIPS} are shown." if len(skipped) > MAX_SKIPS else ""
    count = len(skipped) if total is None or math.isnan(total) else int(total)
    latest = {reason: record.latest(f"train/skipped_{reason}") for reason in REASONS}
    by_reason = ", ".join(f"{int(found)} {reason}" for reason, found in latest.items() if found)
    text = f"{count} in all{f' ({by_reason})' if by_reason else ''}. A gradient norm of – was not finite. {shown}"
    norms = [[step, "–" if norm is None else float(norm), names] for step, norm, names in rows]
    return section("Skipped updates", paragraph(text), table(["pass", "gradient norm", "samples of the pass"], norms))


def _environment(record: RunRecord) -> Html:
    environment = dict(record.environment)
    packages = environment.pop("packages", None) or {}
    command = environment.pop("command", None) or []
    changes = environment.pop("git_diff", None)
    rows: list[list[object]] = [["command", code(" ".join(map(str, command)))]] if command else []
    rows += [
        [str(name).replace("_", " "), "–" if value is None else code(str(value))] for name, value in environment.items()
    ]
    if changes is not None:
        lines = len(str(changes).splitlines())
        rows.append(["uncommitted changes", f"{lines} lines of diff, in environment.json" if lines else "none"])
    return side_by_side([table(["environment", ""], rows), table(["package", "version"], sorted(packages.items()))])


def _configuration(record: RunRecord) -> Html:
    if not record.config_text:
        return Html("")
    text = record.config_text[:MAX_TEXT]
    if len(record.config_text) > MAX_TEXT:
        text += "\n... the rest is in config.yaml"
    return details("config.yaml", preformatted(text))
