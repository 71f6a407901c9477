"""Filters of Gaussians by name, with the numbers that a user gives them."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool
from torch import Tensor

from gslrm.clean.contribution import contributions
from gslrm.clean.evidence import Evidence
from gslrm.errors import UserError
from gslrm.metrics import background_sighting
from gslrm.types import Gaussians

Numbers = tuple[float, ...]
Rule = Callable[[Gaussians, Evidence, Numbers], Tensor]


@dataclass(frozen=True)
class Kind:
    """One kind of filter: which Gaussians stay, the numbers it takes if none are given, their meaning."""

    rule: Rule
    default: Numbers
    meaning: str
    highest: float = math.inf


@dataclass(frozen=True)
class Filter:
    """A filter with its numbers."""

    name: str
    numbers: Numbers

    def __str__(self) -> str:
        return f"{self.name}:{'/'.join(f'{number:g}' for number in self.numbers)}"

    def keeps(self, gaussians: Gaussians, evidence: Evidence) -> Bool[Tensor, "n"]:
        """Which of the Gaussians `[N]` stay.

        Raises:
            UserError: the filter needs evidence that is not there.
        """
        return FILTERS[self.name].rule(gaussians, evidence, self.numbers)


@dataclass(frozen=True)
class Step:
    """What one filter did."""

    filter: str
    before: int
    after: int


def clean(gaussians: Gaussians, filters: Sequence[Filter], evidence: Evidence) -> tuple[Gaussians, list[Step]]:
    """The Gaussians `[N]` that pass all filters, applied in their order, and what each did.

    Raises:
        UserError: a filter needs evidence that is not there.
    """
    steps = []
    for current in filters:
        kept = gaussians[current.keeps(gaussians, evidence)]
        steps.append(Step(str(current), len(gaussians.means), len(kept.means)))
        gaussians = kept
    return gaussians, steps


def parse_filters(text: str, *, option: str = "--clean") -> tuple[Filter, ...]:
    """Filters as users write them: `opacity:0.02,hull:2,contribution`, or a preset such as `facelift`.

    Raises:
        UserError: an unknown name, or numbers that it does not take; the message names `option`.
    """
    words = [word.strip() for word in text.split(",") if word.strip()]
    expanded = [part for word in words for part in PRESETS.get(word, word).split(",")]
    return tuple(_parse(word, option) for word in expanded)


def _parse(word: str, option: str) -> Filter:
    name, _, numbers = word.partition(":")
    if name not in FILTERS:
        raise UserError(f"{option}: there is no filter {name!r}; choose of {', '.join([*FILTERS, *PRESETS])}")
    kind = FILTERS[name]
    if not numbers:
        return Filter(name, kind.default)
    try:
        values = tuple(float(number) for number in numbers.split("/"))
    except ValueError:
        values = ()
    if not 0 < len(values) <= len(kind.default) or any(not 0 <= value <= min(kind.highest, 1e30) for value in values):
        example = "/".join(f"{number:g}" for number in kind.default)
        raise UserError(f"{option}: {word!r} is not understood; write {name}:{example}, which means: {kind.meaning}")
    return Filter(name, values + kind.default[len(values) :])


def _opacity(gaussians: Gaussians, evidence: Evidence, numbers: Numbers) -> Tensor:
    return gaussians.opacities > numbers[0]


def _scale(gaussians: Gaussians, evidence: Evidence, numbers: Numbers) -> Tensor:
    return gaussians.scales.amax(dim=-1) < numbers[0]


def _contribution(gaussians: Gaussians, evidence: Evidence, numbers: Numbers) -> Tensor:
    if evidence.rasterizer is None or not evidence.cameras:
        raise UserError("the filter contribution needs cameras to look from; give a sample")
    return contributions(gaussians, evidence.cameras, evidence.rasterizer) > numbers[0]


def _hull(gaussians: Gaussians, evidence: Evidence, numbers: Numbers) -> Tensor:
    needed, tolerance = numbers
    if not evidence.views:
        raise UserError("the filter hull needs the masks of the input cameras; give a sample")
    if not 1 <= needed <= len(evidence.views):
        raise UserError(
            f"the filter hull:{needed:g} cannot be; give a number from 1 to {len(evidence.views)}, the input cameras"
        )
    points = gaussians.means.double()
    votes = torch.zeros(len(points), device=points.device)
    for view in evidence.views:
        votes += background_sighting(points, view.to(points.device), tolerance)[1]
    return votes < needed


def _facelift_scale(gaussians: Gaussians, evidence: Evidence, numbers: Numbers) -> Tensor:
    return (gaussians.scales.amax(dim=-1) < numbers[0]) | (gaussians.means[:, 2] > 0)


def _facelift_floaters(gaussians: Gaussians, evidence: Evidence, numbers: Numbers) -> Tensor:
    x, y, z = gaussians.means.unbind(-1)
    return ~((x.abs() > numbers[0]) & (y.abs() > numbers[0]) & (z < -numbers[0]))


def _box(gaussians: Gaussians, evidence: Evidence, numbers: Numbers) -> Tensor:
    return (gaussians.means.abs() <= gaussians.means.new_tensor(numbers)).all(dim=-1)


def _near_far(gaussians: Gaussians, evidence: Evidence, numbers: Numbers) -> Tensor:
    if not evidence.views:
        raise UserError("the filter near_far needs the input cameras; give a sample")
    kept = torch.ones(len(gaussians.means), dtype=torch.bool, device=gaussians.means.device)
    if not len(kept):
        return kept
    for view in evidence.views:
        distance = (gaussians.means.double() - view.cameras.position[0].to(gaussians.means.device)).norm(dim=-1)
        ordered = distance.sort().values
        low, high = (ordered[round(number / 100 * (len(ordered) - 1))] for number in numbers)
        kept &= (distance >= low) & (distance <= high)
    return kept


FILTERS = {
    "opacity": Kind(_opacity, (0.02,), "opacity above this"),
    "scale": Kind(_scale, (0.1,), "longest standard deviation below this, in the model's world"),
    "contribution": Kind(_contribution, (0.05,), "more blending weight than this many pixels in some picture"),
    "hull": Kind(_hull, (2.0, 1.0), "centre on background in fewer input views than this, at a tolerance in pixels"),
    "facelift_scale": Kind(_facelift_scale, (0.1,), "longest standard deviation below this, or z above 0"),
    "facelift_floaters": Kind(_facelift_floaters, (0.6,), "not in the lower corners: |x|, |y| and -z above this"),
    "box": Kind(_box, (0.91, 0.91, 1.0), "|x|, |y|, |z| at most these"),
    "near_far": Kind(_near_far, (1.0, 99.0), "distance from every input camera between these percentiles", 100.0),
}
# What FaceLift's commands apply: its inference.py, its web demo, its training pictures.
PRESETS = {
    "facelift": "opacity:0.04,facelift_scale:0.1,facelift_floaters:0.6,box:0.91/0.91/1",
    "facelift_demo": "opacity:0.04,facelift_scale:0.2,facelift_floaters:0.75,box:0.91/0.91/1",
    "facelift_training": "opacity:0.02,box:0.91/0.91/0.91",
}
