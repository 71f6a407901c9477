"""Summaries as plain text for a terminal."""

from collections.abc import Mapping, Sequence
from typing import Any

from gslrm.evaluation.scoring import MODEL, Scores
from gslrm.evaluation.summary import Summary

COLUMNS = ("psnr_fg", "psnr_crop", "mask_iou", "ssim_crop", "psnr", "ssim", "lpips", "depth_error")
CAMERA_COLUMNS = COLUMNS[:4]
ALWAYS = 6  # the first columns are shown even where no view has the score
NOTHING_HELD_OUT = "no view was held out: scores at input views do not show that any 3D was learned"


def table(summary: Summary, intervals: Mapping[str, Any] | None = None) -> str:
    """The summary, one line per method, with the intervals of the model's means beneath them."""
    present = {name for methods in summary.values() for scores in methods.values() for name in scores}
    columns = [name for rank, name in enumerate(COLUMNS) if rank < ALWAYS or name in present]
    lines = [_line("", columns)]
    for kind, methods in summary.items():
        for method, scores in methods.items():
            lines.append(_line(f"{kind} views, {method}", _figures(scores, columns)))
            spans = (intervals or {}).get(kind, {}).get(method, {}) if method == MODEL else {}
            if spans:
                lines.append(_line("  95 % interval", [_span(spans.get(name)) for name in columns]))
    if "heldout" not in summary:
        lines.append(NOTHING_HELD_OUT)
    return "\n".join(lines)


def camera_table(cameras: Sequence[Mapping[str, Any]], kind: str = "heldout", baseline: str = "visual_hull") -> str:
    """The model's means at each camera that was held out (or input), beside one baseline's; empty if there is none."""
    rows = [row for row in cameras if kind in row]
    if not rows:
        return ""
    beside = any(baseline in row[kind] for row in rows)
    names = [*CAMERA_COLUMNS, *(["hull_crop"] if beside else [])]
    lines = [_line(f"{kind} cameras, model", names)]
    for row in rows:
        other = {"hull_crop": row[kind][baseline]["psnr_crop"]} if "psnr_crop" in row[kind].get(baseline, {}) else {}
        label = f"{row['view']:>3}  {row['camera']}"
        lines.append(_line(label[:30], _figures(row[kind].get(MODEL, {}) | other, names)))
    return "\n".join(lines)


def geometry_table(geometry: Scores) -> str:
    """What the Gaussians are like, in one line."""
    return "Gaussians: " + ", ".join(f"{name} {value:.4g}" for name, value in geometry.items())


def _line(label: str, cells: Sequence[str]) -> str:
    return f"{label:30}" + "".join(f"{cell:>14}" for cell in cells)


def _figures(scores: Scores, columns: Sequence[str]) -> list[str]:
    return [f"{scores[name]:.3f}" if name in scores else "-" for name in columns]


def _span(span: Sequence[float] | None) -> str:
    return "-" if span is None else f"{span[0]:.2f}-{span[1]:.2f}"
