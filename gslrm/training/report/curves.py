"""A run's figures -> plots and tables."""

import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise

from gslrm.html_page import Html, number, paragraph, side_by_side, table
from gslrm.html_plot import Axes, line_plot, scatter_plot
from gslrm.training.report.record import RunRecord

VIEWS = {"input views": "val/", "held-out views": "val_heldout/"}
BASELINES = {
    "coloured visual hull": "visual_hull_",
    "nearest input view": "nearest_input_",
    "mean colour": "mean_colour_",
    "white paper": "white_",
}
METHODS = {"model": "", **BASELINES}
MEMORISING = "val/memorising"  # 1 where the model learns its input pictures instead of the object
HEADLINE = ("psnr_fg", "psnr_crop", "ssim_crop", "mask_iou", "lpips", "psnr", "ssim")  # the rest folds away
LOWER_IS_BETTER = ("lpips",)
UNITS = {"psnr": "dB", "psnr_fg": "dB", "psnr_crop": "dB"}
COST = ("train/step_time", "train/time_", "train/memory_")
NOT_LOSS_TERMS = ("train/loss", "train/lr", "train/grad_norm", "train/mask_iou", "train/skipped_", *COST)
CLIP_SHOWN_FROM = 0.3  # of the clip: the largest gradient norm from which its line is drawn

Series = Mapping[str, Sequence[tuple[float, float]]]


def validation_plots(record: RunRecord, metrics: Iterable[str]) -> Html:
    """One plot per metric: input views and held-out views together, the best baseline as the line to beat."""
    return side_by_side([_validation_plot(record, metric) for metric in metrics])


def validated_metrics(record: RunRecord) -> list[str]:
    """Names of the model's validation scores, the headline ones first."""
    found = [name.removeprefix(prefix) for prefix in VIEWS.values() for name in record.names(prefix)]
    not_metrics = (*BASELINES.values(), MEMORISING.removeprefix("val/"))
    names = [name for name in dict.fromkeys(found) if not name.startswith(not_metrics)]
    return [name for name in HEADLINE if name in names] + [name for name in names if name not in HEADLINE]


def score_table(record: RunRecord, metrics: Sequence[str], step: int | None = None) -> Html:
    """The last scores (up to pass `step`) of the model and of the baselines, at input and at held-out views."""
    rows = []
    for views, prefix in reversed(VIEWS.items()):
        for method, infix in METHODS.items():
            scores = [record.latest(f"{prefix}{infix}{metric}", step) for metric in metrics]
            if any(score is not None for score in scores):
                rows.append([f"{views}: {method}", *(_figure(score) for score in scores)])
    if not rows:
        return paragraph("Nothing was validated yet.", "note")
    return table(["", *(_titled(metric) for metric in metrics)], rows)


def training_plots(record: RunRecord) -> Html:
    """Loss, its terms, gradient norm, learning rate, mask IoU, and every other figure of training."""
    terms = [name for name in record.names("train/") if not name.startswith(NOT_LOSS_TERMS)]
    losses = [name for name in terms if name.endswith("_loss")]
    plots = [
        curve(_series(record, ["train/loss"]), Axes("Loss", "pass")),
        curve(_series(record, losses), Axes("Loss terms before weighting", "pass")),
        curve(_series(record, ["train/grad_norm"]), _gradient_axes(record)),
        curve(_series(record, ["train/lr"]), Axes("Learning rate", "pass")),
        curve(_series(record, ["train/mask_iou"]), Axes("Mask IoU of the training pass", "pass")),
    ]
    others = [name for name in terms if name not in losses]
    plots += [curve(_series(record, [name]), Axes(name.removeprefix("train/"), "pass")) for name in others]
    return side_by_side(plots)


def cost_table(record: RunRecord) -> Html:
    """Mean seconds of every part of a pass, and the parts' shares; the first pass counts only when it is alone."""
    total = _mean_per_pass(record, "train/step_time")
    if total is None:
        return paragraph("No pass was timed.", "note")
    rows: list[list[object]] = []
    for name in record.names("train/time_"):
        seconds = _mean_per_pass(record, name) or 0.0
        rows.append([name.removeprefix("train/time_"), seconds, f"{seconds / total:.0%}" if total else "–"])
    return table(["part of a pass", "seconds", "share"], [*rows, ["whole pass", total, ""]])


def cost_plots(record: RunRecord) -> Html:
    """Seconds per pass and their parts, peak memory."""
    seconds, memory = record.names("train/time_"), record.names("train/memory_")
    timed = _series(record, ["train/step_time", *seconds])
    timed = {name: _running(points) for name, points in timed.items()}
    return side_by_side(
        [
            curve(timed, Axes("Seconds per pass", "pass", "s")),
            curve(_series(record, memory), Axes("Peak memory so far", "pass", "GiB")),
        ]
    )


def curve(series: Series, axes: Axes) -> Html:
    """Curves; dots where there is but one point to each, which no curve would show."""
    alone = all(len(points) < 2 for points in series.values())
    return scatter_plot(series, axes) if alone else line_plot(series, axes)


def _validation_plot(record: RunRecord, metric: str) -> Html:
    series = {views: record.series(f"{prefix}{metric}") for views, prefix in VIEWS.items()}
    given = {views: points for views, points in series.items() if points}
    best, name = _best_baseline(record, metric)
    axes = Axes(_titled(metric), "pass", limit=best, limit_label=f"held-out: {name}", from_zero=False)
    return curve(given, axes)


def _best_baseline(record: RunRecord, metric: str) -> tuple[float | None, str]:
    """The best last score of a baseline at held-out views with its name; none for metrics without better or worse."""
    if metric not in HEADLINE:
        return None, ""
    prefix = VIEWS["held-out views"]
    scores = {name: record.latest(f"{prefix}{infix}{metric}") for name, infix in BASELINES.items()}
    finite = {name: score for name, score in scores.items() if score is not None and math.isfinite(score)}
    if not finite:
        return None, ""
    name = (min if metric in LOWER_IS_BETTER else max)(finite, key=finite.__getitem__)
    return finite[name], name


def _series(record: RunRecord, names: Iterable[str]) -> Series:
    points = {name: record.series(name) for name in names}
    return {name.removeprefix("train/"): values for name, values in points.items() if values}


def _gradient_axes(record: RunRecord) -> Axes:
    norms = [norm for _, norm in record.series("train/grad_norm") if math.isfinite(norm)]
    clip = record.config.training.runtime.grad_clip_norm if record.config else 0.0
    shown = clip > 0 and max(norms, default=0.0) >= CLIP_SHOWN_FROM * clip
    return Axes("Gradient norm before clipping", "pass", limit=clip if shown else None, limit_label="clipped to")


def _mean_per_pass(record: RunRecord, name: str) -> float | None:
    """Mean over the passes of a figure whose lines are means since the line before."""
    points = record.series(name)
    steps = [step for step, _ in points]
    passes = {step: step - before for before, step in pairwise([0.0, *steps])}
    counted = _running(points)
    total = sum(passes[step] for step, _ in counted)
    return sum(passes[step] * value for step, value in counted) / total if total else None


def _running(points: Sequence[tuple[float, float]]) -> Sequence[tuple[float, float]]:
    """Without the first pass, which starts workers and compiles, unless there is no other."""
    return [point for point in points if point[0] > 1] or points


def _titled(metric: str) -> str:
    return f"{metric} ({UNITS[metric]})" if metric in UNITS else metric


def _figure(value: float | None) -> str:
    return "–" if value is None else number(value, 4)
