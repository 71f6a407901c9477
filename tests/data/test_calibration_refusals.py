"""What no lab has is refused by name, as is what is no calibration."""

import json
from dataclasses import replace

import numpy as np
import pytest
from calibration_helpers import (
    FAMILIES,
    dannce_content,
    lab_rig,
    named,
    rig_of,
    write_explicit,
    write_mammal,
    write_opencv,
)
from matlab_helpers import save_matlab_5
from scipy.spatial.transform import Rotation

from gslrm.data.calibration import FORMATS, check_unit, read_calibration
from gslrm.data.rig import Lens
from gslrm.data.rig_checks import check_rig, meeting, rigid_rig, unit_warning
from gslrm.errors import UserError


def changed(rig, index, **changes):
    cameras = list(rig.cameras)
    cameras[index] = replace(cameras[index], **changes)
    return replace(rig, cameras=tuple(cameras))


def every(rig, change):
    return replace(rig, cameras=tuple(replace(c, camera_from_world=change(c.camera_from_world)) for c in rig.cameras))


def edited(matrix, row, column, value):
    matrix = matrix.copy()
    matrix[row, column] = value
    return matrix


RIG = lab_rig(4)
K, POSE = RIG.cameras[1].intrinsics, RIG.cameras[1].camera_from_world
HUGE = Lens((1e200,))


def test_the_rig_of_these_tests_is_accepted():
    check_rig(RIG)


@pytest.mark.parametrize(
    ("rig", "message"),
    [
        (replace(RIG, cameras=RIG.cameras[:1]), "holds 1 camera; a rig needs at least two"),
        (named(RIG, ["a", "b", "a", "b"]), "more than one camera is named a, b"),
        (changed(RIG, 1, intrinsics=K.T.copy()), "camera Camera2: the intrinsics are transposed"),
        (changed(RIG, 1, intrinsics=edited(K, 0, 0, np.nan)), "camera Camera2: the intrinsics hold NaN"),
        (changed(RIG, 1, intrinsics=edited(K, 0, 0, 1e12)), "the intrinsics hold 1e[+]12"),
        (changed(RIG, 1, intrinsics=edited(K, 1, 1, -360.0)), "focal lengths must be positive, are 363.1 and -360"),
        (changed(RIG, 1, intrinsics=edited(K, 0, 0, 0.0)), "focal lengths must be positive, are 0"),
        (changed(RIG, 1, intrinsics=edited(K, 1, 0, 2.0)), "must be .*fx, skew, cx.*, are not"),
        (changed(RIG, 1, intrinsics=edited(K, 2, 2, 2.0)), "must be .*fx, skew, cx.*, are not"),
        (changed(RIG, 1, lens=HUGE), "camera Camera2: the distortion coefficients hold 1e[+]200"),
        (
            changed(RIG, 1, camera_from_world=edited(POSE, 0, 3, np.inf)),
            "Camera2: the numbers of its pose hold NaN",
        ),
        (changed(RIG, 1, camera_from_world=edited(POSE, 0, 3, 1e200)), "its pose hold 1e[+]200"),
        (changed(RIG, 1, camera_from_world=POSE * [1.1, 1, 1, 1]), "camera Camera2: the rotation is not orthonormal"),
        (changed(RIG, 1, camera_from_world=POSE * [[-1], [1], [1], [1]]), "camera Camera2: the pose is mirrored"),
        (every(RIG, lambda pose: pose * [1, -1, 1, 1]), "camera Camera1: the pose is mirrored"),
        (changed(RIG, 1, intrinsics=edited(K, 0, 2, 900.0)), r"principal point \(900, 101\) is far outside .* 240x208"),
        (changed(RIG, 1, width=0), "a picture of 0x208 pixels is impossible"),
        (every(RIG, lambda pose: pose * [1, 1, 1, 0] + np.diag([0, 0, 0, 1.0])), "all cameras are at the same place"),
        (every(RIG, np.linalg.inv), "the poses seem to be inverted"),
        (every(RIG, lambda pose: np.diag([1.0, -1, -1, 1]) @ pose), "do not meet in front .*OpenGL"),
        (changed(RIG, 1, camera_from_world=np.diag([1.0, -1, -1, 1]) @ POSE), "is the pose of Camera2 right"),
    ],
)
def test_what_no_lab_has_is_refused_by_name(rig, message):
    with pytest.raises(UserError, match=message) as refusal:
        check_rig(rig)
    assert "made.up" in str(refusal.value)


