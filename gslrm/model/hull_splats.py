"""Raw channels to Gaussians that begin on a visual hull; all zeros is the hull itself.

Channels per Gaussian are those of `gaussian_head`, read as departures: the first position channel is depth where the
ray hits the hull, the second where it misses; quaternions are added to the identity.
"""

from dataclasses import replace

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor

from gslrm.config import ModelConfig
from gslrm.harmonics import coefficient_count, degree_0_from_rgb
from gslrm.model.hull_guide import HullGuide
from gslrm.types import Gaussians

FREE_SCALE = 3.0  # pixels: free Gaussians are few
INNER_SCALE = 3.0  # as much larger than those of the surface


def surface_gaussians(raw: Float[Tensor, "n c"], guide: HullGuide, config: ModelConfig) -> Gaussians:
    """One Gaussian per covered pixel, on its ray, about the hull."""
    rays, hull = guide.rays, config.hull
    depth = torch.where(
        rays.hit, config.depth_range * torch.tanh(raw[:, 0]), hull.miss_range * torch.tanh(raw[:, 1])
    )  # fmt: skip
    distance = rays.distance + hull.inset * guide.pixel + depth
    return _decode(
        raw, rays.origin + distance[:, None] * rays.direction, guide.colour, size=hull.scale * guide.pixel,
        opacity=torch.sigmoid(raw[:, -1] + config.gaussians.opacity_bias) * guide.coverage, config=config,
    )  # fmt: skip


def inner_gaussians(raw: Float[Tensor, "n c"], guide: HullGuide, config: ModelConfig) -> Gaussians:
    """A second Gaussian per covered pixel, anywhere between entering and leaving the hull."""
    rays, hull = guide.rays, config.hull
    distance = rays.distance + rays.thickness * torch.sigmoid(raw[:, 0])
    return _decode(
        raw, rays.origin + distance[:, None] * rays.direction, guide.colour,
        size=INNER_SCALE * hull.scale * guide.pixel,
        opacity=torch.sigmoid(raw[:, -1] + hull.fill_opacity) * guide.coverage, config=config,
    )  # fmt: skip


def free_gaussians(raw: Float[Tensor, "n c"], guide: HullGuide, config: ModelConfig) -> Gaussians:
    """Gaussians that belong to no pixel: positions in units of the hull points' deviation about their mean."""
    seen = guide.rays.hit
    if not seen.any():
        middle, spread, colour, pixel = raw.new_zeros(3), raw.new_ones(3), raw.new_full((3,), 0.5), raw.new_ones(())
    else:
        points = guide.rays.points[seen]
        middle, spread = points.mean(dim=0), points.std(dim=0, correction=0)
        colour, pixel = guide.colour[seen].mean(dim=0), guide.pixel[seen].mean()
    opacity = torch.sigmoid(raw[:, -1] + config.hull.fill_opacity) * seen.any()
    count = len(raw)
    return _decode(
        raw, middle + spread * raw[:, :3], colour.expand(count, 3), size=(FREE_SCALE * pixel).expand(count),
        opacity=opacity, config=config,
    )  # fmt: skip


def empty_gaussians(count: int, like: Gaussians) -> Gaussians:
    """Gaussians that no renderer draws, which fill up the scenes of a batch."""
    return replace(
        like.map(lambda tensor: tensor.new_zeros(count, *tensor.shape[1:])),
        scales=like.scales.new_ones(count, 3),
        rotations=_identity(like.rotations).expand(count, 4),
    )


def _decode(
    raw: Float[Tensor, "n c"],
    means: Float[Tensor, "n 3"],
    colour: Float[Tensor, "n 3"],
    *,
    size: Float[Tensor, "n"],
    opacity: Float[Tensor, "n"],
    config: ModelConfig,
) -> Gaussians:
    coefficients = coefficient_count(config.gaussians.sh_degree)
    _, features, scaling, rotation, _ = raw.split([3, 3 * coefficients, 3, 4, 1], dim=1)
    harmonics = rearrange(features, "n (k c) -> n k c", c=3)
    base = torch.zeros_like(harmonics)
    base[:, 0] = degree_0_from_rgb(colour)
    log_scale = scaling + size.log()[:, None]
    return Gaussians(
        means=means,
        scales=log_scale.clamp_max(config.gaussians.scale_max).exp(),
        rotations=torch.nn.functional.normalize(rotation + _identity(rotation), dim=1),
        opacities=opacity,
        harmonics=base + harmonics,
    )


def _identity(like: Tensor) -> Float[Tensor, "4"]:
    return like.new_tensor([1.0, 0.0, 0.0, 0.0])
