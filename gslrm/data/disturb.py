"""Errors of masks and calibration put into what the network is given, so that it learns to live with them."""

from dataclasses import replace

import cv2
import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from gslrm.cameras import Cameras
from gslrm.config import NoiseConfig
from gslrm.types import Views, matrix_from_quaternion

RAGGED = 6  # pixels between independent errors along an outline
FLOOR = (0.2, 0.9)  # grey levels of what a mask that is too wide lets in


def disturb(views: Views, background: Float[Tensor, "3"], noise: NoiseConfig, rng: np.random.Generator) -> Views:
    """The views [V] of one sample with wrong outlines and wrong cameras; colours inside stay as they are."""
    if noise.mask_pixels:
        images, masks = zip(*(
            _with_drawn_outline(image, mask, background, noise.mask_pixels, rng)
            for image, mask in zip(views.images, views.masks, strict=True)
        ), strict=True)  # fmt: skip
        views = replace(views, images=torch.stack(images), masks=torch.stack(masks))
    if noise.camera_shift or noise.camera_turn:
        distance = views.cameras.position.norm(dim=-1, keepdim=True)
        views = replace(views, cameras=move_cameras(views.cameras, noise, rng, distance=distance))
    return views


def draw_growth(size: float, shape: tuple[int, int], rng: np.random.Generator) -> Float[np.ndarray, "h w"]:
    """By how many pixels a mask grows (or, below 0, shrinks) at each place of a picture.

    Up to `size` in all, and by as much again in either way along the outline; interpolation may add a little.
    """
    height, width = shape
    coarse = rng.uniform(-size, size, (height // RAGGED + 2, width // RAGGED + 2)).astype(np.float32)
    return rng.uniform(-size, size) + cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)


def move_outline(
    image: Float[Tensor, "3 h w"],
    mask: Float[Tensor, "1 h w"],
    background: Float[Tensor, "3"],
    growth: Float[np.ndarray, "h w"],
    *,
    reach: float,
    rng: np.random.Generator,
) -> tuple[Float[Tensor, "3 h w"], Float[Tensor, "1 h w"]]:
    """A picture on its background, with its mask, as a wrong mask would have cut it out.

    Where the mask is too wide it shows a grey floor, as a mask of a real picture would. Coverage farther than `reach`
    pixels from the outline stays as it is.
    """
    shape = mask[0].numpy()
    inside = (shape >= 0.5).astype(np.uint8)
    if not inside.any() or inside.all():
        return image, mask
    signed = cv2.distanceTransform(inside, cv2.DIST_L2, 3) - cv2.distanceTransform(1 - inside, cv2.DIST_L2, 3)
    moved = np.clip(signed - np.sign(signed) * 0.5 + growth + 0.5, 0, 1)
    drawn = torch.from_numpy(np.where(np.abs(signed) > reach, shape, moved).astype(np.float32))[None]
    floor = float(rng.uniform(*FLOOR))
    real = image - (1 - mask) * background[:, None, None] + (1 - mask) * floor
    return (real * drawn + (1 - drawn) * background[:, None, None]).clamp(0, 1), drawn


def move_cameras(
    cameras: Cameras, noise: NoiseConfig, rng: np.random.Generator, *, distance: Float[Tensor, "v 1"]
) -> Cameras:
    """Cameras [V] at wrong places, by shares of `distance`, and turned about them."""
    count = len(cameras.focal)
    pose = cameras.world_from_camera.clone()
    shift = torch.from_numpy(rng.normal(0, noise.camera_shift, (count, 3))).to(pose)
    half_turn = torch.from_numpy(rng.normal(0, np.radians(noise.camera_turn) / 2, (count, 3))).to(pose)
    turn = matrix_from_quaternion(torch.cat([torch.ones_like(half_turn[:, :1]), half_turn], dim=1))
    pose[:, :3, :3] = turn @ pose[:, :3, :3]
    pose[:, :3, 3] += distance * shift
    return replace(cameras, world_from_camera=pose)


def _with_drawn_outline(
    image: Float[Tensor, "3 h w"],
    mask: Float[Tensor, "1 h w"],
    background: Float[Tensor, "3"],
    size: float,
    rng: np.random.Generator,
) -> tuple[Float[Tensor, "3 h w"], Float[Tensor, "1 h w"]]:
    height, width = mask.shape[1:]
    growth = draw_growth(size, (height, width), rng)
    return move_outline(image, mask, background, growth, reach=3 * size + 2, rng=rng)
