"""Label3D and DANNCE files: sync tables, labels, and files that contradict themselves."""

import numpy as np
import pytest
import scipy.io
from calibration_helpers import FAMILIES, FIVE, assert_same_cameras, dannce_content, dannce_parameters, rig_of
from matlab_helpers import cell, save_matlab_5, save_matlab_73

from gslrm.data.calibration import read_calibration
from gslrm.data.rig import Lens
from gslrm.errors import UserError


def labelled_content(rig, *, rows=(1, 3), offset=0, count=6, joints=2):
    """A sync table in which camera v is `offset` * v frames late, and labels at some of its rows."""
    time = np.arange(count)[:, None]
    point = np.array([[[50.0, 55.0, 20.0], [60.0, 50.0, 40.0]], [[40.0, 60.0, 30.0], [55.0, 57.0, 25.0]]])[:, :joints]
    sync = [{"data_frame": time + offset * v, "data_sampleID": 10 * time + 1} for v in range(len(rig.cameras))]
    labels = []
    for v, camera in enumerate(rig.cameras):
        labels.append({
            "data_2d": (camera.project(point) + 0.5).reshape(2, -1),
            "data_3d": point.reshape(2, -1),
            "data_frame": np.array([rows]) + offset * v,
            "data_sampleID": 10 * np.array([rows]) + 1,
        })  # fmt: skip
    return dannce_content(rig, sync=sync, labels=labels), point


SAVERS = pytest.mark.parametrize("save", [save_matlab_5, save_matlab_73])
DANNCE = FAMILIES["dannce"]


@SAVERS
def test_the_sync_table_gives_the_frame_of_every_camera_at_every_time(save, tmp_path):
    content, _ = labelled_content(rig_of(DANNCE), offset=2)
    found = read_calibration(save(tmp_path / "rig.mat", content))
    np.testing.assert_array_equal(found.frames, np.arange(6)[:, None] + [0, 2, 4, 6])
    assert found.frames.dtype.kind == "i"


@SAVERS
def test_labels_are_raw_pixels_in_the_corner_convention_at_rows_of_the_sync_table(save, tmp_path):
    rig = rig_of(DANNCE)
    content, point = labelled_content(rig, offset=2)
    labels = read_calibration(save(tmp_path / "rig.mat", content)).labels
    np.testing.assert_array_equal(labels.time, [1, 3])
    np.testing.assert_allclose(labels.point_world, point)
    np.testing.assert_allclose(labels.pixel, np.stack([c.project(point) for c in rig.cameras], axis=1), atol=1e-9)


def test_labels_without_sample_numbers_are_found_by_their_frames(tmp_path):
    content, _ = labelled_content(rig_of(DANNCE), offset=2)
    for table in (*content["sync"], *content["labelData"]):
        del table["data_sampleID"]
    np.testing.assert_array_equal(read_calibration(save_matlab_5(tmp_path / "a.mat", content)).labels.time, [1, 3])


def test_labels_without_a_sync_table_are_at_their_own_frames(tmp_path):
    content, _ = labelled_content(rig_of(DANNCE))
    del content["sync"]
    found = read_calibration(save_matlab_5(tmp_path / "a.mat", content))
    assert found.frames is None
    np.testing.assert_array_equal(found.labels.time, [1, 3])


def test_zeros_and_nan_are_points_that_nobody_marked(tmp_path):
    content, _ = labelled_content(rig_of(DANNCE))
    content["labelData"][1]["data_2d"][0, :2] = 0
    content["labelData"][2]["data_2d"][1, 2:] = np.nan
    content["labelData"][0]["data_3d"][1, :3] = 0
    labels = read_calibration(save_matlab_5(tmp_path / "a.mat", content)).labels
    missing = np.isnan(labels.pixel).all(axis=-1)
    assert np.argwhere(missing).tolist() == [[0, 1, 0], [1, 2, 1]]
    assert np.argwhere(np.isnan(labels.point_world).all(axis=-1)).tolist() == [[1, 0]]


