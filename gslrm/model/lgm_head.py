"""LGM's 14 raw channels to activated Gaussians."""

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor

from gslrm.exact import exact_float32
from gslrm.harmonics import degree_0_from_rgb
from gslrm.types import Gaussians

SPLIT = (3, 1, 3, 4, 3)  # position, opacity, scale, rotation wxyz, colour
CHANNELS = sum(SPLIT)
LIMIT = 1.0  # canonical units: half the side of the box that holds the positions
SCALE = 0.1  # canonical units: a raw 0 gives 0.069


def activate(raw: Float[Tensor, "b v 14 h w"], *, legacy_rotation: bool) -> Gaussians:
    """Gaussians [B, V * h * w] in the canonical frame, float32; order: view, row, column.

    Positions are free in [-1, 1]^3, not tied to a pixel's ray. Colours are plain RGB, that is, harmonics of degree 0.

    Args:
        raw: of the last convolution.
        legacy_rotation: axes of the canonical frame instead of the raw rotation. Weights from before April 2024 were
            trained with quaternions normalised over all Gaussians, which the rasterizer of then took for matrices next
            to the identity; one that normalises them itself must be given the identity.
    """
    with exact_float32(raw.device.type):
        gaussians = rearrange(raw.float(), "b v c h w -> b (v h w) c")
        position, opacity, scale, rotation, colour = gaussians.split(SPLIT, dim=-1)
        return Gaussians(
            means=position.clamp(-LIMIT, LIMIT),
            scales=SCALE * torch.nn.functional.softplus(scale),
            rotations=_identity(rotation) if legacy_rotation else torch.nn.functional.normalize(rotation, dim=-1),
            opacities=torch.sigmoid(opacity[..., 0]),
            harmonics=degree_0_from_rgb(0.5 * torch.tanh(colour) + 0.5)[..., None, :],
        )


def _identity(like: Float[Tensor, "b n 4"]) -> Float[Tensor, "b n 4"]:
    return like.new_tensor([1.0, 0.0, 0.0, 0.0]).expand_as(like)
