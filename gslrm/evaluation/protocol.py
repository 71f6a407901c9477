"""Which views are given to the model and which are compared, so that a score is held out."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from gslrm.data.sample import Sample
from gslrm.errors import UserError

FEWEST_FOR_ROTATION = 3  # two given views are needed to place an object

Mode = Literal["auto", "heldout", "leave_one_out"]


@dataclass(frozen=True)
class Fold:
    """One reconstruction: the views it is made from, and those it is compared with, ascending."""

    inputs: tuple[int, ...]
    targets: tuple[int, ...]

    @property
    def heldout(self) -> tuple[int, ...]:
        """Targets that the model was not given."""
        return tuple(view for view in self.targets if view not in self.inputs)


def plan(
    sample: Sample, inputs: Sequence[int], heldout: Sequence[int] | None = None, mode: Mode = "auto"
) -> tuple[Fold, ...]:
    """The reconstructions by which a sample is judged.

    By default every view that is not input is held out. When there is none, each input camera in turn is left out and
    the sample reconstructed from the others; each is then also compared once as input, so that input and held-out means
    are of the same cameras. With fewer than three cameras nothing can be left out, and only input views are compared.

    Args:
        sample: whose views they are.
        inputs: the views a model is given.
        heldout: views to hold out instead of all others; empty to compare input views only.
        mode: `leave_one_out` leaves input cameras out even when others are to spare, `heldout` never.

    Raises:
        UserError: the sample has no such view, a held-out view is also input, or the mode is impossible here.
    """
    sample.select((*inputs, *(heldout or ())))
    both = sorted(set(heldout or ()) & set(inputs))
    if both:
        raise UserError(f"views {both} are asked for as held-out but are input; their score would not be held-out")
    if mode == "leave_one_out":
        if heldout is not None:
            raise UserError("leaving cameras out in turn and a list of held-out views exclude each other; give one")
        return leave_one_out(sample, inputs)
    spare = range(len(sample.views)) if heldout is None else heldout
    together = tuple(sorted({*inputs, *spare}))
    nothing_held_out = heldout is None and len(together) == len(inputs)
    if nothing_held_out and mode == "heldout":
        raise UserError(
            f"{sample.directory}: all of its {len(sample.views)} views are input, so that none is held out; give fewer "
            "input views, or leave each camera out in turn (validation.protocol: leave_one_out)"
        )
    if nothing_held_out and len(inputs) >= FEWEST_FOR_ROTATION:
        return leave_one_out(sample, inputs)
    return (Fold(tuple(inputs), together),)


def leave_one_out(sample: Sample, inputs: Sequence[int]) -> tuple[Fold, ...]:
    """One fold per input camera: it is held out, and the next one compared as input.

    Raises:
        UserError: there are too few cameras.
    """
    if len(inputs) < FEWEST_FOR_ROTATION:
        raise UserError(
            f"{sample.directory}: {len(inputs)} input views; leaving each out in turn needs {FEWEST_FOR_ROTATION}"
        )
    following = [*inputs[1:], inputs[0]]
    return tuple(
        Fold(tuple(view for view in inputs if view != left_out), tuple(sorted((left_out, compared))))
        for left_out, compared in zip(inputs, following, strict=True)
    )


def describe_folds(folds: Sequence[Fold]) -> dict[str, Any]:
    """A sample's folds for a report."""
    return {
        "leave_one_out": len(folds) > 1,
        "folds": [{"inputs": list(fold.inputs), "heldout": list(fold.heldout)} for fold in folds],
    }


def spread(count: int, wanted: int) -> list[int]:
    """At most `wanted` of `count` positions, evenly spread."""
    return sorted({round(position) for position in np.linspace(0, count - 1, min(count, wanted))})
