"""Why silhouettes disagree: the simplest of the known causes that, undone, makes them agree."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from gslrm.proof.conventions import best_order, other_unit, readings
from gslrm.proof.corrections import Correction, fit, moved_radially, refocused, resized, scaled, shifted, turned
from gslrm.proof.hull import hull_miss
from gslrm.proof.pinholes import Pinholes
from gslrm.proof.sentences import Cause, sentence
from gslrm.proof.silhouettes import Silhouette
from gslrm.proof.tangents import Rims, tangents
from gslrm.proof.telltales import telltales

HULL_SAMPLES = 48  # per view: enough to judge a correction
GOOD = 0.004  # image widths (2 px of 512): what noisy masks of a right rig leave
BETTER = 0.3  # of the misfit before: an explanation that leaves more explains little
AS_GOOD = 2.0  # times the best misfit: how much worse a simpler explanation may be
LEAST_RESIZE = math.log(1.05)


@dataclass(frozen=True)
class Diagnosis:
    """A cause by its short name, the sentence for the user, and the misfits in pixels before and after undoing it."""

    cause: Cause
    text: str
    before: float
    after: float


@dataclass(frozen=True)
class Explanation:
    """A cause, what the sentence about it names, and the misfit in pixels that is left once it is undone."""

    cause: Cause
    values: dict[str, object]
    left: float


def diagnose(
    silhouettes: Sequence[Silhouette], cameras: Pinholes, names: Sequence[str], suspects: Sequence[int] = ()
) -> Diagnosis:
    """Name the most likely cause of a disagreement.

    Every known cause is undone with its best numbers, and the disagreement is measured again. Of those that leave
    little the simplest counts; damage done to every picture by itself is told apart by its marks (`telltales`).

    Args:
        silhouettes: one per view, at least three.
        cameras: the views' cameras, that disagree.
        names: of the views.
        suspects: views that disagree alone; none if all disagree.
    """
    rims = Rims.of(silhouettes)
    misfit: Callable[[Pinholes], float] = lambda pinholes: _misfit(silhouettes, rims, pinholes)  # noqa: E731
    before = misfit(cameras)
    good = GOOD * float(cameras.size[:, 0].mean())
    found = []
    for explanation in _explanations(silhouettes, rims, cameras, names, misfit):
        found.append(explanation)
        if explanation.left < min(good, BETTER * before) and explanation.cause in CAUSES_WITHOUT_NUMBERS:
            break
    best = min(explanation.left for explanation in found)
    enough = min(max(good, BETTER * before), AS_GOOD * best + 0.5 * good)
    for explanation in found:
        if explanation.left <= enough and explanation.left < 0.8 * before:
            return Diagnosis(
                explanation.cause, sentence(explanation.cause, explanation.values), before, explanation.left
            )
    if suspects:
        alone = [names[view] for view in suspects]
        return Diagnosis("alone", sentence("alone", {"views": alone}), before, best)
    return Diagnosis("unknown", sentence("unknown", {}), before, best)


CAUSES_WITHOUT_NUMBERS = ("unit", "order", "inverted", "transposed", "opengl", "inverted_opengl", "mirrored")


def _explanations(
    silhouettes: Sequence[Silhouette],
    rims: Rims,
    cameras: Pinholes,
    names: Sequence[str],
    misfit: Callable[[Pinholes], float],
) -> Iterator[Explanation]:
    """Everything that could be the cause, the simplest first."""
    unit = other_unit(cameras)
    if unit is not None:
        odd, units, one_unit = unit
        yield Explanation("unit", {"views": [names[view] for view in odd], "units": units}, misfit(one_unit))
    order = best_order(rims, cameras)
    if order != list(range(len(cameras))):
        moved = [
            f"{names[view]} with the camera of {names[camera]}" for view, camera in enumerate(order) if view != camera
        ]
        yield Explanation("order", {"pairs": moved}, misfit(cameras.take(order)))
    for name, other in readings(cameras):
        yield Explanation(name, {}, misfit(other))
    yield from _turns(rims, cameras, names, misfit)
    yield from _sizes(rims, cameras, misfit)
    radial = moved_radially(len(cameras))
    yield Explanation(*_radial_cause(silhouettes, cameras), misfit(_undone(radial, rims, cameras)))
    cause = _picture_cause(silhouettes, cameras)
    for correction in (shifted(cameras), refocused(cameras), scaled(cameras)):
        yield Explanation(cause, _claims(cameras), misfit(_undone(correction, rims, cameras)))


def _turns(
    rims: Rims, cameras: Pinholes, names: Sequence[str], misfit: Callable[[Pinholes], float]
) -> Iterator[Explanation]:
    """Only the camera whose turn explains most."""
    trials = []
    for view in range(len(cameras)):
        correction = turned(view)
        change = fit(correction, rims, cameras)
        trials.append((misfit(correction.apply(cameras, change)), view, math.degrees(float(np.linalg.norm(change)))))
    left, view, degrees = min(trials)
    yield Explanation("turned", {"view": names[view], "degrees": degrees}, left)


def _sizes(rims: Rims, cameras: Pinholes, misfit: Callable[[Pinholes], float]) -> Iterator[Explanation]:
    """Intrinsics of another image size, looked for from the size whose middle the principal points would be."""
    correction = resized()
    start = np.log(np.median(0.5 * cameras.size / cameras.center, axis=0).clip(0.05, 20))
    factors = fit(correction, rims, cameras, start)
    if np.abs(factors).max() > LEAST_RESIZE:
        width, height = (cameras.size[0] / np.exp(factors)).round().astype(int)
        values: dict[str, object] = {"size": f"{width} x {height}", "stored": _size(cameras)}
        yield Explanation("resized", values, misfit(correction.apply(cameras, factors)))


def _undone(correction: Correction, rims: Rims, cameras: Pinholes) -> Pinholes:
    return correction.apply(cameras, fit(correction, rims, cameras))


def _radial_cause(silhouettes: Sequence[Silhouette], cameras: Pinholes) -> tuple[Cause, dict[str, object]]:
    distance = float(np.median(np.linalg.norm(cameras.position, axis=1)))
    if telltales(silhouettes, cameras).equal_distances:
        return "equal_distances", {"distance": distance}
    return "moved_radially", {}


def _picture_cause(silhouettes: Sequence[Silhouette], cameras: Pinholes) -> Cause:
    marks = telltales(silhouettes, cameras)
    if marks.invented_intrinsics:
        return "invented_intrinsics"
    if marks.equal_areas:
        return "equal_areas"
    if marks.boxes_centred:
        return "boxes_centred"
    return "masses_centred" if marks.masses_centred else "pictures_moved"


def _claims(cameras: Pinholes) -> dict[str, object]:
    return {"focal": float(cameras.focal.mean()), "center": float(cameras.center.mean())}


def _size(cameras: Pinholes) -> str:
    width, height = cameras.size[0].astype(int)
    return f"{width} x {height}"


def _misfit(silhouettes: Sequence[Silhouette], rims: Rims, cameras: Pinholes) -> float:
    """Tangent error of the average view plus hull miss, in pixels; infinite where too few tangents exist to judge."""
    found = tangents(rims, cameras)
    if found.usable.sum() < max(2, len(found.usable) // 4):
        return math.inf
    return float(np.nanmean(found.by_view(len(cameras)))) + hull_miss(silhouettes, cameras, samples=HULL_SAMPLES).mean
