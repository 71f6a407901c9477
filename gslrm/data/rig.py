"""A calibrated rig as a lab has it: names, skew, lens distortion, any unit.

This is what calibration files are read into and raw pictures are measured with. The network never sees it: pictures are
resampled once to pinhole `Cameras` at the same places (`gslrm.data.lens`).
"""

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float

from gslrm.cameras import Cameras

PIXEL_CENTRE = 0.5  # corner convention (first pixel's centre at 0.5) minus OpenCV's (at 0)
MATLAB_ORIGIN = 1.0  # MATLAB puts the first pixel's centre at 1
UNDISTORT_STEPS = 30
UNDISTORT_TOLERANCE = 1e-10  # in the image plane at distance 1; 1e-7 of a pixel
RADIUS_SAMPLES = 4000
WIDEST_RADIUS = 4.0  # of the image plane at distance 1: 76 degrees off the axis

LensModel = Literal["polynomial", "fisheye"]
COEFFICIENTS = {"polynomial": 8, "fisheye": 4}


@dataclass(frozen=True)
class Lens:
    """Distortion in the image plane at distance 1, as OpenCV defines it.

    `polynomial`: k1 k2 p1 p2 k3 k4 k5 k6 (radial, tangential, rational). `fisheye`: k1 k2 k3 k4 of the angle off the
    axis (Kannala and Brandt 2006). Missing trailing coefficients are 0.

    Raises:
        ValueError: too many coefficients, or one is not finite.
    """

    coefficients: tuple[float, ...] = ()
    model: LensModel = "polynomial"

    def __post_init__(self) -> None:
        count = COEFFICIENTS[self.model]
        if len(self.coefficients) > count:
            raise ValueError(f"{len(self.coefficients)} distortion coefficients; at most {count} are supported")
        if not all(math.isfinite(value) for value in self.coefficients):
            raise ValueError("a distortion coefficient is not finite")
        padded = (*map(float, self.coefficients), *[0.0] * (count - len(self.coefficients)))
        object.__setattr__(self, "coefficients", padded)

    @property
    def is_identity(self) -> bool:
        """Whether the lens does nothing."""
        return self.model == "polynomial" and not any(self.coefficients)

    def distort(self, point: Float[np.ndarray, "*batch 2"]) -> Float[np.ndarray, "*batch 2"]:
        """Where the lens puts ideal points."""
        x, y = point[..., 0], point[..., 1]
        squared = x * x + y * y
        if self.model == "fisheye":
            return point * self._fisheye_factor(np.sqrt(squared))[..., None]
        _, _, p1, p2, *_ = self.coefficients
        factor = self._radial_factor(squared)
        return np.stack(
            [
                x * factor + 2 * p1 * x * y + p2 * (squared + 2 * x * x),
                y * factor + p1 * (squared + 2 * y * y) + 2 * p2 * x * y,
            ],
            axis=-1,
        )

    def undistort(self, point: Float[np.ndarray, "*batch 2"]) -> Float[np.ndarray, "*batch 2"]:
        """The ideal points that the lens puts at `point` (Newton's method); NaN where there is none."""
        if self.is_identity:
            return point.copy()
        ideal = point.astype(np.float64, copy=True)
        step = 1e-6
        with np.errstate(all="ignore"):
            for _ in range(UNDISTORT_STEPS):
                error = self.distort(ideal) - point
                along_x = (self.distort(ideal + [step, 0]) - self.distort(ideal - [step, 0])) / (2 * step)
                along_y = (self.distort(ideal + [0, step]) - self.distort(ideal - [0, step])) / (2 * step)
                determinant = along_x[..., 0] * along_y[..., 1] - along_x[..., 1] * along_y[..., 0]
                change_x = (along_y[..., 1] * error[..., 0] - along_y[..., 0] * error[..., 1]) / determinant
                change_y = (along_x[..., 0] * error[..., 1] - along_x[..., 1] * error[..., 0]) / determinant
                ideal = ideal - np.stack([change_x, change_y], axis=-1)
                if np.nanmax(np.abs(error), initial=0.0) < UNDISTORT_TOLERANCE:
                    break
            found = np.abs(self.distort(ideal) - point).max(axis=-1) < 100 * UNDISTORT_TOLERANCE
        return np.where((found & self.covers(ideal))[..., None], ideal, np.nan)

    def covers(self, point: Float[np.ndarray, "*batch 2"]) -> np.ndarray:
        """Whether ideal points lie where the model is one-to-one; beyond, a polynomial folds the picture back."""
        with np.errstate(invalid="ignore"):
            return np.hypot(point[..., 0], point[..., 1]) < self.radius

    @property
    def radius(self) -> float:
        """Largest ideal distance from the axis at which the distorted distance still grows."""
        radii = np.linspace(0, WIDEST_RADIUS, RADIUS_SAMPLES)
        factor = self._fisheye_factor(radii) if self.model == "fisheye" else self._radial_factor(radii * radii)
        with np.errstate(invalid="ignore"):
            shrinks = np.flatnonzero(~(np.diff(radii * factor) > 0))
        return float(radii[shrinks[0]]) if len(shrinks) else math.inf

    def _radial_factor(self, squared: np.ndarray) -> np.ndarray:
        k1, k2, _, _, k3, k4, k5, k6 = self.coefficients
        numerator = 1 + squared * (k1 + squared * (k2 + squared * k3))
        denominator = 1 + squared * (k4 + squared * (k5 + squared * k6))
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(denominator > 0, numerator / denominator, np.nan)

    def _fisheye_factor(self, radius: np.ndarray) -> np.ndarray:
        k1, k2, k3, k4 = self.coefficients
        angle = np.arctan(radius)
        square = angle * angle
        bent = angle * (1 + square * (k1 + square * (k2 + square * (k3 + square * k4))))
        return np.where(radius > 1e-9, bent / np.maximum(radius, 1e-9), 1.0)