@SAVERS
def test_a_file_whose_labels_are_empty_has_none(save, tmp_path):
    rig = rig_of(DANNCE)
    empty = [{"data_2d": np.zeros((0, 4)), "data_3d": np.zeros((0, 6)), "data_frame": np.zeros((0, 0))}] * 4
    content, _ = labelled_content(rig)
    content["labelData"] = empty
    found = read_calibration(save(tmp_path / "a.mat", content))
    assert found.labels is None
    assert found.frames is not None


def test_cameras_without_names_get_those_that_dannce_gives_them(tmp_path):
    content = dannce_content(rig_of(DANNCE))
    del content["camnames"]
    assert read_calibration(save_matlab_5(tmp_path / "a.mat", content)).names == tuple(
        f"Camera{i}" for i in range(1, 5)
    )


def test_parameters_may_be_an_array_of_structs(tmp_path):
    rig = rig_of(DANNCE)
    fields = [dannce_parameters(camera) for camera in rig.cameras]
    structs = np.zeros((4, 1), dtype=[(key, object) for key in fields[0]])
    for index, field in enumerate(fields):
        for key, value in field.items():
            structs[key][index, 0] = value
    scipy.io.savemat(tmp_path / "a.mat", {"params": structs, "camnames": cell(list(rig.names))})
    assert_same_cameras(read_calibration(tmp_path / "a.mat"), rig, has_size=False)


def test_two_radial_coefficients_leave_the_third_at_zero(tmp_path):
    content = dannce_content(rig_of(DANNCE))
    for values in content["params"]:
        values["RDistort"] = values["RDistort"][:, :2]
    lens = read_calibration(save_matlab_5(tmp_path / "a.mat", content)).cameras[0].lens
    assert lens == Lens(FIVE[:4])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda c: c["sync"][1].update(data_frame=np.arange(5)[:, None]),
            r"length per camera \(Camera1 6, Camera2 5",
        ),
        (lambda c: c["sync"].pop(), "sync speaks of 3 cameras, params of 4"),
        (lambda c: c["camnames"].pop(), "3 camnames for 4 cameras"),
        (lambda c: c["sync"][0].update(data_frame=np.arange(6)[:, None] - 1), "whole numbers from 0"),
        (lambda c: c["sync"][0].update(data_frame=np.arange(6)[:, None] + 0.5), "whole numbers from 0"),
        (
            lambda c: c["labelData"][0].update(data_sampleID=np.array([[11, 999]])),
            "data_sampleID 999 is not",
        ),
        (lambda c: c["labelData"][2].update(data_2d=np.ones((2, 6))), "different shape per camera"),
        (lambda c: [t.update(data_2d=np.ones((2, 3))) for t in c["labelData"]], "two columns per joint"),
        (lambda c: c["labelData"][0].update(data_3d=np.ones((2, 5))), "has 10 numbers, not the 12"),
        (lambda c: [t.update(data_sampleID=np.array([[11]])) for t in c["labelData"]], "1 data_sampleID for 2 labels"),
        (lambda c: c["params"][1].pop("r"), "camera Camera2: lacks 'r'"),
        (lambda c: c["params"][1].update(RDistort=np.ones((1, 4))), "RDistort must hold 2 or 3 coefficients, holds 4"),
        (lambda c: c["params"][1].update(K=np.ones((3, 4))), "must be 3x3 of numbers, has 12"),
        (lambda c: c["params"][1].update(t=np.ones((1, 3)) * 1j), "must be a list of 3 of numbers"),
        (lambda c: c.update(params=[np.ones(3)] * 4), "must be a mapping with 'K'"),
        (lambda c: c.update(camnames=[1.0] * 4), "must be a text"),
    ],
)
@SAVERS
def test_files_that_contradict_themselves_are_refused(save, change, message, tmp_path):
    content, _ = labelled_content(rig_of(DANNCE))
    change(content)
    path = save(tmp_path / "rig.mat", content)
    with pytest.raises(UserError, match=message) as refusal:
        read_calibration(path)
    assert "rig.mat" in str(refusal.value)


def test_a_matlab_file_of_something_else_is_refused(tmp_path):
    scipy.io.savemat(tmp_path / "predictions.mat", {"pred": np.ones(3)})
    with pytest.raises(UserError, match="neither 'params'"):
        read_calibration(tmp_path / "predictions.mat")
