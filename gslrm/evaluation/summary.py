"""Scores of views to means over views, then samples; with intervals, gains over baselines, and means per camera."""

from collections.abc import Iterator, Sequence
from typing import Any

from gslrm.evaluation.bootstrap import interval
from gslrm.evaluation.scoring import MODEL, Scores, ViewScore
from gslrm.metrics import average

Summary = dict[str, dict[str, Scores]]
KINDS = {"input": True, "heldout": False}
PREFIXES = {"input": "val", "heldout": "val_heldout"}


def summarise(scores: Sequence[ViewScore]) -> Summary:
    """Means over views, then samples, for `input` and `heldout` views, of `model` and every baseline."""
    return {
        kind: {method: average(sample_means(views, method)) for method in _methods(views)}
        for kind, views in _by_kind(scores)
    }


def intervals(scores: Sequence[ViewScore]) -> dict[str, dict[str, dict[str, list[float]]]]:
    """The summary's 95 % intervals, `[low, high]`; left out where fewer than two samples have a score."""
    return {
        kind: {method: _intervals(sample_means(views, method)) for method in _methods(views)}
        for kind, views in _by_kind(scores)
    }


def gains(scores: Sequence[ViewScore]) -> dict[str, dict[str, dict[str, dict[str, Any]]]]:
    """What the model gains over each baseline on the same samples: `mean` and, of two samples or more, `interval`."""
    result: dict[str, dict[str, dict[str, dict[str, Any]]]] = {}
    for kind, views in _by_kind(scores):
        result[kind] = {}
        for method in _methods(views)[1:]:
            both = [view for view in views if method in view.methods]
            pairs = zip(sample_means(both, MODEL), sample_means(both, method), strict=True)
            differences = [{name: own[name] - other[name] for name in own if name in other} for own, other in pairs]
            means, spans = average(differences), _intervals(differences)
            result[kind][method] = {
                name: {"mean": mean} | ({"interval": spans[name]} if name in spans else {})
                for name, mean in means.items()
            }
    return result


def per_camera(scores: Sequence[ViewScore]) -> list[dict[str, Any]]:
    """Means over samples of each camera, ascending: `view`, `camera`, and its scores as `input` and as `heldout`.

    `camera` is its name where all samples agree on it.
    """
    rows = []
    for index in sorted({score.view for score in scores}):
        views = [score for score in scores if score.view == index]
        names = {view.camera for view in views}
        row: dict[str, Any] = {"view": index, "camera": names.pop() if len(names) == 1 else f"view {index}"}
        rows.append(row | summarise(views))
    return rows


def scalars(summary: Summary) -> Scores:
    """The summary under its logged names: val/... for input views, val_heldout/... for the others."""
    logged: Scores = {}
    for kind, methods in summary.items():
        for method, scores in methods.items():
            infix = "" if method == MODEL else f"{method}_"
            logged |= {f"{PREFIXES[kind]}/{infix}{name}": value for name, value in scores.items()}
    return logged


def sample_means(views: Sequence[ViewScore], method: str) -> list[Scores]:
    """Means over views of each sample that has the method, in order of appearance."""
    by_sample: dict[str, list[Scores]] = {}
    for view in views:
        if method in view.methods:
            by_sample.setdefault(view.directory, []).append(view.methods[method])
    return [average(scores) for scores in by_sample.values()]


def _by_kind(scores: Sequence[ViewScore]) -> Iterator[tuple[str, list[ViewScore]]]:
    for kind, is_input in KINDS.items():
        chosen = [view for view in scores if view.is_input == is_input]
        if chosen:
            yield kind, chosen


def _methods(views: Sequence[ViewScore]) -> list[str]:
    return list(dict.fromkeys(method for view in views for method in view.methods))


def _intervals(means: Sequence[Scores]) -> dict[str, list[float]]:
    names = dict.fromkeys(name for mean in means for name in mean)
    spans = {name: interval([mean[name] for mean in means if name in mean]) for name in names}
    return {name: list(span) for name, span in spans.items() if span is not None}
