"""What may be steadied from frame to frame without knowing which Gaussian is which: place, brightness.

Pixel-aligned Gaussians have no identity over time: the one of a pixel shows another piece of the animal in the next
frame, and their number changes. Averaging Gaussians, opacities or shapes over time would blur what moves. What remains
are quantities of a whole frame: where it is, how bright it is.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from gslrm import harmonics as sh
from gslrm.look_around import SOLID, solid_center
from gslrm.motion.smoothing import smooth_over_time
from gslrm.types import Gaussians

DARK = 1e-3  # mean brightness below which no gain is estimated from it


@dataclass(frozen=True)
class Summary:
    """The solid Gaussians' centre, none where nothing is solid, with their mean brightness weighted by opacity."""

    center: Float[Tensor, "3"] | None
    brightness: float


@dataclass(frozen=True)
class Correction:
    """What steadies one frame: a shift in its world, a factor on its colours."""

    shift: Float[Tensor, "3"]
    gain: float

    def apply(self, gaussians: Gaussians) -> Gaussians:
        """The same Gaussians, moved and brightened."""
        harmonics = self.gain * gaussians.harmonics
        offset = harmonics.new_full((3,), (self.gain - 1) * 0.5 / sh.DEGREE_0)
        harmonics = torch.cat([harmonics[..., :1, :] + offset, harmonics[..., 1:, :]], dim=-2)
        return replace(gaussians, means=gaussians.means + self.shift.to(gaussians.means), harmonics=harmonics)


def summarise(gaussians: Gaussians) -> Summary:
    """Where one frame is, how bright it is."""
    solid = gaussians.opacities >= SOLID
    if not solid.any():
        return Summary(None, 0.0)
    weights = gaussians.opacities[solid].double()
    colours = sh.rgb_from_degree_0(gaussians.harmonics[solid, 0]).clamp(0, 1).double().mean(dim=1)
    return Summary(solid_center(gaussians), float((weights * colours).sum() / weights.sum()))


def corrections(
    times: Sequence[float], frames: Sequence[Summary], *, reach: int, place: bool, brightness: bool
) -> list[Correction]:
    """What brings every frame's place and brightness to its neighbours' line in time; see `smooth_over_time`.

    Frames of which nothing is solid stay as they are. Constant velocity, or brightness that changes at a constant
    rate of its logarithm, is not changed.

    Args:
        times: seconds, ascending.
        frames: one summary per time.
        reach: frames on either side that count.
        place: whether frames are moved.
        brightness: whether colours are multiplied by one factor per frame.
    """
    still = Correction(torch.zeros(3, dtype=torch.float64), 1.0)
    seen = [(index, frame.center, frame.brightness) for index, frame in enumerate(frames) if frame.center is not None]
    if not seen:
        return [still] * len(frames)
    at = [times[index] for index, _, _ in seen]
    centers = torch.stack([center for _, center, _ in seen])
    levels = torch.tensor([[max(level, DARK)] for _, _, level in seen], dtype=torch.float64).log()
    shifts = smooth_over_time(at, centers, reach=reach if place else 0) - centers
    gains = (smooth_over_time(at, levels, reach=reach if brightness else 0) - levels)[:, 0].exp()
    found = {
        index: Correction(shift, float(gain)) for (index, _, _), shift, gain in zip(seen, shifts, gains, strict=True)
    }
    return [found.get(index, still) for index in range(len(frames))]
