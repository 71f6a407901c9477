"""`report.html` and `report.json` of a set of proven samples, the worst samples first."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from gslrm.export import replacing, write_json
from gslrm.html_page import (
    Html,
    bullets,
    details,
    figures,
    number,
    page,
    paragraph,
    picture,
    section,
    side_by_side,
    table,
    verdict,
)
from gslrm.html_plot import Axes, line_plot, strip_plot
from gslrm.proof.limits import REFERENCE_WIDTH, Limits
from gslrm.proof.summary import METRICS, Summary, summarize

MAX_TABLE_ROWS = 100
SHOWN_REASONS = 6  # of one sample
OUTLIER = 1.6  # brightness of a camera against the median camera from which the summary mentions it

HOW_IT_WORKS = (
    "Tangent: two views of one animal share the planes through both cameras that just touch it; the figure is the "
    "median distance in pixels between the two views' versions of them. Swing: by how much one camera reaches beyond "
    "the others on one side and falls short on the other. Hull: how far the rays of the body's outline miss what the "
    "other silhouettes leave of space. Right cameras and exact masks give 0.1, 0.1 and 0.0 pixels."
)


def write_report(
    directory: Path,
    records: Iterable[Mapping[str, Any]],
    *,
    pictures: Mapping[str, bytes],
    limits: Limits,
    title: str = "Proof of the data",
    time_label: str = "time",
    notes: Iterable[str] = (),
    extra: Mapping[str, Any] | None = None,
) -> Summary:
    """Write both files.

    Args:
        directory: made if missing.
        records: of `Proof.record`, read once and not kept; a generator over a .jsonl file will do.
        pictures: JPEG of some samples (`thumbnail`) by name, in the order in which they are shown.
        limits: that the samples were judged by.
        title: heading of the page.
        time_label: what the records' `time` is, with its unit.
        notes: sentences shown below the verdict, such as how masks were made.
        extra: further mappings for report.json.

    Raises:
        UserError: a file cannot be written.
    """
    summary = summarize(records)
    write_json(directory / "report.json", as_json(summary, limits) | dict(extra or {}))
    parts = [_headline(summary), *map(paragraph, notes), *_findings(summary), _totals(summary)]
    parts += [_failures(summary), _pictures(pictures), _plots(summary, limits, time_label), _cameras(summary)]
    with replacing(directory / "report.html") as temporary:
        temporary.write_text(page(title, [*parts, _limits(limits)]), encoding="utf-8")
    return summary


def _headline(summary: Summary) -> Html:
    if not summary.total:
        return verdict("No samples: nothing was proven.", "unsure")
    if summary.failed:
        return verdict(f"{summary.failed} of {summary.total} samples fail.", "bad")
    if summary.drift:
        names = ", ".join(name for name, _ in summary.drift)
        return verdict(f"All {summary.total} samples pass, but together they show that {names} is off.", "unsure")
    return verdict(f"All {summary.total} samples pass: cameras, pictures and masks belong together.", "good")


def _findings(summary: Summary) -> list[Html]:
    """What is wrong, in the order of how many samples it concerns."""
    lines = [f"{_samples(count)}: {summary.sentences[cause]}" for cause, count in summary.causes.most_common()]
    lines += [
        f"{name} is off in all samples by {drift.pixels:.1f} px ({drift.degrees:.2f} degrees; {drift.significance:.0f} "
        "standard deviations): it was bumped, or its principal point or skew is wrong; calibrate it again"
        for name, drift in summary.drift
    ]
    lines += [f"{name}: its mask is doubtful in {_samples(count)}" for name, count in summary.warnings.most_common()]
    lines += _exposures(summary)
    return [section("Findings", bullets(lines))] if lines else []


def _samples(count: int) -> str:
    return "1 sample" if count == 1 else f"{count} samples"


def _exposures(summary: Summary) -> list[str]:
    medians = {name: summary.quantiles("exposure", name)["median"] for name in summary.cameras}
    known = {name: value for name, value in medians.items() if value is not None}
    middle = sorted(known.values())[len(known) // 2] if known else 0.0
    ratios = {name: (value + 0.01) / (middle + 0.01) for name, value in known.items()}
    return [
        f"{name} is {ratio:.2g} times as bright on the animal as the median camera: make exposures alike"
        for name, ratio in ratios.items()
        if not 1 / OUTLIER < ratio < OUTLIER
    ]


def _totals(summary: Summary) -> Html:
    values = {"samples": summary.total, "failed": summary.failed, "with warnings": summary.warned}
    for metric in ("tangent", "hull", "keypoint"):
        medians = [summary.quantiles(metric, name)["median"] for name in summary.cameras]
        known = sorted(value for value in medians if value is not None)
        if known:
            values[f"{metric}, median px"] = number(known[len(known) // 2], 2)  # type: ignore[assignment]
    return figures(values)


def _failures(summary: Summary) -> Html:
    if not summary.failures:
        return section("Failures", paragraph("None."))
    rows = []
    for failure in summary.failures[:MAX_TABLE_ROWS]:
        reasons = failure["reasons"][:SHOWN_REASONS]
        more = len(failure["reasons"]) - len(reasons)
        lines = [*reasons, *([f"and {more} more"] if more else [])]
        rows.append((failure["sample"], float(failure["severity"]), bullets(lines), failure["diagnosis"] or "–"))
    left_out = summary.failed - len(rows)
    note = [paragraph(f"{left_out} more are in report.json.", "note")] if left_out else []
    headers = ("sample", "severity (1 = limit)", "reasons", "likely cause and cure")
    return section("Failures", table(headers, rows, bad_rows=range(len(rows))), *note)


def _pictures(pictures: Mapping[str, bytes]) -> Html:
    if not pictures:
        return Html("")
    note = "The worst samples first, then others evenly spread; dots on the outlines are green where all views agree."
    shown = [
        details(name, picture(content, f"views of {name} with the outline of the mask"), is_open=rank < 3)
        for rank, (name, content) in enumerate(pictures.items())
    ]
    return section("Pictures", paragraph(note, "note"), *shown)


def _plots(summary: Summary, limits: Limits, time_label: str) -> Html:
    label = time_label if summary.has_time else "sample"
    scaled = f"at {REFERENCE_WIDTH} px"
    axes = {
        "hull": Axes("Hull miss", label, "px", limits.hull, f"limit {scaled}", logarithmic=True),
        "tangent": Axes("Tangent error", label, "px", limits.tangent, f"limit {scaled}", logarithmic=True),
        "share": Axes("Foreground", label, "share of the picture"),
        "sharpness": Axes("Sharpness", label, "1/px", limits.sharpness, "least"),
        "exposure": Axes("Brightness of the animal", label, "median luminance, 0 to 1"),
        "background": Axes("Brightness of the background", label, "median luminance, 0 to 1"),
        "keypoint": Axes("Keypoint reprojection", label, "px", limits.keypoint, f"limit {scaled}", logarithmic=True),
    }
    plots = [line_plot(summary.series[metric], chosen) for metric, chosen in axes.items() if _measured(summary, metric)]
    strips = {name: [value for _, value in rows] for name, rows in summary.series.get("swing", {}).items()}
    if any(strips.values()):
        plots.append(
            strip_plot(strips, Axes("Error of each camera against all others (swing)", "", "px", logarithmic=True))
        )
    return section("Each camera over time", paragraph(HOW_IT_WORKS, "note"), side_by_side(plots))


def _measured(summary: Summary, metric: str) -> bool:
    return any(value == value for rows in summary.series.get(metric, {}).values() for _, value in rows)


def _cameras(summary: Summary) -> Html:
    shown = [metric for metric in METRICS if _measured(summary, metric)]
    rows = [(name, *(summary.quantiles(metric, name)["median"] for metric in shown)) for name in summary.cameras]
    return section("Medians of each camera", table(("camera", *shown), rows))


def _limits(limits: Limits) -> Html:
    text = f"Pixels are those of a picture {REFERENCE_WIDTH} wide and grow with the pictures."
    return section("Limits", paragraph(text, "note"), table(("limit", "value"), list(asdict(limits).items())))


def as_json(summary: Summary, limits: Limits) -> dict[str, Any]:
    """The summary as report.json holds it."""
    return {
        "total": summary.total,
        "passed": summary.total - summary.failed,
        "failed": summary.failed,
        "with_warnings": summary.warned,
        "causes": dict(summary.causes),
        "diagnoses": summary.sentences,
        "drift": [{"camera": name, **asdict(drift)} for name, drift in summary.drift],
        "cameras": {name: {metric: summary.quantiles(metric, name) for metric in METRICS} for name in summary.cameras},
        "failures": summary.failures,
        "limits": asdict(limits),
    }