@pytest.mark.parametrize("count", [2, 3, 4, 6, 12])
def test_rings_of_any_number_of_cameras_are_accepted(count):
    check_rig(lab_rig(count))


def test_two_cameras_side_by_side_are_accepted_although_their_axes_meet_nowhere():
    beside = POSE.copy()
    beside[0, 3] += 60
    check_rig(replace(RIG, cameras=(RIG.cameras[1], replace(RIG.cameras[2], camera_from_world=beside))))


@pytest.mark.parametrize(("degrees", "is_read"), [(2.0, True), (8.0, False)])
def test_only_axes_that_clearly_part_are_refused(degrees, is_read):
    turn = np.eye(4)
    turn[:3, :3] = Rotation.from_euler("y", -degrees, degrees=True).as_matrix()
    beside = POSE.copy()
    beside[0, 3] -= 60  # to the right of the other, and turned to the right
    rig = replace(RIG, cameras=(RIG.cameras[1], replace(RIG.cameras[2], camera_from_world=turn @ beside)))
    assert (meeting(rig).angle > 90).all()
    if is_read:
        check_rig(rig)
    else:
        with pytest.raises(UserError, match="do not meet in front"):
            check_rig(rig)


def test_the_axes_meet_where_the_cameras_look():
    found = meeting(lab_rig(6))
    np.testing.assert_allclose(found.point, [48, 52, 45], atol=1e-6)  # of `ring`
    assert found.angle.max() < 1e-4


def test_rotations_become_exact_and_a_rotation_stays_what_it_is():
    rounded = every(RIG, lambda pose: np.round(pose, 5))
    for one, other in zip(rigid_rig(rounded).cameras, RIG.cameras, strict=True):
        rotation = one.camera_from_world[:3, :3]
        np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-15)
        np.testing.assert_allclose(rotation, other.camera_from_world[:3, :3], atol=1e-5)
    for one, other in zip(rigid_rig(RIG).cameras, RIG.cameras, strict=True):
        np.testing.assert_allclose(one.camera_from_world, other.camera_from_world, rtol=0, atol=1e-12)


def scaled(factor, unit):
    return replace(every(RIG, lambda pose: pose * [1, 1, 1, factor] + np.diag([0, 0, 0, 1 - factor])), unit=unit)


@pytest.mark.parametrize(
    ("factor", "unit", "guess"),
    [(1.0, "mm", None), (0.001, "mm", "metres"), (1.0, "m", "millimetres"), (0.001, "m", None), (0.1, "cm", None),
     (0.001, "cm", "metres"), (0.001, None, None), (0.001, "inch", None)],
)  # fmt: skip
def test_distances_that_cannot_be_in_the_rigs_unit_are_told(factor, unit, guess):
    warning = unit_warning(scaled(factor, unit))
    assert (warning is None) == (guess is None)
    assert warning is None or f"seem to be in {guess}" in warning


def test_the_unit_that_a_user_states_replaces_the_files_or_is_refused():
    metres = scaled(0.001, "mm")
    assert check_unit(metres, "m").unit == "m"
    assert check_unit(metres, "any").unit is None
    assert check_unit(RIG, None).unit == "mm"
    with pytest.raises(UserError, match="seem to be in metres: state the unit"):
        check_unit(metres, None)


