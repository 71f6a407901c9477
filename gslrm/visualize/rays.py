"""The rays that a network is given with its pictures, channel by channel."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from gslrm.visualize.colours import Stops, colour_ramp
from gslrm.visualize.sheet import Column, Picture, sheet

SIGNED: Stops = ((0.13, 0.30, 0.72), (0.96, 0.96, 0.96), (0.75, 0.12, 0.12))  # blue below 0, red above
CELL = 176  # pixels across a map


def ray_sheet(
    images: Float[Tensor, "v 3 h w"],
    rays: Float[Tensor, "v c h w"],
    channels: Sequence[str],
    names: Sequence[str],
) -> Picture:
    """The pictures, and below each its ray channels: blue is negative, white 0, red positive.

    Each channel has one scale for all views, its largest magnitude, which stands beside it. Views with equal maps have
    equal rays; no two cameras of a rig do.
    """
    rows = {"image": _reduced(images)}
    for channel, name in enumerate(channels):
        values = rays[:, channel : channel + 1].detach().cpu().float()
        largest = float(values.abs().max())
        rows[f"{name}\n±{largest:.3g}"] = colour_ramp(0.5 + 0.5 * _reduced(values) / max(largest, 1e-12), SIGNED)
    return sheet(rows, [Column(name) for name in names])


def _reduced(images: Float[Tensor, "v c h w"]) -> Float[Tensor, "v c h2 w2"]:
    height, width = images.shape[-2:]
    size = (round(height * CELL / width), CELL)
    return torch.nn.functional.interpolate(images.detach().cpu().float(), size, mode="area")
