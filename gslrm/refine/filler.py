"""Gaussians deep inside the visual hull, so that no camera looks through an object whose surface is faint somewhere."""

from collections.abc import Sequence
from dataclasses import replace

import cv2
import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from gslrm.refine.target import Target
from gslrm.render import Rasterizer
from gslrm.types import Gaussians

DEEP = 0.1  # of the silhouettes' size below which a point may lie in a hollow that no silhouette shows
SPREAD = 0.33  # of a filler's depth: three standard deviations reach the silhouettes' edge
WIDEST = 0.2  # of the silhouettes' size up to which fillers grow with depth
OPACITY = 0.9
SOLID = 0.05  # opacity from which a Gaussian lends its colour
LENDERS = 8
TRIES = 60_000  # points thrown into the box about the object, of which the first that lie deep are taken
LENDERS_LOOKED_AT = 4_000


def filler(gaussians: Gaussians, targets: Sequence[Target], count: int, *, rasterizer: Rasterizer) -> Gaussians:
    """At most `count` opaque Gaussians deep inside what all targets' masks agree on, coloured like those nearest.

    Hulls of few masks have hollows filled that the object has not, such as between legs; those lie at the hull's edge.
    What is deep everywhere and behind the Gaussians in every target is inside the object, and a camera that no given
    one resembles shall not see white there. None are made where the object is thin, or no given Gaussian can be seen.

    Args:
        gaussians: the object's, `[N]`.
        targets: given pictures.
        count: at most so many.
        rasterizer: draws what hides them.
    """
    solid = gaussians[gaussians.opacities > SOLID]
    if not count or not len(solid.means):
        return gaussians[:0]
    generator = torch.Generator().manual_seed(0)
    tries = torch.rand(TRIES, 3, generator=generator).to(solid.means)
    low, high = solid.means.amin(dim=0), solid.means.amax(dim=0)
    points = low + (high - low) * tries
    size = sum(_size(target) for target in targets) / len(targets)
    depth = inner_depth(points, targets)
    deep = (depth > DEEP * size).nonzero()[:, 0]
    deep = deep[hidden(points[deep], gaussians, targets, rasterizer)][:count]
    points, depth = points[deep], depth[deep]
    chosen = torch.randperm(len(solid.means), generator=generator)[:LENDERS_LOOKED_AT].to(points.device)
    lenders = solid[chosen]
    nearest = torch.cdist(points, lenders.means).topk(min(LENDERS, len(chosen)), largest=False).indices
    identity = points.new_tensor([1.0, 0.0, 0.0, 0.0])
    return replace(
        lenders,
        means=points,
        scales=(SPREAD * depth.clamp_max(WIDEST * size))[:, None].repeat(1, 3),
        rotations=identity.repeat(len(points), 1),
        opacities=points.new_full((len(points),), OPACITY),
        harmonics=lenders.harmonics[nearest].mean(dim=1),
    )


def inner_depth(points: Float[Tensor, "n 3"], targets: Sequence[Target]) -> Float[Tensor, "n"]:
    """How far inside the nearest silhouette's edge points are, in world units at the object; 0 outside of any."""
    least = points.new_full((len(points),), torch.inf)
    for target in targets:
        inside = (target.view.masks[0, 0] > 0.5).cpu().numpy()
        exact = cv2.distanceTransform(inside.astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE).astype(np.float64)
        distance = torch.from_numpy(np.sqrt(np.rint(exact**2)))  # OpenCV's last bit depends on where the memory lies
        pixel, ahead = target.view.cameras[0].to(points.device).project(points)
        height, width = inside.shape
        column, row = pixel.floor().long().unbind(dim=1)
        shown = (ahead > 0) & (column >= 0) & (column < width) & (row >= 0) & (row < height)
        found = distance.to(points)[row.clamp(0, height - 1), column.clamp(0, width - 1)] * target.pixel
        least = torch.minimum(least, torch.where(shown, found, 0.0))
    return least


@torch.no_grad()
def hidden(
    points: Float[Tensor, "n 3"], gaussians: Gaussians, targets: Sequence[Target], rasterizer: Rasterizer
) -> Bool[Tensor, "n"]:
    """Which points lie behind what every target shows of the Gaussians; those in a hollow are before it somewhere."""
    behind = torch.ones_like(points[:, 0], dtype=torch.bool)
    for target in targets:
        surface = target.render(gaussians, rasterizer).depth[0, 0]
        pixel, ahead = target.view.cameras[0].to(points.device).project(points)
        height, width = surface.shape
        column, row = pixel.floor().long().unbind(dim=1)
        behind &= ahead > surface[row.clamp(0, height - 1), column.clamp(0, width - 1)]
    return behind


def _size(target: Target) -> float:
    """Side of the square that is as large as the silhouette, in world units at the object."""
    return float((target.view.masks > 0.5).sum()) ** 0.5 * target.pixel
