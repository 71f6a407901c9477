"""Random six-camera rigs like the real one, with cameras to hold out or to supervise from."""

import math

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from gslrm.cameras import Cameras

ARENA_CENTER = (51.0, 56.0, 17.0)  # mm, of the real rig, whose world begins at a corner of the arena
FOCAL = (1.42, 1.60)  # per image width and height: a 1152 x 1024 frame squashed to a square, so pixels are not square
UP = (0.0, 0.0, 1.0)


def six_camera_rig(rng: np.random.Generator, size: int) -> Cameras:
    """Six cameras on an uneven ring, low and high in turn, in an index order that is not the ring's."""
    azimuth = rng.uniform(0, 360) + 60 * np.arange(6) + rng.normal(0, 4, 6)
    low = np.arange(6) % 2 == rng.integers(2)
    elevation = np.where(low, rng.uniform(7.5, 11, 6), rng.uniform(21.5, 25.5, 6))
    target = np.array(ARENA_CENTER) + np.append(rng.normal(0, 5, 2), 0)
    target[2] = rng.uniform(40, 60)
    order = rng.permutation(6)
    return _roll(
        _aim(
            rng,
            position=_around(ARENA_CENTER, azimuth, elevation, rng.uniform(300, 340, 6))[order],
            target=target + rng.normal(0, 3, (6, 3)),
            size=size,
        ),
        rng.uniform(-2, 2, 6),
    )


def between_cameras(rig: Cameras) -> Cameras:
    """One camera half-way between each two neighbours on the ring, in ring order; they are meant to be held out."""
    offset = rig.position - torch.tensor(ARENA_CENTER, dtype=rig.position.dtype)
    azimuth = torch.atan2(offset[:, 1], offset[:, 0])
    first = azimuth.argsort()
    second = first.roll(-1)
    middle = azimuth[first] + 0.5 * torch.remainder(azimuth[second] - azimuth[first], 2 * math.pi)
    distance = torch.linalg.vector_norm(offset, dim=-1)
    elevation = torch.asin(offset[:, 2] / distance)
    mean = lambda values: 0.5 * (values[first] + values[second])  # noqa: E731
    position = _around(
        ARENA_CENTER,
        np.rad2deg(middle.double().numpy()),
        np.rad2deg(mean(elevation).double().numpy()),
        mean(distance).double().numpy(),
    )
    reach = torch.linalg.vector_norm(offset[:, :2], dim=-1, keepdim=True)  # to the arena's middle, about
    target = rig.position + reach * rig.world_from_camera[:, :3, 2]
    return Cameras.look_at(
        torch.from_numpy(position).to(rig.position.dtype),
        mean(target),
        torch.tensor(UP, dtype=rig.position.dtype),
        focal=mean(rig.focal),
        center=mean(rig.center),
        height=rig.height,
        width=rig.width,
    )


def sphere_cameras(
    rng: np.random.Generator, count: int, size: int, target: tuple[float, float, float] = (51.0, 56.0, 25.0)
) -> Cameras:
    """Cameras from anywhere above -5 degrees, spread evenly over the sphere, that look near a target."""
    lowest, highest = np.sin(np.deg2rad([-5, 80]))
    elevation = np.rad2deg(np.arcsin(rng.uniform(lowest, highest, count)))
    azimuth = rng.uniform(0, 360, count)
    return _roll(
        _aim(
            rng,
            position=_around(target, azimuth, elevation, rng.uniform(280, 360, count)),
            target=np.array(target) + rng.normal(0, 8, (count, 3)),
            size=size,
        ),
        rng.uniform(-5, 5, count),
    )


def sees_whole(cameras: Cameras, points: Float[Tensor, "n 3"], margin: float) -> Bool[Tensor, "v"]:
    """Which cameras have all points inside their image, `margin` (a share of the width) away from its edges."""
    shift = points.to(cameras.focal.dtype).expand(len(cameras.focal), -1, -1)
    pixel, depth = cameras.project(shift)
    size = torch.tensor([cameras.width, cameras.height], dtype=pixel.dtype)
    inside = ((pixel > margin * size) & (pixel < (1 - margin) * size)).all(dim=-1) & (depth > 0)
    return inside.all(dim=-1)


def _around(
    center: tuple[float, float, float],
    azimuth: Float[np.ndarray, "v"],
    elevation: Float[np.ndarray, "v"],
    distance: Float[np.ndarray, "v"],
) -> Float[np.ndarray, "v 3"]:
    azimuth, elevation = np.deg2rad(azimuth), np.deg2rad(elevation)
    level = np.cos(elevation)
    direction = np.stack([level * np.cos(azimuth), level * np.sin(azimuth), np.sin(elevation)], axis=-1)
    return np.array(center) + distance[:, None] * direction


def _aim(
    rng: np.random.Generator, *, position: Float[np.ndarray, "v 3"], target: Float[np.ndarray, "v 3"], size: int
) -> Cameras:
    count = len(position)
    focal = size * np.array(FOCAL) * rng.uniform(0.98, 1.02, (count, 1)) * rng.uniform(0.995, 1.005, (count, 2))
    center = size * (0.5 + rng.uniform(-0.08, 0.08, (count, 2)))
    return Cameras.look_at(
        torch.from_numpy(position),
        torch.from_numpy(target),
        torch.tensor(UP, dtype=torch.float64),
        focal=torch.from_numpy(focal),
        center=torch.from_numpy(center),
        height=size,
        width=size,
    )


def _roll(cameras: Cameras, degrees: Float[np.ndarray, "v"]) -> Cameras:
    """The cameras turned about their optical axes."""
    angle = torch.from_numpy(np.deg2rad(degrees))
    turn = torch.eye(4, dtype=torch.float64).repeat(len(degrees), 1, 1)
    turn[:, 0, 0] = turn[:, 1, 1] = angle.cos()
    turn[:, 1, 0], turn[:, 0, 1] = angle.sin(), -angle.sin()
    return Cameras(cameras.world_from_camera @ turn, cameras.focal, cameras.center, cameras.height, cameras.width)
