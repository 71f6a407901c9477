"""Cameras evenly all around Gaussians of which nothing else is known."""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from gslrm.cameras import Cameras
from gslrm.types import Gaussians

FIELD_OF_VIEW = 30.0  # degrees
MARGIN = 1.2  # room around the object in the pictures
SOLID = 0.1  # opacity from which a Gaussian can stand for a piece of surface
OUTLIERS = 0.005  # share on either side of an axis that does not widen the object: floaters are few
GOLDEN_ANGLE = math.pi * (3 - math.sqrt(5))


def cameras_around(gaussians: Gaussians, count: int, size: int) -> Cameras:
    """Cameras `[count]` in float64 on a sphere around the solid Gaussians, which all of them show whole.

    Directions follow the spiral of sunflowers' seeds: as even as any number of points can be, none at a pole.

    Raises:
        ValueError: no Gaussian is solid.
    """
    center, radius = extent(gaussians)
    number = torch.arange(count, dtype=torch.float64)
    height = 1 - (2 * number + 1) / count
    across = (1 - height.square()).sqrt()
    turn = GOLDEN_ANGLE * number
    direction = torch.stack([across * turn.cos(), across * turn.sin(), height], dim=-1)
    half = math.radians(FIELD_OF_VIEW / 2)
    return Cameras.look_at(
        center + direction * MARGIN * radius / math.sin(half),
        center.expand(count, 3),
        torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64),
        focal=torch.full((count, 2), 0.5 * size / math.tan(half), dtype=torch.float64),
        center=torch.full((count, 2), size / 2, dtype=torch.float64),
        height=size,
        width=size,
    )


def extent(gaussians: Gaussians) -> tuple[Float[Tensor, "3"], float]:
    """Middle and radius of a ball around the solid Gaussians but for outliers, in world units.

    Raises:
        ValueError: no Gaussian is solid.
    """
    low, high = solid_box(gaussians)
    return (low + high) / 2, max(float((high - low).norm() / 2), 1e-6)


def solid_box(gaussians: Gaussians) -> tuple[Float[Tensor, "3"], Float[Tensor, "3"]]:
    """Lowest and highest corner of a box around the solid Gaussians' centres but for outliers, in float64 on the CPU.

    Raises:
        ValueError: no Gaussian is solid.
    """
    means = gaussians.means[gaussians.opacities >= SOLID].detach().cpu().double()
    if not len(means):
        raise ValueError("all Gaussians are nearly transparent, so that there is nothing to look at")
    ordered = means.sort(dim=0).values
    cut = int(OUTLIERS * len(means))
    return ordered[cut], ordered[len(means) - 1 - cut]
