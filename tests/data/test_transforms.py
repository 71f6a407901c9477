"""Crop, resize and rotation about the camera centre keep every ray."""

import numpy as np
import pytest
import torch
from helpers import random_cameras

from gslrm.data.transforms import crop, homography, resize, turn_to, warp


def smooth_picture(camera) -> np.ndarray:
    """A picture whose colour depends only on the ray's direction, so that any camera at the place can be predicted."""
    _, direction = camera.rays()
    return (0.5 + 0.4 * torch.sin(4 * direction)).float().numpy()


@pytest.fixture
def camera():
    return random_cameras(1, size=(96, 120))[0]


def test_a_warped_picture_is_the_picture_of_the_new_camera(camera):
    target = turn_to(camera, torch.tensor([0.1, -0.1, 0.05], dtype=torch.float64), focal=150.0, size=48)
    expected = smooth_picture(target)
    np.testing.assert_allclose(warp(smooth_picture(camera), camera, target), expected, atol=2e-3)


def test_reducing_averages_so_that_the_mean_is_kept(camera):
    noise = np.random.default_rng(0).random((96, 120, 4), dtype=np.float32)
    small = warp(noise, camera, resize(camera, width=15, height=12))
    assert abs(small.mean() - noise.mean()) < 0.01
    assert small.std() < 0.4 * noise.std()


def test_whole_pixel_crops_are_slices(camera):
    picture = smooth_picture(camera)
    window = crop(camera, left=10.0, top=7.0, width=50, height=40)
    np.testing.assert_allclose(warp(picture, camera, window), picture[7:47, 10:60], atol=1e-5)


def test_crop_and_resize_move_projected_points_as_they_move_pixels(camera):
    points = torch.randn(1, 6, 3, dtype=torch.float64) * 0.1
    pixel, _ = camera[None].project(points)
    cropped, _ = crop(camera, left=3.5, top=-2.0, width=30, height=30)[None].project(points)
    torch.testing.assert_close(cropped, pixel - torch.tensor([3.5, -2.0], dtype=torch.float64))
    halved, _ = resize(camera, width=60, height=48)[None].project(points)
    torch.testing.assert_close(halved, pixel / 2)


def test_turning_to_a_point_puts_it_in_the_middle_without_moving_the_camera(camera):
    target = torch.tensor([0.3, 0.2, -0.1], dtype=torch.float64)
    turned = turn_to(camera, target, focal=80.0, size=32)
    torch.testing.assert_close(turned.position, camera.position)
    pixel, _ = turned[None].project(target[None, None])
    torch.testing.assert_close(pixel[0, 0], torch.tensor([16.0, 16.0], dtype=torch.float64))


def test_the_homography_maps_pixels_of_the_same_ray(camera):
    target = turn_to(camera, torch.zeros(3, dtype=torch.float64), focal=90.0, size=40)
    points = torch.randn(1, 8, 3, dtype=torch.float64) * 0.2
    old, _ = camera[None].project(points)
    new, _ = target[None].project(points)
    mapped = (
        torch.cat([new[0], torch.ones(8, 1, dtype=torch.float64)], 1) @ torch.from_numpy(homography(camera, target)).mT
    )
    torch.testing.assert_close(mapped[:, :2] / mapped[:, 2:], old[0])


def test_cameras_at_different_places_are_refused():
    first, second = random_cameras(2)[0], random_cameras(2)[1]
    with pytest.raises(ValueError, match="different rays"):
        homography(first, second)


def test_what_lies_outside_the_picture_is_empty(camera):
    picture = np.ones((96, 120, 4), np.float32)
    wide = warp(picture, camera, crop(camera, left=-20.0, top=-20.0, width=160, height=136))
    assert wide[:19].max() == 0
    assert wide[21:115, 21:139].min() == 1
