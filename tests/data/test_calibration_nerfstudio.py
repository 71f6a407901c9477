"""The many ways in which a transforms.json gives its intrinsics."""

import json

import cv2
import numpy as np
import pytest
from calibration_helpers import (
    FIVE,
    assert_same_cameras,
    lab_rig,
    nerfstudio_frame,
    shifted,
    write_nerfstudio,
    write_opencv,
)

from gslrm.data.calibration import read_calibration
from gslrm.data.images import write_image
from gslrm.data.rig import Lens
from gslrm.errors import UserError


def transforms(tmp_path, **content):
    (tmp_path / "transforms.json").write_text(json.dumps(content))
    return tmp_path / "transforms.json"


def test_intrinsics_of_a_frame_win_over_those_of_the_file(tmp_path):
    rig = lab_rig(3, lens=Lens(FIVE))
    frames = [nerfstudio_frame(camera) for camera in rig.cameras]
    shared = {key: frames[0].pop(key) for key in ("w", "h", "fl_x", "fl_y", "cx", "cy", "k1", "k2", "k3", "p1", "p2")}
    assert_same_cameras(read_calibration(transforms(tmp_path, **shared, frames=frames)), rig)


def test_the_applied_transform_stays_applied(tmp_path):
    rig = lab_rig(3, lens=Lens(FIVE))
    frames = [nerfstudio_frame(camera) for camera in rig.cameras]
    applied = [[0, 1, 0, 0], [1, 0, 0, 0], [0, 0, -1, 0]]
    assert_same_cameras(read_calibration(transforms(tmp_path, applied_transform=applied, frames=frames)), rig)


def test_pictures_are_named_relative_to_the_file(tmp_path):
    rig = read_calibration(write_nerfstudio(tmp_path, lab_rig(3)))
    assert rig.images == (tuple(tmp_path / f"images/Camera{index}.png" for index in (1, 2, 3)),)


def nerf_frames():
    return [
        {"file_path": f"./train/r_{index}", "transform_matrix": nerfstudio_frame(camera)["transform_matrix"]}
        for index, camera in enumerate(lab_rig(3).cameras)
    ]


@pytest.mark.parametrize("source", ["file", "pictures"])
def test_a_field_of_view_gives_the_focal_length_and_the_middle_is_the_centre(source, tmp_path):
    size = {"w": 80, "h": 60} if source == "file" else {}
    if source == "pictures":
        (tmp_path / "train").mkdir()
        for index in range(3):
            write_image(tmp_path / f"train/r_{index}.png", np.zeros((60, 80, 3), np.uint8))
    rig = read_calibration(transforms(tmp_path, camera_angle_x=2 * np.arctan(0.5), frames=nerf_frames(), **size))
    for camera in rig.cameras:
        np.testing.assert_allclose(camera.intrinsics, [[80, 0, 40], [0, 80, 30], [0, 0, 1]], rtol=1e-12)
        assert (camera.width, camera.height) == (80, 60)
    assert rig.names == ("r_0", "r_1", "r_2")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"camera_angle_x": 0.7}, "needs the size of the picture"),
        ({"camera_angle_x": 4.0, "w": 80, "h": 60}, "angle in radians below pi"),
        ({"w": 80, "h": 60}, "lacks fl_x or camera_angle_x"),
        ({"fl_x": 80}, "cx: must be a number"),
        ({"fl_x": "wide", "w": 80, "h": 60}, "fl_x: must be one of numbers"),
        ({"fl_x": 80, "w": 80, "h": 60, "k4": 0.1}, "k4 and more mean different things"),
        ({"fl_x": 80, "w": 80, "h": 60, "camera_model": "EQUIRECTANGULAR"}, "camera_model EQUIRECTANGULAR"),
        ({"fl_x": 80, "w": 80, "h": 60, "camera_model": "PINHOLE", "k1": 0.1}, "a pinhole camera has no distortion"),
        ({"fl_x": 80, "w": 80, "h": 60, "camera_model": ["OPENCV"]}, "camera_model .* is not supported"),
        ({"fl_x": 80, "w": 80, "h": 60, "unit": 3}, "'unit' must be a text"),
    ],
)
def test_transforms_that_cannot_be_are_refused(content, message, tmp_path):
    with pytest.raises(UserError, match=message):
        read_calibration(transforms(tmp_path, frames=nerf_frames(), **content))


def test_a_transposed_pose_is_refused(tmp_path):
    frames = nerf_frames()
    frames[1]["transform_matrix"] = np.transpose(frames[1]["transform_matrix"]).tolist()
    with pytest.raises(UserError, match=r"last row .* transposed"):
        read_calibration(transforms(tmp_path, fl_x=80, w=80, h=60, frames=frames))


def test_world_axes_agree_with_opencvs_projection(tmp_path):
    """OpenGL poses, Rodrigues vectors and matrices all put a point where OpenCV puts it."""
    rig = lab_rig(3, lens=Lens(FIVE))
    point = np.array([[50.0, 55.0, 20.0], [70.0, 40.0, 50.0]])
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    for path in (write_nerfstudio(tmp_path / "a", rig), write_opencv(tmp_path / "b", rig)):
        for found, camera in zip(read_calibration(path).cameras, rig.cameras, strict=True):
            vector, shift = cv2.Rodrigues(camera.camera_from_world[:3, :3])[0], camera.camera_from_world[:3, 3]
            expected = cv2.projectPoints(point, vector, shift, shifted(camera, -0.5), np.array(FIVE))[0][:, 0]
            np.testing.assert_allclose(found.project(point), expected + 0.5, atol=1e-8)


def test_a_focal_length_wins_over_a_field_of_view_and_pixels_are_square_unless_said(tmp_path):
    content = {"fl_x": 70, "cx": 40, "cy": 30, "camera_angle_x": 1.0}  # without a size the angle says nothing
    for extra, fy in (({}, 70), ({"fl_y": 75}, 75)):
        camera = read_calibration(transforms(tmp_path, frames=nerf_frames(), **content, **extra)).cameras[0]
        np.testing.assert_array_equal(camera.intrinsics, [[70, 0, 40], [0, fy, 30], [0, 0, 1]])
        assert camera.width is None


@pytest.mark.parametrize("changes", [{"is_fisheye": True}, {"camera_model": "OPENCV_FISHEYE"}])
def test_instant_ngp_marks_fisheye_lenses_in_its_own_way(changes, tmp_path):
    content = {"fl_x": 80, "w": 80, "h": 60, "k1": 0.1, "k2": 0.2, "k3": 0.3, "k4": 0.4} | changes
    lens = read_calibration(transforms(tmp_path, frames=nerf_frames(), **content)).cameras[0].lens
    assert lens == Lens((0.1, 0.2, 0.3, 0.4), "fisheye")
