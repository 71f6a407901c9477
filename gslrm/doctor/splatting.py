"""What the rasterizers allocate, as a rasterization that draws nothing."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from gslrm.config import Config
from gslrm.render.cpu_blending_backward import MOMENTS
from gslrm.render.cpu_blocks import PIXEL_STATES
from gslrm.render.cpu_blocks import TILE as CPU_TILE
from gslrm.render.cpu_pipeline import GRADIENT_BUFFER_BYTES, feature_count
from gslrm.render.cpu_projection import SPLAT_SIZE

GSPLAT_TILE = 16  # pixels
TRAINED_PIXELS = 1.3  # standard deviation of a splat once a network has learned that neighbours should just touch
TRAINED_OPACITY = 0.5
DISTANCE, FOCAL = 2.7, 1.072  # world units; focal length of a picture of side 1: the published cameras
ALPHA_MIN = 1 / 255

Rasterization = Callable[..., tuple[Tensor, Tensor, dict[str, Tensor]]]


@dataclass(frozen=True)
class Splats:
    """How many there are to draw, and how large."""

    count: int
    radius: float
    """Pixels from the centre beyond which a splat is invisible."""
    cameras: int
    height: int
    width: int

    def pairs(self, tile: int) -> int:
        """(Splat, tile) pairs of one camera: a box of `radius` touches so many tiles on average."""
        sides = [min(-(-size // tile), 2 * self.radius / tile + 1) for size in (self.width, self.height)]
        return round(self.count * sides[0] * sides[1])

    def tiles(self, tile: int) -> int:
        """Tiles of one picture."""
        return -(-self.width // tile) * -(-self.height // tile)


@dataclass(frozen=True)
class Allocation:
    """Bytes that a rasterization of all cameras takes beside its inputs, outputs and their gradients."""

    forward: int
    """While it draws."""
    kept: int
    """Until the backward pass has gone through."""
    backward: int
    """While it goes."""


def cpu_allocation(splats: Splats) -> Allocation:
    """Of `gslrm.render.cpu_pipeline`, array by array; float32 with three colours and depth."""
    features, tiles = feature_count(4), splats.tiles(CPU_TILE)
    pairs, row = splats.pairs(CPU_TILE), 4 * (MOMENTS + features)
    per_splat = 4 * (SPLAT_SIZE + features + 1 + 1)  # splat, features, tile count, where its pairs begin
    kept = splats.cameras * (splats.count * per_splat + 2 * 4 * pairs + tiles * (4 * PIXEL_STATES + 8))
    rows = max(pairs, min(splats.cameras * pairs, GRADIENT_BUFFER_BYTES // row))
    return Allocation(forward=splats.cameras * splats.count * 12, kept=kept, backward=rows * row)


def gsplat_allocation(splats: Splats) -> Allocation:
    """Of gsplat called camera by camera, counted from the shapes of its tensors; not measured."""
    pairs, pixels = splats.pairs(GSPLAT_TILE), splats.height * splats.width
    per_splat = 4 * (2 + 2 + 1 + 3 + 4 + 1)  # radii, centre, depth, conic, colours with depth, opacity
    per_pixel = 4 * (4 + 1 + 1 + 4 + 4)  # colours with depth, alpha, last splat, and both steps over the background
    kept = splats.cameras * (splats.count * per_splat + 4 * pairs + pixels * per_pixel)
    sorting = splats.count * (4 + 8) + pairs * (2 * 8 + 4)  # tile counts and their sum; keys twice, indices once more
    gradients = splats.count * 4 * (2 + 3 + 4 + 1 + 3 + 4 + 3)
    return Allocation(forward=sorting, kept=kept, backward=gradients)


def allocation_of(backend: str, *, is_card: bool) -> Callable[[Splats], Allocation]:
    """What a `render.backend` allocates on the device; the CPU's works in the host's memory, even beside a card."""
    if is_card:
        return gsplat_allocation if backend != "cpu" else lambda _: Allocation(0, 0, 0)
    return cpu_allocation


def splat_radius(config: Config, *, side: int) -> float:
    """Pixels from a splat's centre to where it ends.

    Networks with weights to begin with draw splats of `TRAINED_PIXELS`, others those of their first pass.
    """
    gaussians, hull = config.model.gaussians, config.model.hull
    deviation, opacity = TRAINED_PIXELS, TRAINED_OPACITY
    if config.training.checkpointing.resume_ckpt is None:
        scale = math.exp(min(gaussians.scale_bias, gaussians.scale_max)) * (gaussians.scaling_modifier or 1.0)
        on_hull = config.model.depth_anchor == "corrected_hull"
        deviation = hull.scale if on_hull else scale * FOCAL * side / DISTANCE
        opacity = 1 / (1 + math.exp(-gaussians.opacity_bias))
    extent = math.sqrt(2 * max(0.0, math.log(opacity / ALPHA_MIN)))
    return extent * math.sqrt(deviation**2 + config.render.eps2d)


def rehearsed_rasterization(allocate: Callable[[Splats], Allocation], radius: float) -> Rasterization:
    """A `rasterization` with gsplat's arguments that takes memory as another does."""

    def rasterization(
        means: Tensor, quats: Tensor, scales: Tensor, opacities: Tensor, colors: Tensor, viewmats: Tensor, Ks: Tensor,
        width: int, height: int, **_: Any,
    ) -> tuple[Tensor, Tensor, dict[str, Tensor]]:  # fmt: skip
        splats = Splats(len(means), radius, len(viewmats), height, width)
        image, alpha = _Draw.apply(splats, allocate(splats), means, quats, scales, opacities, colors)
        return image, alpha, {}

    return rasterization


class _Draw(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, splats: Splats, allocation: Allocation, *gaussians: Tensor) -> tuple[Tensor, Tensor]:
        shape = (splats.cameras, splats.height, splats.width)
        kept = torch.empty(allocation.kept, dtype=torch.uint8)
        torch.empty(allocation.forward, dtype=torch.uint8)  # freed at once: it only counts at the peak
        image, alpha = torch.empty(*shape, 4), torch.empty(*shape, 1)
        ctx.work = allocation.backward
        ctx.save_for_backward(*gaussians, image, alpha, kept)
        return image, alpha

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        gaussians = ctx.saved_tensors[:5]
        results = [torch.empty_like(tensor) for tensor in gaussians]
        torch.empty(ctx.work, dtype=torch.uint8)
        return None, None, *results
