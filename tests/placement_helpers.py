"""A ball before a rig in millimetres, and how exactly it was placed."""

import numpy as np
import torch
from data_helpers import BALL
from helpers import ball_coverage, ring

from gslrm.cameras import Cameras
from gslrm.config import MouseConfig
from gslrm.data.transforms import homography


def scene(count: int = 6, size: int = 160) -> tuple[list[np.ndarray], list[Cameras]]:
    """Masks of the ball and cameras of a rig in millimetres with pixels that are not square."""
    cameras = ring(count, size=size)
    ball = torch.tensor(BALL, dtype=torch.float64)
    views = [cameras[index] for index in range(count)]
    return [ball_coverage(camera, ball, 30.0).astype(np.float32) for camera in views], views


def mouse_of(**settings: object) -> MouseConfig:
    return MouseConfig.model_validate({"normalize_cameras": True} | settings)


def warp_error(placement, cameras: list[Cameras]) -> list[float]:
    """Pixels between where each crop shows world points and where the camera told to the network projects them."""
    generator = torch.Generator().manual_seed(0)
    points = torch.tensor(BALL).double() + 30 * (torch.rand(20, 3, generator=generator, dtype=torch.float64) - 0.5)
    errors = []
    for camera in cameras:
        stored, _ = camera[None].project(points[None])
        ones = torch.ones(len(points), 1, dtype=torch.float64)
        matrix = torch.from_numpy(np.linalg.inv(homography(camera, placement.crop_camera(camera))))
        warped = torch.cat([stored[0], ones], 1) @ matrix.mT
        told, _ = placement.network_camera(camera)[None].project(placement.world_from_source.apply(points)[None])
        errors.append(float((warped[:, :2] / warped[:, 2:] - told[0]).norm(dim=1).max()))
    return errors


def assert_same_camera(found: Cameras, expected: Cameras) -> None:
    """Equal to 1e-6 of the camera's distance, and of each intrinsic."""
    difference = (found.world_from_camera - expected.world_from_camera).abs()
    assert difference[:3, :3].max() < 1e-6
    assert difference[:3, 3].max() < 1e-6 * expected.position.norm()
    torch.testing.assert_close(found.focal, expected.focal, rtol=1e-6, atol=0)
    torch.testing.assert_close(found.center, expected.center, rtol=1e-6, atol=0)
