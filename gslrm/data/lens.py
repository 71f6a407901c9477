"""From a raw, distorted picture to a pinhole camera at the same place, in one resampling."""

import math
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Float

from gslrm.cameras import Cameras
from gslrm.data.rig import PIXEL_CENTRE, RigCamera

NOWHERE = -1e4  # source pixel of a target pixel that the raw picture does not show


def source_pixels(source: RigCamera, target: Cameras, *, samples: int = 1) -> Float[np.ndarray, "h w 2"]:
    """Where the raw picture shows what each pixel of a pinhole camera sees.

    Skew and every distortion coefficient count; where the lens model folds back on itself there is nothing. The map is
    exact at pixel centres; samples within a pixel are interpolated between them (below 1e-3 pixels for real lenses).

    Args:
        source: camera of the raw picture.
        target: one pinhole camera at the same place.
        samples: per target pixel and axis; the result is that many times larger.

    Returns:
        float32, raw pixels in OpenCV's convention (first pixel's centre at 0), as cv2.remap takes them.

    Raises:
        ValueError: the cameras are at different places, so no map relates their pictures.
    """
    baseline = np.linalg.norm(source.position - target.position.double().numpy())
    if baseline > 1e-6 * (1 + np.linalg.norm(source.position)):
        raise ValueError(f"cameras {baseline:.3g} apart see different rays; no map relates their pictures")
    rim = 0 if samples == 1 else 1  # one pixel more on each side, so that the outermost samples are interpolated too
    where: np.ndarray = source.pixels(_rays(source, target, rim)) - PIXEL_CENTRE
    if samples > 1:
        size = ((target.width + 2) * samples, (target.height + 2) * samples)
        where = cv2.resize(where, size, interpolation=cv2.INTER_LINEAR)[samples:-samples, samples:-samples]
    return np.nan_to_num(where, nan=NOWHERE).astype(np.float32)


@dataclass(frozen=True)
class Cutout:
    """Part of a raw picture, float32 premultiplied by coverage; everything around it is empty (0)."""

    left: int
    top: int
    pixels: Float[np.ndarray, "h w c"]


def resample(cutout: Cutout, source: RigCamera, target: Cameras) -> Float[np.ndarray, "h w c"]:
    """The picture that the pinhole camera would have taken.

    Args:
        cutout: of the raw picture.
        source: camera of the raw picture.
        target: one pinhole camera at the same place.

    Returns:
        float32; where the target is coarser, several samples per pixel are averaged.

    Raises:
        ValueError: the cameras are at different places.
    """
    samples = samples_per_pixel(source, target)
    where = source_pixels(source, target, samples=samples) - np.array([cutout.left, cutout.top], np.float32)
    if not cutout.pixels.size:
        return np.zeros((target.height, target.width, cutout.pixels.shape[2]), np.float32)
    fine: np.ndarray = cv2.remap(cutout.pixels, where, None, cv2.INTER_LINEAR)  # type: ignore[call-overload]
    if samples > 1:
        fine = cv2.resize(fine, (target.width, target.height), interpolation=cv2.INTER_AREA)
    return fine.reshape(target.height, target.width, cutout.pixels.shape[2])  # OpenCV drops a single channel


def samples_per_pixel(source: RigCamera, target: Cameras) -> int:
    """Samples per target pixel and axis at which no raw pixel near the axis is left out."""
    focal = np.array([source.intrinsics[0, 0], source.intrinsics[1, 1]])
    return max(1, math.ceil(float((focal / target.focal.double().numpy()).max()) - 0.05))


def _rays(source: RigCamera, target: Cameras, rim: int) -> Float[np.ndarray, "h w 3"]:
    """Directions through the target's pixel centres, in the source's axes."""
    focal, centre = target.focal.double().numpy(), target.center.double().numpy()
    columns, rows = (np.arange(-rim, size + rim) + 0.5 for size in (target.width, target.height))
    x, y = np.meshgrid((columns - centre[0]) / focal[0], (rows - centre[1]) / focal[1])
    source_from_target = source.camera_from_world[:3, :3] @ target.world_from_camera[:3, :3].double().numpy()
    return np.stack([x, y, np.ones_like(x)], axis=-1) @ source_from_target.T