def test_a_file_is_checked_when_it_is_read(tmp_path):
    content = dannce_content(rig_of(FAMILIES["dannce"]))
    for values in content["params"]:
        values["K"] = values["K"].T
    with pytest.raises(UserError, match=r"rig\.mat: camera Camera1: the intrinsics are transposed"):
        read_calibration(save_matlab_5(tmp_path / "rig.mat", content))


def test_inverted_poses_in_a_file_are_refused(tmp_path):
    path = write_explicit(tmp_path, every(lab_rig(6), np.linalg.inv))
    with pytest.raises(UserError, match="seem to be inverted"):
        read_calibration(path)


def test_an_unknown_file_lists_the_formats(tmp_path):
    (tmp_path / "notes.txt").write_text("nothing")
    for path in (tmp_path, tmp_path / "notes.txt"):
        with pytest.raises(UserError, match="is no calibration in a known format") as refusal:
            read_calibration(path)
        assert all(entry.what in str(refusal.value) for entry in FORMATS.values())


def test_an_unknown_format_lists_the_names(tmp_path):
    with pytest.raises(UserError, match="'yaml' is unknown; known are dannce, mammal, anipose"):
        read_calibration(tmp_path, format="yaml")


def test_a_path_that_is_not_there_is_said_so(tmp_path):
    with pytest.raises(UserError, match="there is no such file or directory"):
        read_calibration(tmp_path / "missing.mat")


def test_a_directory_of_two_formats_is_ambiguous_unless_one_is_named(tmp_path):
    write_opencv(tmp_path, lab_rig(3))
    write_mammal(tmp_path, lab_rig(3))
    with pytest.raises(UserError, match="could be mammal or opencv; name the format"):
        read_calibration(tmp_path)
    assert read_calibration(tmp_path, format="opencv").names == ("Camera1", "Camera2", "Camera3")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.json", '{"frames": [', "is not valid JSON"),
        ("a.json", "[" * 100_000, "is not valid JSON"),
        ("a.toml", "[cam_0\n", "is not valid TOML"),
        ("a.yaml", "%YAML:1.0\n---\nK: [1, 2\n", "is not valid YAML"),
        ("a.yml", "%YAML:1.0\n---\n- 1\n", "must be a mapping"),
        ("a.json", "\xff", "is not valid JSON"),
    ],
)
def test_damaged_text_says_what_is_wrong_with_it(name, content, message, tmp_path):
    (tmp_path / name).write_text(content)
    with pytest.raises(UserError, match=message):
        read_calibration(tmp_path / name)


@pytest.mark.parametrize("mistake", [None, 3, [], [3], {"w2c": 3}, {"transform_matrix": "x"}, {"K": None}])
@pytest.mark.parametrize("format_name", ["facelift", "nerfstudio", "explicit"])
@pytest.mark.parametrize("key", ["frames", "cameras"])
def test_json_of_another_shape_is_refused(mistake, format_name, key, tmp_path):
    (tmp_path / "a.json").write_text(json.dumps({key: [mistake, mistake]}))
    with pytest.raises(UserError):
        read_calibration(tmp_path / "a.json", format=format_name)


@pytest.mark.parametrize("key", ["w2c", "fx", "w", "file_path", "transform_matrix", "K", "name", "fl_x", "dist"])
@pytest.mark.parametrize("value", [None, True, "x", [], {}, [[1, 2], [3]], 1e400, -5])
def test_values_of_another_kind_are_refused(key, value, tmp_path):
    for name in ("facelift", "nerfstudio", "explicit"):
        path = FAMILIES[name].write(tmp_path, rig_of(FAMILIES[name]))
        content = json.loads(path.read_text())
        items = content.get("frames") or content["cameras"]
        if key in items[1] and (key, value) not in ACCEPTED:
            items[1][key] = value
            path.write_text(json.dumps(content))
            with pytest.raises(UserError):
                read_calibration(path)


ACCEPTED = [("dist", []), ("name", "x"), ("file_path", "x")]
