"""Whether refining helps a sample: tried without one of its cameras, which then judges.

The prediction is made anew without that camera, too. A prediction that was given the camera copies its colours and its
outline; no honest fit to the others would seem to improve there (docs/refinement.md has figures).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from gslrm.config import RefineConfig
from gslrm.refine.fit import Fit
from gslrm.refine.target import Look, Target, look
from gslrm.render import Rasterizer
from gslrm.types import Gaussians

NEIGHBOURS = 2  # cameras on either side, on a ring
SLACK = 1.5  # dB below its best look at which the camera left out ends the trial: fits to fewer cameras wear out sooner


@dataclass(frozen=True)
class Trial:
    """What the camera left out saw: the prediction from the others, then every look at the fit to the others."""

    before: Look
    looks: tuple[tuple[int, Look], ...]
    """Steps taken, and what was seen then."""

    @property
    def steps(self) -> int:
        """The steps that may be taken: up to the last look that is better than the prediction and near the best one.

        It is 0 where no look is.
        """
        best = max((seen.psnr_crop for _, seen in self.looks), default=self.before.psnr_crop)
        good = [step for step, seen in self.looks if seen.better_than(self.before) and seen.psnr_crop >= best - SLACK]
        return max(good, default=0)

    @property
    def after(self) -> Look:
        """What was seen at `steps`; the prediction where that is 0."""
        return dict(self.looks).get(self.steps, self.before)


def choose_left_out(positions: Float[Tensor, "v 3"]) -> int:
    """The camera about the origin whose neighbours are nearest: the others lose least without it.

    Raises:
        ValueError: there are fewer than three.
    """
    direction = torch.nn.functional.normalize(positions.double(), dim=-1)
    if len(direction) <= NEIGHBOURS:
        raise ValueError(f"{len(direction)} cameras: one can be left out of three at least")
    alike = direction @ direction.mT
    alike.fill_diagonal_(-torch.inf)
    return int(alike.topk(NEIGHBOURS, dim=1).values.sum(dim=1).argmax())


def try_out(
    prediction: Gaussians,
    *,
    start: Gaussians,
    targets: Sequence[Target],
    left_out: Target,
    rasterizer: Rasterizer,
    config: RefineConfig,
    steps: int,
) -> Trial:
    """Fit `start` to the targets, looking from the camera left out now and then, until that has become worse.

    Args:
        prediction: Gaussians `[N]` without refinement, made without the camera left out.
        start: where the fit begins, mostly the prediction.
        targets: the other given views.
        left_out: what judges.
        rasterizer: draws both.
        config: pace and weights of the fit.
        steps: at most so many.
    """
    before = look(prediction, [left_out], rasterizer)
    fit = Fit(start, targets, rasterizer=rasterizer, config=config, steps=steps)
    looks: list[tuple[int, Look]] = []
    for step in range(1, steps + 1):
        fit.step()
        if step % config.look_every == 0 or step == steps:
            looks.append((step, look(fit.gaussians, [left_out], rasterizer)))
            if _is_over(looks):
                break
    return Trial(before, tuple(looks))


def _is_over(looks: Sequence[tuple[int, Look]]) -> bool:
    """Whether the last two looks are both well below the best one."""
    best = max(seen.psnr_crop for _, seen in looks)
    return len(looks) > 1 and all(seen.psnr_crop < best - SLACK for _, seen in looks[-2:])
