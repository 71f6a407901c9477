"""The real rig's files agree with one another and with its labels; skipped where the prepared material is not there."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from gslrm.data.calibration import read_calibration
from gslrm.data.rig import Lens
from gslrm.data.rig_checks import meeting, unit_warning

MATERIAL = Path(__file__).parents[3] / "shared" / "data"
RIG = MATERIAL / "rig"
RECORDINGS = ("markerless_mouse_1", "markerless_mouse_2")
pytestmark = pytest.mark.skipif(not RIG.is_dir(), reason="the prepared material is not on this machine")


def recording(name):
    return read_calibration(RIG / "raw" / f"{name}_label3d_dannce.mat")


def reprojection(rig, cameras):
    """Distance in pixels between the marked points and the projected ones: [labels, views, joints], NaN where none."""
    labels = rig.labels
    projected = np.stack([camera.project(labels.point_world) for camera in cameras], axis=1)
    return np.linalg.norm(projected - labels.pixel, axis=-1)


def without_skew(camera):
    matrix = camera.intrinsics.copy()
    matrix[0, 1] = 0
    return replace(camera, intrinsics=matrix)


@pytest.mark.parametrize("name", RECORDINGS)
def test_labelled_points_project_onto_their_labels_in_every_camera(name):
    rig = recording(name)
    error = reprojection(rig, rig.cameras)
    assert np.isfinite(error).mean() > 0.9
    assert np.nanmax(error) < 0.01


@pytest.mark.parametrize("name", RECORDINGS)
@pytest.mark.parametrize(
    ("drop", "median", "largest"),
    [
        (without_skew, (0.8, 1.0), (1.4, 1.8)),
        (lambda c: replace(c, lens=Lens(c.lens.coefficients[:4])), (0.08, 0.15), (5.0, 9.0)),
        (lambda c: replace(c, lens=Lens()), (3.0, 4.5), (12.0, 16.0)),
    ],
    ids=["skew", "k3", "distortion"],
)
def test_dropping_anything_moves_points_by_what_was_measured(name, drop, median, largest):
    rig = recording(name)
    error = reprojection(rig, [drop(camera) for camera in rig.cameras])
    assert median[0] < np.nanmedian(error, axis=(0, 2)).max() < median[1]
    assert largest[0] < np.nanmax(error) < largest[1]


@pytest.mark.parametrize("name", RECORDINGS)
def test_the_mat_file_agrees_with_its_explicit_json(name):
    rig, explicit = recording(name), json.loads((RIG / f"{name}.json").read_text())
    assert rig.names == tuple(camera["name"] for camera in explicit["cameras"])
    for camera, expected in zip(rig.cameras, explicit["cameras"], strict=True):
        np.testing.assert_allclose(camera.intrinsics - corner(), expected["K"], atol=1e-9)
        np.testing.assert_allclose(camera.lens.coefficients[:5], expected["dist"], atol=1e-12)
        np.testing.assert_allclose(camera.camera_from_world, expected["w2c"], atol=1e-9)
        np.testing.assert_allclose(camera.position, expected["position"], atol=1e-8)
    assert len(rig.labels.time) == explicit["labelled_frames"]
    assert rig.frames.shape == (18000, 6)
    np.testing.assert_array_equal(rig.frames, np.arange(18000)[:, None] + np.zeros(6, int))


def corner():
    return np.array([[0, 0, 0.5], [0, 0, 0.5], [0, 0, 0]])


@pytest.mark.parametrize("format_name", ["anipose", "jarvis", "opencv_filestorage", "colmap", "nerfstudio"])
def test_every_format_of_the_rig_gives_the_expected_cameras(format_name):
    rig = read_calibration(RIG / "formats" / format_name)
    expected = json.loads((RIG / "formats/expected.json").read_text())["cameras"]
    assert rig.names == tuple(camera["name"] for camera in expected)
    for camera, truth in zip(rig.cameras, expected, strict=True):
        np.testing.assert_allclose(camera.intrinsics - corner(), truth["K"], atol=1e-9)
        np.testing.assert_allclose(camera.lens.coefficients, [*truth["dist"], 0, 0, 0], atol=1e-12)
        np.testing.assert_allclose(camera.camera_from_world, truth["w2c"], atol=1e-9)
        assert (camera.width, camera.height) in [(truth["width"], truth["height"]), (None, None)]


def test_the_pickle_gives_the_expected_cameras_for_undistorted_pictures():
    rig = read_calibration(RIG / "formats/mammal/new_cam.pkl")
    expected = json.loads((RIG / "formats/expected.json").read_text())
    assert rig.undistorted
    for camera, truth, pose in zip(rig.cameras, expected["expected_mammal"], expected["cameras"], strict=True):
        np.testing.assert_allclose(camera.intrinsics - corner(), truth["K"], atol=1e-9)
        np.testing.assert_allclose(camera.camera_from_world, pose["w2c"], atol=1e-9)
        assert camera.lens.is_identity


def test_the_axes_of_the_real_rig_meet_sixty_millimetres_above_the_floor():
    rig = recording("markerless_mouse_1")
    np.testing.assert_allclose(meeting(rig).point, [47, 49, 60], atol=1)
    assert unit_warning(rig) is None


def test_the_emulated_recording_is_read_with_its_labels():
    rig = read_calibration(MATERIAL / "raw_capture/label3d_dannce.mat")
    np.testing.assert_array_equal(rig.labels.time, [0, 10, 20, 30, 39])
    assert np.nanmax(reprojection(rig, rig.cameras)) < 0.01


def test_the_published_sample_is_read():
    rig = read_calibration(MATERIAL / "facelift_sample/sample_000")
    assert (len(rig.cameras), rig.unit, rig.undistorted) == (32, None, True)
    assert all(picture.is_file() for picture in rig.images[0])
    np.testing.assert_allclose(meeting(rig).point, 0, atol=1e-3)
