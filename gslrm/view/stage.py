"""Gaussians and cameras as the viewer's server takes them: in a world of its own, chosen for half precision."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import Image
from torch import Tensor

from gslrm import harmonics as sh
from gslrm.cameras import Cameras
from gslrm.similarity import Similarity
from gslrm.types import Gaussians, matrix_from_quaternion, quaternion_from_matrix

RADIUS = 50.0  # of the object on the stage: covariances travel as float16, whose steps are 6e-8 near 0


@dataclass(frozen=True)
class Pose:
    """A camera on the stage: rotation and place (world from camera, OpenCV axes), vertical angle, width over height."""

    wxyz: tuple[float, ...]
    position: tuple[float, ...]
    fov: float
    aspect: float


@dataclass(frozen=True)
class Stage:
    """A similarity of the whole world that puts the object into the middle, `RADIUS` large."""

    stage_from_world: Similarity

    @staticmethod
    def around(center: Float[Tensor, "3"], radius: float) -> "Stage":
        """The stage for an object in a ball."""
        scale = torch.tensor(RADIUS / radius, dtype=torch.float64)
        identity = torch.eye(3, dtype=torch.float64)
        return Stage(Similarity.about(center.double(), scale=scale, rotation=identity))

    def splats(self, gaussians: Gaussians) -> dict[str, np.ndarray]:
        """Centres [n 3], covariances [n 3 3], colours [n 3], opacities [n 1] of Gaussians `[n]`, of degree 0."""
        axes = matrix_from_quaternion(gaussians.rotations.double()) * gaussians.scales.double()[:, None]
        scale = self.stage_from_world.scale
        return {
            "centers": self.stage_from_world.apply(gaussians.means.double()).float().numpy(),
            "covariances": (scale**2 * axes @ axes.mT).float().numpy(),
            "rgbs": sh.rgb_from_degree_0(gaussians.harmonics[:, 0]).clamp(0, 1).float().numpy(),
            "opacities": gaussians.opacities[:, None].float().numpy(),
        }

    def pose(self, camera: Cameras) -> Pose:
        """An unbatched camera on the stage; its principal point is taken for the middle of the picture."""
        moved = camera.to(torch.float64).transform(self.stage_from_world)
        wxyz = quaternion_from_matrix(moved.world_from_camera[:3, :3])
        fov = 2 * float(torch.atan(moved.height / 2 / moved.focal[1]))
        return Pose(tuple(wxyz.tolist()), tuple(moved.position.tolist()), fov, _aspect(moved))


def _aspect(camera: Cameras) -> float:
    """Width over height as square pixels would show it."""
    return float(camera.width / camera.focal[0] * camera.focal[1] / camera.height)


def shown(
    gaussians: Gaussians, *, faintest: float = 0.0, center: Float[Tensor, "3"] | None = None, half: float | None = None
) -> Gaussians:
    """The Gaussians `[n]` that are not fainter than asked, inside a cube of half a side about a centre, if given."""
    keep = gaussians.opacities >= faintest
    if center is not None and half is not None:
        keep = keep & ((gaussians.means - center.to(gaussians.means)).abs().amax(dim=1) <= half)
    return gaussians[keep]


def window_angle(camera: Cameras, aspect: float) -> float:
    """Vertical angle, in radians, of a window that is centred on the principal point and holds the whole picture.

    `aspect` is the window's width over its height.
    """
    return 2 * float(np.arctan(_half_window(camera, aspect)[1] / float(camera.focal[1])))


def in_window(picture: UInt8[np.ndarray, "h w 3"], camera: Cameras, aspect: float) -> UInt8[np.ndarray, "H W 3"]:
    """What a camera's picture fills of the window of `window_angle`, in square pixels, on white paper."""
    half_width, half_height = _half_window(camera, aspect)
    center_x, center_y = camera.center.tolist()
    stretch = float(camera.focal[1] / camera.focal[0])
    height, width = picture.shape[0], round(picture.shape[1] * stretch)
    square = np.asarray(Image.fromarray(picture).resize((width, height), Image.Resampling.BICUBIC))
    left, top = round(half_width - center_x * stretch), round(half_height - center_y)
    high, wide = max(round(2 * half_height), top + height), max(round(2 * half_width), left + width)
    paper = np.full((high, wide, 3), 255, np.uint8)
    paper[top : top + height, left : left + width] = square
    return paper


def _half_window(camera: Cameras, aspect: float) -> tuple[float, float]:
    """Half the width and height, in the camera's vertical pixels."""
    (center_x, center_y), stretch = camera.center.tolist(), float(camera.focal[1] / camera.focal[0])
    half_width = stretch * max(center_x, camera.width - center_x)
    half_height = max(center_y, camera.height - center_y, half_width / aspect)
    return half_height * aspect, half_height
