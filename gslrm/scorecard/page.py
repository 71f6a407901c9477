"""A scorecard as one page."""

from collections.abc import Mapping
from typing import Any

from gslrm.evaluation.scoring import MODEL
from gslrm.html_page import Html, bullets, figures, page, paragraph, picture, section, side_by_side, table, verdict
from gslrm.html_page import figure as figure_of
from gslrm.html_plot import Axes, line_plot, strip_plot
from gslrm.scorecard.marks import marks_of
from gslrm.scorecard.results import HEADLINE, Results
from gslrm.scorecard.settings import EVERYTHING, HULL
from gslrm.scorecard.tables import Table, all_tables, figure


def scorecard_page(results: Results, about: Mapping[str, Any], pictures: Mapping[str, bytes]) -> str:
    """The whole page; `pictures` are PNG files by caption."""
    tables = all_tables(results)
    means = results.means(EVERYTHING)
    headline = {
        "psnr_crop, dB": figure(means[HEADLINE], HEADLINE),
        "IoU": figure(means["mask_iou"], "mask_iou"),
        "ssim_crop": figure(means["ssim_crop"], "ssim_crop"),
        "s per mouse": f"{results.seconds['reconstruction']:.2f}",
    }
    parts: list[Html] = [_verdict(results), figures(headline), bullets(facts_of(about)), _section(tables.pop("marks"))]
    parts.append(section(*_titled(tables.pop("methods")), _plots(results)))
    shown = [picture(content, caption, kind="png", caption=caption) for caption, content in pictures.items()]
    parts.append(section("The worst samples, and one in the middle", *shown))
    parts += [_section(rest) for rest in tables.values()]
    return page(f"Scorecard of {about['checkpoint']}", parts)


def _verdict(results: Results) -> Html:
    marks = marks_of(results)
    missed = [mark.label for mark in marks if not mark.is_met]
    if missed:
        return verdict(f"{len(marks) - len(missed)} of {len(marks)} marks are met; not: {'; '.join(missed)}.", "bad")
    return verdict(f"All {len(marks)} marks are met.", "good")


def facts_of(about: Mapping[str, Any]) -> list[str]:
    """What is judged and on what, a line each; options that were not given are left out."""
    texts = {name: ", ".join(map(str, value)) if isinstance(value, list) else value for name, value in about.items()}
    return [f"{name.replace('_', ' ')}: {text}" for name, text in texts.items() if text not in (None, "")]


def _section(rows: Table) -> Html:
    return section(*_titled(rows))


def _titled(rows: Table) -> tuple[str, ...]:
    body = [[_plain(cell) for cell in row] for row in rows.rows]
    missed = [index for index, row in enumerate(rows.rows) if row[-1] == "**no**"]
    content = table(rows.headers, body, bad_rows=missed)
    return (rows.title, content, *([paragraph(rows.note, "note")] if rows.note else []))


def _plain(cell: str) -> str:
    return cell.replace("**", "")


def _plots(results: Results) -> Html:
    names = {MODEL: "this model", HULL: "visual hull"}
    directories = results.samples_by_score()
    groups = {
        label: [results.of_sample(directory, method).get(HEADLINE, float("nan")) for directory in directories]
        for method, label in names.items()
    }
    given = [(float(count), results.means(name)[HEADLINE]) for count, name in results.numbers_of_views()]
    samples = strip_plot(groups, Axes("psnr_crop of every sample", y_label="dB", from_zero=False))
    views = {"this model": [*given, (len(results.left_out()) - 1.0, results.mean_without_one()[HEADLINE])]}
    fewer = line_plot({name: sorted(points) for name, points in views.items()}, Axes(
        "psnr_crop by views given", x_label="views", y_label="dB", from_zero=False
    ))  # fmt: skip
    return side_by_side([figure_of(samples), figure_of(fewer)])