@dataclass(frozen=True)
class RigCamera:
    """One camera of a rig, float64.

    `intrinsics` is [[fx, skew, cx], [0, fy, cy], [0, 0, 1]] in pixels of the raw picture, corner convention.
    `camera_from_world` maps points of the rig's world, in its unit, to OpenCV camera axes. The size is none where the
    calibration does not say it; it is then the video's.
    """

    name: str
    intrinsics: Float[np.ndarray, "3 3"]
    camera_from_world: Float[np.ndarray, "4 4"]
    lens: Lens = Lens()
    width: int | None = None
    height: int | None = None

    @property
    def position(self) -> Float[np.ndarray, "3"]:
        """Centre of projection in the world."""
        return -self.camera_from_world[:3, :3].T @ self.camera_from_world[:3, 3]

    def project(self, point_world: Float[np.ndarray, "*batch 3"]) -> Float[np.ndarray, "*batch 2"]:
        """Raw pixels of world points; NaN behind the camera and where the lens model folds."""
        return self.pixels(point_world @ self.camera_from_world[:3, :3].T + self.camera_from_world[:3, 3])

    def pixels(self, point_camera: Float[np.ndarray, "*batch 3"]) -> Float[np.ndarray, "*batch 2"]:
        """Raw pixels of points or directions in camera axes; NaN behind the camera and where the lens model folds."""
        depth = point_camera[..., 2:]
        with np.errstate(divide="ignore", invalid="ignore"):
            ideal = np.where(depth > 0, point_camera[..., :2] / depth, np.nan)
            bent = self.lens.distort(ideal)
        bent = np.where(self.lens.covers(ideal)[..., None], bent, np.nan)
        return bent @ self.intrinsics[:2, :2].T + self.intrinsics[:2, 2]

    def rays(self, pixel: Float[np.ndarray, "*batch 2"]) -> Float[np.ndarray, "*batch 3"]:
        """Unit directions in camera axes through raw pixels; NaN where the lens puts no ray."""
        bent = (pixel - self.intrinsics[:2, 2]) @ np.linalg.inv(self.intrinsics[:2, :2]).T
        ideal = self.lens.undistort(bent)
        direction = np.concatenate([ideal, np.ones_like(ideal[..., :1])], axis=-1)
        return direction / np.linalg.norm(direction, axis=-1, keepdims=True)

    def pinhole(self) -> Cameras:
        """The undistorted camera at the same place, with the same focal lengths and centre; skew is dropped.

        It is where its rays go that counts: pictures must be resampled to it, never relabelled.

        Raises:
            ValueError: the size is unknown, or the pose is not rigid.
        """
        if self.width is None or self.height is None:
            raise ValueError(f"the size of camera {self.name} is unknown")
        matrix = self.intrinsics
        return Cameras.from_w2c(
            [self.camera_from_world.tolist()],
            [[float(matrix[0, 0]), float(matrix[1, 1])]],
            [[float(matrix[0, 2]), float(matrix[1, 2])]],
            height=self.height,
            width=self.width,
        )[0]


@dataclass(frozen=True)
class Labels:
    """Keypoints that people have marked: raw pixels (corner convention) and world points, NaN where not marked.

    `time` [L] indexes the rig's time axis (rows of `Rig.frames`).
    """

    time: np.ndarray
    pixel: Float[np.ndarray, "labels views joints 2"]
    point_world: Float[np.ndarray, "labels joints 3"]


@dataclass(frozen=True)
class Rig:
    """All cameras of a calibration file, and what else it says about the recording."""

    cameras: tuple[RigCamera, ...]
    source: Path
    format: str
    unit: str | None = None
    """Name of the world's unit where the format fixes or suggests one (`mm`), else none."""
    undistorted: bool = False
    """The intrinsics belong to pictures that have been undistorted already."""
    frames: np.ndarray | None = None
    """Int [T, V]: frame of each camera's video at each time; none means frame t of every video at time t."""
    labels: Labels | None = None
    images: tuple[tuple[Path, ...], ...] | None = field(default=None, repr=False)
    """Where the format names pictures: [T][V]."""

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the cameras in the file's order."""
        return tuple(camera.name for camera in self.cameras)


def directions_world(camera: RigCamera, pixel: np.ndarray) -> torch.Tensor:
    """Unit world directions [n, 3] through raw pixels [n, 2] of a camera, without those that the lens has no ray for."""
    rays = camera.rays(np.asarray(pixel, np.float64)) @ camera.camera_from_world[:3, :3]
    return torch.from_numpy(rays[np.isfinite(rays).all(axis=1)])
