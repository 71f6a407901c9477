"""Where up is, how a server's stage stands, what a comparison shows."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers import random_rotation
from view_helpers import mouse, rig, write_reconstruction

from gslrm.cameras import Cameras
from gslrm.errors import UserError
from gslrm.render import build_rasterizer
from gslrm.similarity import Similarity
from gslrm.types import matrix_from_quaternion
from gslrm.view.comparison import Comparison, compare, render
from gslrm.view.folders import read_scene
from gslrm.view.scene import Grain, Moment, ball_around, up_of
from gslrm.view.stage import RADIUS, Stage, in_window, shown, window_angle

RASTERIZER = build_rasterizer("cpu", device="cpu")


def turned(cameras: Cameras, rotation: torch.Tensor) -> Cameras:
    return cameras.transform(Similarity(torch.tensor(2.0).double(), rotation, torch.ones(3).double()))


def test_up_turns_with_the_world():
    rotation = random_rotation(2)
    cameras = rig(5)
    up = up_of([cameras[i] for i in range(5)])
    assert up @ torch.tensor([0.0, 0.0, 1.0]).double() > 0.9999
    found = up_of([turned(cameras, rotation)[i] for i in range(5)])
    torch.testing.assert_close(found, rotation @ up, atol=1e-9, rtol=0)


def test_one_camera_has_its_own_up_and_none_has_z():
    camera = rig()[0]
    torch.testing.assert_close(up_of([camera]), -camera.world_from_camera[:3, 1])
    assert up_of([]).tolist() == [0, 0, 1]


def test_transparent_gaussians_cannot_be_looked_at():
    faint = replace(mouse(), opacities=torch.full((2000,), 0.01))
    with pytest.raises(UserError, match="here: all Gaussians are nearly transparent"):
        ball_around(Moment("here", 0.0, lambda: faint))


def test_the_stage_keeps_what_cameras_see():
    center, camera = torch.tensor([48.0, 52.0, 45.0]), rig()[2]
    stage = Stage.around(center, 60.0)
    splats, pose = stage.splats(mouse(200)), stage.pose(camera)
    assert np.abs(splats["centers"]).max() < 1.5 * RADIUS
    rotation = matrix_from_quaternion(torch.tensor(pose.wxyz).double())
    points = torch.from_numpy(splats["centers"]).double() - torch.tensor(pose.position).double()
    on_stage = points @ rotation
    pixel = on_stage[:, :2] / on_stage[:, 2:] * camera.focal + camera.center
    expected, depth = camera.project(mouse(200).means.double())
    torch.testing.assert_close(pixel, expected, atol=1e-3, rtol=0)
    torch.testing.assert_close(on_stage[:, 2] / depth, torch.full_like(depth, RADIUS / 60), atol=1e-5, rtol=0)
    covariance = splats["covariances"]
    assert np.allclose(covariance, covariance.transpose(0, 2, 1)) and (np.linalg.eigvalsh(covariance) > 0).all()
    sizes = np.sqrt(np.linalg.eigvalsh(covariance))
    assert np.allclose(np.sort(mouse(200).scales.numpy() * RADIUS / 60), sizes, rtol=1e-3)


def test_sliders_leave_the_solid_and_the_near():
    gaussians, center = mouse(), torch.tensor([48.0, 52.0, 45.0])
    solid = shown(gaussians, faintest=0.7)
    assert len(solid.means) and (solid.opacities >= 0.7).all()
    near = shown(gaussians, center=center, half=15.0)
    assert 0 < len(near.means) < 2000 and ((near.means - center).abs() <= 15).all()
    assert len(shown(gaussians).means) == 2000


@pytest.mark.parametrize("aspect", [0.5, 1.0, 2.3])
def test_a_picture_lies_in_its_window_where_a_centred_camera_sees_it(aspect):
    camera = rig()[1]
    window = in_window(np.zeros((camera.height, camera.width, 3), np.uint8), camera, aspect)
    height, width = window.shape[:2]
    assert width / height == pytest.approx(aspect, rel=0.03)
    focal = 0.5 * height / np.tan(window_angle(camera, aspect) / 2)
    assert focal == pytest.approx(float(camera.focal[1]), rel=0.02)
    rows, columns = np.nonzero(window.min(axis=2) < 128)
    (center_x, center_y), stretch = camera.center.tolist(), float(camera.focal[1] / camera.focal[0])
    assert rows.min() == pytest.approx(height / 2 - center_y, abs=1.5)
    assert columns.min() == pytest.approx(width / 2 - stretch * center_x, abs=1.5)
    assert columns.max() + 1 == pytest.approx(width / 2 + stretch * (camera.width - center_x), abs=1.5)


def test_finer_pictures_get_the_blur_of_the_models_pixels():
    camera = rig()[0]
    same = Grain(density=1.0, center=(48.0, 52.0, 45.0))
    coarse = replace(same, density=same.ratio(camera) / 4)
    assert coarse.ratio(camera) == pytest.approx(4.0)
    sharp, blurred = (render(mouse(100), camera, RASTERIZER, grain) for grain in (None, coarse))
    edges = [float((picture[:, 1:] - picture[:, :-1]).abs().mean()) for picture in (sharp, blurred)]
    assert edges[1] < 0.9 * edges[0]


def test_a_comparison_shows_photo_render_blend_and_error(tmp_path):
    scene = read_scene(write_reconstruction(tmp_path))
    moment = scene.moments[0]
    good = compare(moment.load(), moment.cameras[3], RASTERIZER)
    bad = compare(shown(moment.load(), faintest=0.8), moment.cameras[3], RASTERIZER)
    assert good.psnr > 40 > 25 > bad.psnr
    blend = (good.picture("photo").astype(float) + good.picture("render")) / 2
    assert np.abs(good.picture("blend", 0.5) - blend).max() <= 1
    blue, grey = good.picture("error")[..., 2] > 200, (good.picture("error") == 76).all(axis=2)
    assert (blue | grey).all() and min(blue.sum(), grey.sum()) > 500
    assert (bad.picture("error")[..., 0] > 200).sum() > (good.picture("error")[..., 0] > 200).sum()


def test_without_a_photo_there_is_the_rendering_and_no_score(tmp_path):
    moment = read_scene(write_reconstruction(tmp_path)).moments[0]
    alone = compare(moment.load(), replace(moment.cameras[0], stored=None), RASTERIZER)
    assert alone.photo is None and alone.psnr is None
    for kind in ("photo", "blend", "error"):
        assert np.array_equal(alone.picture(kind), alone.picture("render"))


def test_without_a_mask_errors_are_those_of_the_whole_picture():
    grey = torch.full((3, 8, 8), 0.5)
    comparison = Comparison(grey, torch.ones(3, 8, 8))
    assert comparison.psnr is None and (comparison.picture("error") == [255, 0, 0]).all()
