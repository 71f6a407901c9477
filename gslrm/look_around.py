"""Cameras evenly all around Gaussians of which nothing else is known."""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from gslrm.cameras import Cameras, shortest_turn
from gslrm.similarity import Similarity
from gslrm.types import Gaussians

FIELD_OF_VIEW = 30.0  # degrees
MARGIN = 1.2  # room around the object in the pictures
SOLID = 0.1  # opacity from which a Gaussian can stand for a piece of surface
OUTLIERS = 0.005  # share on either side of an axis that does not widen the object: floaters are few
START = 270.0  # azimuth of a circle's first camera about z, as in FaceLift's turntable
NOTHING_SOLID = "all Gaussians are nearly transparent, so that there is nothing to look at"
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
        raise ValueError(NOTHING_SOLID)
    ordered = means.sort(dim=0).values
    cut = int(OUTLIERS * len(means))
    return ordered[cut], ordered[len(means) - 1 - cut]


def solid_center(gaussians: Gaussians) -> Float[Tensor, "3"]:
    """The mean of the solid Gaussians' centres weighted by opacity, outliers left out, in float64 on the CPU.

    Raises:
        ValueError: no Gaussian is solid.
    """
    low, high = solid_box(gaussians)
    means, weights = gaussians.means.detach().cpu().double(), gaussians.opacities.detach().cpu().double()
    weights = weights * (weights >= SOLID) * ((means >= low) & (means <= high)).all(dim=-1)
    return (weights[:, None] * means).sum(dim=0) / weights.sum()


def solid_reach(gaussians: Gaussians, center: Float[Tensor, "3"]) -> float:
    """How far the solid Gaussians' centres reach from a point but for outliers, in world units.

    Raises:
        ValueError: no Gaussian is solid.
    """
    means = gaussians.means[gaussians.opacities >= SOLID].detach().cpu().double()
    if not len(means):
        raise ValueError(NOTHING_SOLID)
    reach = (means - center).norm(dim=1).sort().values
    return max(float(reach[len(reach) - 1 - int(OUTLIERS * len(reach))]), 1e-6)


@dataclass(frozen=True)
class Circle:
    """Cameras in a level circle that look at its middle, where they show a ball of `radius` with some room.

    `up` is the circle's axis, a unit vector; `elevation` is in degrees above the horizon. Azimuths are degrees and
    ascend counter-clockwise as seen from above, from the first camera on.
    """

    center: Float[Tensor, "3"]
    radius: float
    up: Float[Tensor, "3"]
    elevation: float
    field_of_view: float = FIELD_OF_VIEW

    @staticmethod
    def at_distance(
        distance: float, *, center: Float[Tensor, "3"], radius: float, up: Float[Tensor, "3"], elevation: float
    ) -> "Circle":
        """The circle whose cameras are that far from its middle, or as far as a field of view of 90 degrees allows."""
        half = math.asin(min(MARGIN * radius / distance, math.sqrt(0.5)))
        return Circle(center, radius, up, elevation, math.degrees(2 * half))

    @property
    def distance(self) -> float:
        """Of the cameras from the middle."""
        return MARGIN * self.radius / math.sin(math.radians(self.field_of_view / 2))

    def cameras(self, count: int, size: int) -> Cameras:
        """Cameras `[count]` in equal steps, in float64; the step after the last leads back to the first."""
        level = Cameras.orbit(
            count,
            radius=self.distance,
            elevation=self.elevation,
            field_of_view=self.field_of_view,
            size=size,
            start_azimuth=START,
            dtype=torch.float64,
        )
        one = torch.ones((), dtype=torch.float64)
        return level.transform(Similarity(one, self._from_level, self.center))

    def azimuth(self, position: Float[Tensor, "3"]) -> float:
        """How far the circle has turned, in degrees from 0 to 360, when it passes before a camera at this place."""
        x, y, _ = (self._from_level.mT @ (position.double() - self.center)).tolist()
        return (math.degrees(math.atan2(y, x)) - START) % 360

    @property
    def _from_level(self) -> Float[Tensor, "3 3"]:
        return shortest_turn(torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64), self.up)
