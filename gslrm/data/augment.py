"""LGM's two augmentations: views that do not quite agree, so that the network learns to live with such views.

Tang et al., "LGM: Large Multi-View Gaussian Model" (ECCV 2024), section 3.4. Training only. The first input view stays
as it is, because the network's world is that view's; the others' pictures or cameras are disturbed, targets never.
"""

from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from gslrm.cameras import Cameras
from gslrm.config import AugmentConfig
from gslrm.types import Views, matrix_from_quaternion

MIN_KNOTS, MAX_KNOTS = 8, 16  # of a distorted picture, per axis
YAW, PITCH = 1.0, 0.5  # half-turns at strength 1: about the camera's vertical and horizontal axis


def augment(views: Views, config: AugmentConfig, rng: np.random.Generator) -> Views:
    """The input views [V] of one sample in training; each augmentation is drawn by itself."""
    count = len(views.images) - 1
    if not count:
        return views
    if rng.random() < config.grid_distortion:
        knots = int(rng.integers(MIN_KNOTS, MAX_KNOTS, endpoint=True))
        views = distort(views, torch.from_numpy(rng.random((count, 2, knots))), strength=config.grid_strength)
    if rng.random() < config.camera_jitter:
        angles = torch.from_numpy(rng.uniform(-1, 1, (count, 2)))
        views = replace(views, cameras=jitter(views.cameras, angles, strength=config.jitter_strength))
    return views


def distort(views: Views, uniforms: Float[Tensor, "moved 2 knots"], *, strength: float) -> Views:
    """All views but the first with their pictures, masks alike, pulled about between the knots of a grid.

    What would come from beyond a picture is its border. The original reads black there, half of it in the outermost
    pixels of every picture, on white paper.

    Args:
        views: [V].
        uniforms: in [0, 1), per view, axis (x, y) and knot; see `distortion_grid`.
        strength: largest shift of a knot, in half-distances between knots.
    """
    stacked = torch.cat([views.images, views.masks], dim=1)
    grid = distortion_grid(uniforms, height=stacked.shape[2], width=stacked.shape[3], strength=strength)
    pulled = torch.nn.functional.grid_sample(
        stacked[1:], grid.to(stacked), mode="bilinear", padding_mode="border", align_corners=False
    )
    stacked = torch.cat([stacked[:1], pulled])
    return replace(views, images=stacked[:, :3], masks=stacked[:, 3:])


def distortion_grid(
    uniforms: Float[Tensor, "n 2 knots"], *, height: int, width: int, strength: float
) -> Float[Tensor, "n height width 2"]:
    """Where each pixel is read, (x, y) in [-1, 1]: axes are pulled independently of each other."""
    rows = []
    for x, y in uniforms:
        columns = _pulled_axis(x, size=width, strength=strength)
        lines = _pulled_axis(y, size=height, strength=strength)
        rows.append(torch.stack([columns.expand(height, width), lines[:, None].expand(height, width)], dim=-1))
    return torch.stack(rows)


def _pulled_axis(uniforms: Float[Tensor, " knots"], *, size: int, strength: float) -> Float[Tensor, " size"]:
    """Source coordinates in [-1, 1] of the pixels of one axis.

    Knots at equal distances are moved to whole pixels near them; the pixels between two moved knots read the stretch
    between the two original ones, both ends included.
    """
    count = len(uniforms)
    even = torch.linspace(0, 1, count, dtype=uniforms.dtype)
    moved = ((even + strength * (uniforms - 0.5) / (count - 1)).clamp(0, 1) * size).long()
    moved[0], moved[-1] = 0, size
    source = torch.linspace(-1, 1, count, dtype=uniforms.dtype).tolist()
    pixels = moved.diff().tolist()
    stretches = zip(source[:-1], source[1:], pixels, strict=True)
    return torch.cat([torch.linspace(start, end, number, dtype=uniforms.dtype) for start, end, number in stretches])


def jitter(cameras: Cameras, angles: Float[Tensor, "moved 2"], *, strength: float) -> Cameras:
    """All cameras [V] but the first moved on their orbit about the world's origin; their pictures stay.

    Args:
        cameras: [V], about an object at the origin.
        angles: in [-1, 1], per camera: about its vertical, then its horizontal axis.
        strength: largest turn in half-turns about the vertical axis, half of it about the horizontal one.
    """
    pose = cameras.world_from_camera.clone()
    turned = pose[1:].double()
    yaw = _turn(-turned[:, :3, 1], torch.pi * strength * YAW * angles[:, 0].double())
    pitch = _turn(turned[:, :3, 0], torch.pi * strength * PITCH * angles[:, 1].double())
    pose[1:, :3] = (yaw @ pitch @ turned[:, :3]).to(pose)
    return replace(cameras, world_from_camera=pose)


def _turn(axis: Float[Tensor, "n 3"], angle: Float[Tensor, "n"]) -> Float[Tensor, "n 3 3"]:
    """Rotations by angles in radians about unit axes."""
    half = angle[:, None] / 2
    return matrix_from_quaternion(torch.cat([half.cos(), half.sin() * axis], dim=1))
