"""A calibrated rig as a lab has it: names, skew, lens distortion, any unit.

This is what calibration files are read into and raw pictures are measured with. The network never sees it: pictures are
resampled once to pinhole `Cameras` at the same places (`gslrm.data.lens`).
"""

import math
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from jaxtyping import Bool, Float
from numpy.polynomial import Polynomial

from gslrm.cameras import Cameras

PIXEL_CENTRE = 0.5  # corner convention (first pixel's centre at 0.5) minus OpenCV's (at 0)
MATLAB_ORIGIN = 1.0  # MATLAB puts the first pixel's centre at 1
UNDISTORT_STEPS = 30
UNDISTORT_TOLERANCE = 1e-10  # in the image plane at distance 1; 1e-7 of a pixel
UNDISTORT_STEP = 1e-6  # of the difference quotient
PROFILE_SAMPLES = 2000  # of the angle off the axis, for a start from which Newton's method converges

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
        x, y = point[..., :1], point[..., 1:]
        if self.model == "fisheye":
            return point * self._fisheye_factor(np.hypot(x, y))
        _, _, p1, p2, *_ = self.coefficients
        squared = x * x + y * y
        tangential_x = 2 * p1 * x * y + p2 * (squared + 2 * x * x)
        tangential_y = p1 * (squared + 2 * y * y) + 2 * p2 * x * y
        return point * self._radial_factor(squared) + np.concatenate([tangential_x, tangential_y], axis=-1)

    def undistort(self, point: Float[np.ndarray, "*batch 2"]) -> Float[np.ndarray, "*batch 2"]:
        """The ideal points that the lens puts at `point` (Newton's method); NaN where there is none."""
        if self.is_identity:
            return point.copy()
        with np.errstate(all="ignore"):
            ideal = self._undistort_radially(point)
            for _ in range(UNDISTORT_STEPS):
                error = self.distort(ideal) - point
                ideal = ideal - self._newton_step(ideal, error)
                if np.nanmax(np.abs(error), initial=0.0) < UNDISTORT_TOLERANCE:
                    break
            found = np.abs(self.distort(ideal) - point).max(axis=-1) < 100 * UNDISTORT_TOLERANCE
        return np.where((found & self.covers(ideal))[..., None], ideal, np.nan)

    def covers(self, point: Float[np.ndarray, "*batch 2"]) -> Bool[np.ndarray, "*batch"]:
        """Whether ideal points lie where the model is one-to-one; beyond, a polynomial folds the picture back."""
        with np.errstate(invalid="ignore"):
            return np.asarray(np.hypot(point[..., 0], point[..., 1]) < self.radius)

    @cached_property
    def radius(self) -> float:
        """Largest ideal distance from the axis up to which the distorted distance grows; the tangential part is small.

        Found as the first root of its derivative, or the first pole of the rational model.
        """
        if self.model == "fisheye":
            k1, k2, k3, k4 = self.coefficients
            squared_angle = _first_positive_root(Polynomial([1, 3 * k1, 5 * k2, 7 * k3, 9 * k4]))
            return math.tan(math.sqrt(squared_angle)) if squared_angle < (math.pi / 2) ** 2 else math.inf
        k1, k2, _, _, k3, k4, k5, k6 = self.coefficients
        top, bottom, squared = Polynomial([1, k1, k2, k3]), Polynomial([1, k4, k5, k6]), Polynomial([0, 1])
        growth = (top + 2 * squared * top.deriv()) * bottom - 2 * squared * top * bottom.deriv()
        return math.sqrt(min(_first_positive_root(growth), _first_positive_root(bottom)))

    def _undistort_radially(self, point: np.ndarray) -> np.ndarray:
        """`undistort` to table accuracy without the tangential part."""
        ideal, bent = self._profile
        distance = np.hypot(point[..., :1], point[..., 1:])
        return point * np.where(distance > 0, np.interp(distance, bent, ideal) / distance, 1.0)

    @cached_property
    def _profile(self) -> tuple[np.ndarray, np.ndarray]:
        """Ideal and distorted distances from the axis, ascending."""
        ideal = np.tan(np.linspace(0, math.atan(self.radius), PROFILE_SAMPLES, endpoint=False))
        factor = self._fisheye_factor(ideal) if self.model == "fisheye" else self._radial_factor(ideal * ideal)
        return ideal, ideal * factor

    def _newton_step(self, ideal: np.ndarray, error: np.ndarray) -> np.ndarray:
        step = UNDISTORT_STEP
        along_x = (self.distort(ideal + [step, 0]) - self.distort(ideal - [step, 0])) / (2 * step)
        along_y = (self.distort(ideal + [0, step]) - self.distort(ideal - [0, step])) / (2 * step)
        determinant = along_x[..., 0] * along_y[..., 1] - along_x[..., 1] * along_y[..., 0]
        change_x = (along_y[..., 1] * error[..., 0] - along_y[..., 0] * error[..., 1]) / determinant
        change_y = (along_x[..., 0] * error[..., 1] - along_x[..., 1] * error[..., 0]) / determinant
        return np.stack([change_x, change_y], axis=-1)

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


def _first_positive_root(polynomial: Polynomial) -> float:
    """The smallest root above 0 at which a polynomial that is positive at 0 changes its sign; infinity if none."""
    roots = polynomial.trim().roots()
    real = roots.real[(roots.imag == 0) & (roots.real > 0)]  # a double root comes out as a complex pair: no change
    return float(real.min()) if len(real) else math.inf


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

    @property
    def optical_axis(self) -> Float[np.ndarray, "3"]:
        """Unit direction in the world along which the camera looks."""
        return self.camera_from_world[2, :3]

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
    """Unit world directions [n, 3] through raw pixels [n, 2] of a camera, without those that have no ray."""
    rays = camera.rays(np.asarray(pixel, np.float64)) @ camera.camera_from_world[:3, :3]
    return torch.from_numpy(rays[np.isfinite(rays).all(axis=1)])
