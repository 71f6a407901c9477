"""A synthetic mouse before the cameras that will photograph it."""

import numpy as np
import torch

from gslrm.cameras import Cameras
from gslrm.data.synthetic_mouse import move_in_arena, sample_mouse
from gslrm.data.synthetic_rig import between_cameras, sees_whole, six_camera_rig, sphere_cameras
from gslrm.types import Gaussians

RIG_VIEWS = 6
MARGIN = 0.02  # of the image's width: room for the splats around the outermost means
PLACES_PER_RIG = 40  # a mouse with a long tail fits only near the middle; rather another rig than a long search


def sample_scene(
    rng: np.random.Generator, *, size: int, extra_views: int, held_out: bool
) -> tuple[Gaussians, Cameras, list[str]]:
    """A mouse that every camera sees whole, its cameras, and their names; the six of the rig come first.

    Args:
        rng: decides everything.
        size: width and height of the images in pixels.
        extra_views: cameras after the rig's, from anywhere.
        held_out: the extra views begin with the rig's six between-cameras, which samples for training never have.
    """
    mouse, rig, between = _mouse_in_view(rng, size)
    names = [f"Camera{index + 1}" for index in range(RIG_VIEWS)]
    extra = [between[: min(extra_views, RIG_VIEWS)]] if held_out else []
    names += [f"Between{index + 1}" for index in range(RIG_VIEWS)][:extra_views] if held_out else []
    missing = RIG_VIEWS + extra_views - len(names)
    if missing:
        extra.append(_around_mouse(rng, missing, mouse, size))
        names += [f"Sphere{index + 1}" for index in range(missing)]
    return mouse, _concatenate([rig, *extra]), names


def _mouse_in_view(rng: np.random.Generator, size: int) -> tuple[Gaussians, Cameras, Cameras]:
    mouse = sample_mouse(rng)
    while True:
        rig = six_camera_rig(rng, size)
        between = between_cameras(rig)
        both = _concatenate([rig, between])
        for _ in range(PLACES_PER_RIG):
            if sees_whole(both, mouse.means, MARGIN).all():
                return mouse, rig, between
            mouse = move_in_arena(mouse, rng)


def _around_mouse(rng: np.random.Generator, count: int, mouse: Gaussians, size: int) -> Cameras:
    middle = 0.5 * (mouse.means.amin(dim=0) + mouse.means.amax(dim=0))
    found: list[Cameras] = []
    while sum(len(cameras.focal) for cameras in found) < count:
        cameras = sphere_cameras(rng, count, size, tuple(middle.tolist()))
        found.append(cameras[sees_whole(cameras, mouse.means, MARGIN)])
    return _concatenate(found)[:count]


def _concatenate(parts: list[Cameras]) -> Cameras:
    first = parts[0]
    return Cameras(
        torch.cat([part.world_from_camera for part in parts]),
        torch.cat([part.focal for part in parts]),
        torch.cat([part.center for part in parts]),
        first.height,
        first.width,
    )
