"""Crop, resize and rotation about the camera centre: image, mask and camera change together, rays stay exact.

All three are one homography. Two cameras at the same place see the same rays; the pixel of one is found in the other by
`K_old R_old_new K_new^-1`. Nothing else may be done to an image of a calibrated camera.
"""

import math
from dataclasses import replace

import cv2
import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from gslrm.cameras import Cameras, shortest_turn

HALF = np.array([[1, 0, 0.5], [0, 1, 0.5], [0, 0, 1.0]])  # corner convention from OpenCV's pixel-centre convention


def crop(camera: Cameras, *, left: float, top: float, width: int, height: int) -> Cameras:
    """The camera of the window whose upper left corner is (left, top); it may reach outside the image."""
    return replace(camera, center=camera.center - camera.center.new_tensor([left, top]), width=width, height=height)


def resize(camera: Cameras, *, width: int, height: int) -> Cameras:
    """The camera of the whole image at another size."""
    ratio = camera.focal.new_tensor([width / camera.width, height / camera.height])
    return replace(camera, focal=camera.focal * ratio, center=camera.center * ratio, width=width, height=height)


def turn_to(camera: Cameras, target: Float[Tensor, "3"], *, focal: float, size: int) -> Cameras:
    """A square camera at the same place, turned by the smallest rotation so that its axis meets `target`.

    Square pixels of `focal`, the principal point in the middle.
    """
    pose = turn_pose(camera.world_from_camera, target)
    ones = torch.ones(2, dtype=camera.focal.dtype)
    return Cameras(pose, focal * ones, size / 2 * ones, size, size)


def turn_pose(world_from_camera: Float[Tensor, "4 4"], target: Float[Tensor, "3"]) -> Float[Tensor, "4 4"]:
    """The pose turned about the camera's centre by the smallest rotation so that its axis meets `target`."""
    rotation = world_from_camera[:3, :3]
    target_camera = rotation.mT @ (target - world_from_camera[:3, 3])
    axis = torch.nn.functional.normalize(target_camera, dim=0)
    pose = world_from_camera.clone()
    pose[:3, :3] = rotation @ shortest_turn(torch.eye(3, dtype=axis.dtype)[2], axis)
    return pose


def homography(source: Cameras, target: Cameras) -> np.ndarray:
    """3x3 matrix that maps target pixels (corner convention) to source pixels.

    Raises:
        ValueError: the cameras are at different places, so no homography relates their images.
    """
    baseline = (source.position - target.position).norm()
    if baseline > 1e-6 * (1 + source.position.norm()):
        raise ValueError(f"cameras {float(baseline):.3g} apart see different rays; no warp relates their images")
    source_from_target = source.world_from_camera[:3, :3].mT @ target.world_from_camera[:3, :3]
    matrix = source.intrinsics @ source_from_target @ torch.linalg.inv(target.intrinsics)
    return matrix.double().numpy()


def warp(premultiplied: np.ndarray, source: Cameras, target: Cameras) -> np.ndarray:
    """Resample an image of `source` to `target`, which must be at the same place.

    Args:
        premultiplied: float32 [H, W, C] with colours premultiplied by coverage; outside it is empty (0).
        source: camera of the image.
        target: camera wanted.

    Returns:
        float32 [target.height, target.width, C]; where the target is coarser, several samples per pixel are averaged.
    """
    matrix = np.linalg.inv(HALF) @ homography(source, target)
    samples = max(1, math.ceil(_scale(source, target) - 0.05))
    fine = np.diag([1 / samples, 1 / samples, 1.0]) @ HALF
    size = (target.width * samples, target.height * samples)
    warped = cv2.warpPerspective(premultiplied, matrix @ fine, size, flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)
    warped[_behind(matrix @ fine, size)] = 0
    if samples > 1:
        warped = cv2.resize(warped, (target.width, target.height), interpolation=cv2.INTER_AREA)
    return warped.reshape(target.height, target.width, -1)  # OpenCV drops a single channel


def outside_share(source: Cameras, target: Cameras) -> float:
    """Share of the target's pixels that the picture of `source`, at the same place, does not show."""
    pixel = target.pixel_grid().reshape(-1, 2).double().numpy()
    point = np.column_stack([pixel, np.ones(len(pixel))]) @ homography(source, target).T
    with np.errstate(divide="ignore", invalid="ignore"):
        position = point[:, :2] / point[:, 2:]
    inside = (point[:, 2] > 0) & (position >= 0).all(axis=1) & (position <= [source.width, source.height]).all(axis=1)
    return float(1 - inside.mean())


def _behind(matrix: np.ndarray, size: tuple[int, int]) -> np.ndarray | tuple[slice, slice]:
    """Index of the pixels whose rays the source camera has behind it, where OpenCV shows a mirror image."""
    width, height = size
    edge_x, edge_y = np.array([0, width - 1, 0, width - 1]), np.array([0, 0, height - 1, height - 1])
    depth = lambda x, y: matrix[2, 0] * x + matrix[2, 1] * y + matrix[2, 2]  # noqa: E731
    if (depth(edge_x, edge_y) > 0).all():
        return slice(0, 0), slice(0, 0)
    return depth(np.arange(width)[None], np.arange(height)[:, None]) <= 0


def _scale(source: Cameras, target: Cameras) -> float:
    """Source pixels per target pixel, the larger of the two axes."""
    return float((source.focal / target.focal).max())
