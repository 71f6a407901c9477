"""Warped pictures are the pictures that the new cameras would have taken."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from data_helpers import BALL
from helpers import ring

from gslrm.cameras import Cameras
from gslrm.config import MouseConfig
from gslrm.data.normalize import place_object
from gslrm.data.placement import Placement
from gslrm.data.synthetic_raster import photograph as photograph_mesh
from gslrm.data.synthetic_scene import sample_scene
from gslrm.data.transforms import crop, outside_share, resize, turn_to, warp

GREY_LEVEL = 1 / 255
SIZE = 128
SAMPLES = 3  # rays per pixel and axis: pictures of a real camera are averages over pixels


def photograph(camera: Cameras) -> np.ndarray:
    """Ray casting of a textured ball above a textured disc, premultiplied [H, W, 4]; only the ball is object."""
    fine = resize(camera, width=camera.width * SAMPLES, height=camera.height * SAMPLES)
    origin, direction = (rays.numpy() for rays in fine.rays())
    offset = np.array(BALL) - origin
    along = (offset * direction).sum(-1)
    hidden = 30.0**2 - (offset**2).sum(-1) + along**2
    point = origin + (along - np.sqrt(np.maximum(hidden, 0)))[..., None] * direction
    colour = 0.5 + 0.4 * np.sin(point * [0.31, 0.27, 0.36] + [0.0, 1.0, 2.0])
    picture = np.dstack([colour, np.ones(colour.shape[:2])]) * (hidden > 0)[..., None]
    shape = (camera.height, SAMPLES, camera.width, SAMPLES, 4)
    return picture.reshape(shape).mean(axis=(1, 3)).astype(np.float32)


def median_error(found: np.ndarray, expected: np.ndarray) -> float:
    """Of colour and coverage on the object."""
    shown = expected[..., 3] > 0.5
    assert shown.sum() > 100
    return float(np.median(np.abs(found - expected)[shown].max(axis=-1)))


@pytest.fixture(scope="module")
def rig() -> tuple[list[Cameras], list[np.ndarray]]:
    """Cameras with fx != fy and centres away from the middle, and their pictures."""
    cameras = ring(6, size=384)
    views = [cameras[index] for index in range(6)]
    return views, [photograph(camera) for camera in views]


MODES = [
    {"crop": "footprint"},
    {"crop": "pretrained"},
    {"crop": "fill"},
    {"crop": "footprint", "object_size": 1.2, "crop_footprint": 1.4},
    {"crop": "pretrained", "center": [50.0, 55.0, 20.0]},
]


@pytest.mark.parametrize("mode", MODES, ids=str)
def test_a_crop_is_what_its_camera_would_have_photographed(rig, mode):
    cameras, pictures = rig
    placement = place(cameras, pictures, **mode)
    for camera, picture in zip(cameras, pictures, strict=True):
        target = placement.crop_camera(camera)
        assert median_error(warp(picture, camera, target), photograph(target)) < GREY_LEVEL


@pytest.mark.parametrize("wrong", ["half a pixel", "square pixels", "focal", "roll"])
def test_a_slightly_wrong_camera_would_be_noticed(rig, wrong):
    """The bound above is tight: each of these classic mistakes exceeds it several times."""
    cameras, pictures = rig
    target = place(cameras, pictures, crop="fill").crop_camera(cameras[0])
    camera = cameras[0]
    turn = camera.world_from_camera.clone()
    turn[:3, :2] = turn[:3, :2] @ torch.tensor([[0.9998, -0.02], [0.02, 0.9998]], dtype=torch.float64)
    mistaken = {
        "half a pixel": replace(camera, center=camera.center - 0.5),
        "square pixels": replace(camera, focal=camera.focal.mean().expand(2)),
        "focal": replace(camera, focal=camera.focal * 1.02),
        "roll": replace(camera, world_from_camera=turn),
    }[wrong]
    assert median_error(warp(pictures[0], mistaken, target), photograph(target)) > 1.5 * GREY_LEVEL


@pytest.mark.parametrize("mode", ["footprint", "pretrained", "fill"])
def test_a_crop_of_a_rendered_mouse_is_the_rendering_of_the_crops_camera(mode):
    """Through the rasterizer instead of ray casting: fur-sized detail, soft edges, real pose and size."""
    rng = np.random.default_rng(7)
    mouse, cameras, _ = sample_scene(rng, size=768, extra_views=0, held_out=False)
    views = [cameras[index] for index in range(3)]
    pictures = [rendered(mouse, camera) for camera in views]
    placement = place(views, pictures, crop=mode)
    for camera, picture in zip(views, pictures, strict=True):
        target = placement.crop_camera(camera)
        direct = rendered(mouse, resize(target, width=8 * SIZE, height=8 * SIZE))  # as fine as the stored picture
        expected = direct.reshape(SIZE, 8, SIZE, 8, 4).mean(axis=(1, 3))
        assert median_error(warp(picture, camera, target), expected) < GREY_LEVEL


def place(cameras: list[Cameras], pictures: list[np.ndarray], **settings: object) -> Placement:
    mouse = MouseConfig.model_validate({"normalize_cameras": True} | settings)
    return place_object([picture[..., 3] for picture in pictures], cameras, size=SIZE, mouse=mouse)


def rendered(mouse, camera: Cameras) -> np.ndarray:
    pictures = photograph_mesh(mouse, camera[None])
    return np.dstack([pictures.colour[0], pictures.coverage[0]])


class TestOutside:
    def test_the_share_outside_is_that_of_the_window(self):
        camera = ring(1, size=64)[0]
        assert outside_share(camera, camera) == 0
        assert outside_share(camera, crop(camera, left=-32.0, top=0.0, width=64, height=64)) == 0.5
        assert outside_share(camera, crop(camera, left=500.0, top=0.0, width=64, height=64)) == 1

    def test_it_is_the_share_that_a_white_picture_leaves_empty(self):
        camera = ring(1, size=64)[0]
        target = turn_to(camera, torch.tensor([80.0, 90.0, 0.0]).double(), focal=60.0, size=96)
        white = np.ones((64, 64, 1), np.float32)
        empty = (warp(white, camera, target) < 0.5).mean()
        assert outside_share(camera, target) == pytest.approx(empty, abs=0.01)
        assert 0.1 < empty < 0.9

    def test_what_lies_behind_the_camera_is_empty_and_not_a_mirror_image(self):
        """A homography maps opposite rays to one pixel; a held-out camera may well look away from the object."""
        camera = ring(1, size=64)[0]
        white = np.ones((64, 64, 4), np.float32)
        for right, forward in ((0.0, -1.0), (0.2, -1.0)):
            axes = camera.world_from_camera[:3, [0, 2]]
            backwards = camera.position + axes @ torch.tensor([right, forward], dtype=torch.float64)
            target = turn_to(camera, backwards, focal=60.0, size=64)
            assert warp(white, camera, target).max() == 0
            assert outside_share(camera, target) == 1
