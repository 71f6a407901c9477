"""Numbers -> colours: heat maps of errors and depths, masks laid over images; tensors [v, 3, h, w] in [0, 1]."""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from gslrm import metrics

Stops = Sequence[tuple[float, float, float]]

MAX_ERROR = 0.3  # colour error at the hot end of the heat map
HEAT: Stops = ((0.0, 0.0, 1.0), (0.0, 1.0, 0.0), (1.0, 1.0, 0.0), (1.0, 0.0, 0.0))  # blue, green, yellow, red
# Dark and near to pale and far: brightness alone orders the colours, so they survive a grey print.
DEPTH: Stops = ((0.16, 0.04, 0.33), (0.47, 0.11, 0.43), (0.80, 0.25, 0.33), (0.97, 0.55, 0.20), (0.99, 0.95, 0.70))
OUTSIDE = 0.3  # grey of a map's background
TINT, TINT_STRENGTH = (0.1, 0.8, 0.3), 0.35  # of a mask laid over an image
CONTOUR = (1.0, 0.0, 0.6)
SURFACE = 0.5  # coverage from which a pixel has a depth


def error_heat_map(
    rendering: Float[Tensor, "v 3 h w"],
    target: Float[Tensor, "v 3 h w"],
    mask: Float[Tensor, "v 1 h w"],
    max_error: float = MAX_ERROR,
) -> Float[Tensor, "v 3 h w"]:
    """Mean absolute error over the channels as a colour, blue at 0 to red at `max_error`; grey outside the mask."""
    error = (rendering.clamp(0, 1) - target).abs().mean(dim=1, keepdim=True)
    return torch.where(mask > metrics.FOREGROUND, colour_ramp(error / max_error), torch.full_like(error, OUTSIDE))


def depth_map(
    depth: Float[Tensor, "v 1 h w"], alpha: Float[Tensor, "v 1 h w"], near: float, far: float
) -> Float[Tensor, "v 3 h w"]:
    """Depth as a colour, dark at `near` to pale at `far`; grey where the coverage is below one half."""
    colours = colour_ramp((depth - near) / max(far - near, 1e-12), DEPTH)
    return torch.where(alpha >= SURFACE, colours, torch.full_like(depth, OUTSIDE))


def mask_overlay(
    image: Float[Tensor, "v 3 h w"], tint: Float[Tensor, "v 1 h w"], outline: Float[Tensor, "v 1 h w"]
) -> Float[Tensor, "v 3 h w"]:
    """Images tinted green by a coverage, with the contour of a mask as a line."""
    strength = TINT_STRENGTH * tint
    tinted = (1 - strength) * image.clamp(0, 1) + strength * torch.tensor(TINT)[:, None, None]
    return torch.where(_contour(outline), torch.tensor(CONTOUR)[:, None, None], tinted)


def colour_ramp(value: Float[Tensor, "v 1 h w"], stops: Stops = HEAT) -> Float[Tensor, "v 3 h w"]:
    """Values as colours between equally spaced stops, the first at 0 or below, the last at 1 or above."""
    colours = torch.tensor(stops)
    position = value[:, 0].clamp(0, 1) * (len(stops) - 1)
    left = position.floor().clamp(max=len(stops) - 2).long()
    return torch.lerp(colours[left], colours[left + 1], (position - left)[..., None]).movedim(-1, 1)


def _contour(mask: Float[Tensor, "v 1 h w"]) -> Bool[Tensor, "v 1 h w"]:
    """The pixels just outside the mask, so that a thin tail stays visible; two pixels thick on large cells."""
    inside = mask > metrics.FOREGROUND
    reach = 1 if mask.shape[-1] <= 256 else 2
    near_inside = torch.nn.functional.max_pool2d(inside.float(), 2 * reach + 1, stride=1, padding=reach) > 0
    return near_inside & ~inside
