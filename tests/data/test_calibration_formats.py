"""What is particular to pickles, to FileStorage files and to COLMAP."""

import json
import pickle
from dataclasses import replace

import numpy as np
import pytest
from calibration_helpers import (
    FAMILIES,
    FISHEYE,
    FIVE,
    SIZE,
    assert_same_cameras,
    file_storage,
    lab_rig,
    mammal_content,
    named,
    rig_of,
    shifted,
    write_easymocap,
    write_jarvis,
    write_opencv,
)
from colmap_helpers import write_colmap_binary, write_colmap_text

from gslrm.data.calibration import read_calibration
from gslrm.data.rig import Lens
from gslrm.errors import UserError


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("kind", ["list", "mapping"])
def test_pickles_of_every_protocol_are_read_without_running_them(protocol, kind, tmp_path):
    rig = named(rig_of(FAMILIES["mammal"], 12), [str(index) for index in range(12)])
    content = mammal_content(rig)
    content = content if kind == "list" else {index: content[index] for index in reversed(range(12))}
    (tmp_path / "new_cam.pkl").write_bytes(pickle.dumps(content, protocol=protocol))
    assert_same_cameras(read_calibration(tmp_path / "new_cam.pkl"), rig, has_size=False)


@pytest.mark.parametrize(
    "convert", [lambda m: m.astype(">f8"), np.asfortranarray, lambda m: m.tolist(), lambda m: [list(row) for row in m]]
)
def test_arrays_of_any_layout_are_read_from_pickles(convert, tmp_path):
    rig = named(rig_of(FAMILIES["mammal"]), ["0", "1", "2", "3"])
    content = [{**values, "K": convert(values["K"]), "R": convert(values["R"])} for values in mammal_content(rig)]
    (tmp_path / "cameras.pickle").write_bytes(pickle.dumps(content))
    assert_same_cameras(read_calibration(tmp_path / "cameras.pickle"), rig, has_size=False)


def test_opencv_files_name_their_lens_model_their_camera_and_a_rotation_matrix(tmp_path):
    rig = lab_rig(3, lens=Lens(FISHEYE, "fisheye"))
    for index, camera in enumerate(rig.cameras):
        content = {
            "camera_name": camera.name,
            "distortion_model": "equidistant",
            "K": shifted(camera, -0.5),
            "D": np.array([camera.lens.coefficients]),
            "R": camera.camera_from_world[:3, :3].copy(),
            "T": camera.camera_from_world[:3, 3:].copy(),
            "image_width": SIZE[0],
            "image_height": SIZE[1],
        }
        file_storage(tmp_path / f"{'cab'[index]}.yml", content)
    found = read_calibration(tmp_path)
    assert found.names == ("Camera2", "Camera3", "Camera1")  # files a, b, c
    assert_same_cameras(replace(found, cameras=(found.cameras[2], *found.cameras[:2])), rig)


def test_matrices_without_opencvs_tag_are_read(tmp_path):
    rig = lab_rig(3, lens=Lens(FIVE))
    for camera in rig.cameras:
        rows = {"camera_matrix": shifted(camera, -0.5), "R": camera.camera_from_world[:3, :3]}
        matrices = {key: {"rows": 3, "cols": 3, "data": value.ravel().tolist()} for key, value in rows.items()}
        lists = {"T": camera.camera_from_world[:3, 3].tolist(), "distortion_coefficients": list(FIVE)}
        (tmp_path / f"{camera.name}.yaml").write_text(json.dumps(matrices | lists))  # JSON is YAML
    assert_same_cameras(read_calibration(tmp_path), rig, has_size=False)


def test_camera_names_of_digits_keep_their_zeros(tmp_path):
    rig = named(lab_rig(3, lens=Lens(FIVE)), ["01", "02", "010"])
    write_easymocap(tmp_path, rig)
    file = tmp_path / "intri.yml"
    file.write_text(file.read_text().replace('"', ""))  # 01 without quotes is the number 1 to most readers
    assert read_calibration(tmp_path).names == ("01", "02", "010")


def test_easymocap_rotations_that_disagree_are_refused(tmp_path):
    rig = lab_rig(3, lens=Lens(FIVE))
    write_easymocap(tmp_path, rig)
    file = tmp_path / "extri.yml"
    file.write_text(file.read_text().replace("Rot_Camera2", "Rot_x").replace("Rot_Camera1", "Rot_Camera2"))
    with pytest.raises(UserError, match="Rot_Camera2 and R_Camera2 are different"):
        read_calibration(tmp_path)


def test_easymocap_sizes_are_read_where_they_are(tmp_path):
    rig = lab_rig(3, lens=Lens(FIVE))
    write_easymocap(tmp_path, rig)
    with (tmp_path / "intri.yml").open("a") as file:
        file.writelines(f"W_{name}: {SIZE[0]}\nH_{name}: {SIZE[1]}\n" for name in rig.names)
    assert_same_cameras(read_calibration(tmp_path), rig)


@pytest.mark.parametrize(
    ("write", "key", "message"),
    [
        (write_opencv, "camera_matrix", "is no calibration"),
        (write_opencv, "rvec", "lacks R or rotation_matrix"),
        (write_opencv, "tvec", "lacks T or t"),
        (write_opencv, "distortion_coefficients", "lacks distortion_coefficients or"),
        (write_jarvis, "distortionCoefficients", "lacks 'distortionCoefficients'"),
        (write_jarvis, "R", "lacks 'R'"),
        (write_easymocap, "K_Camera1", "lacks 'K_Camera1'"),
        (write_easymocap, "T_Camera1", "lacks 'T_Camera1'"),
    ],
)
def test_yaml_files_that_lack_something_say_what(write, key, message, tmp_path):
    write(tmp_path, lab_rig(3, lens=Lens(FIVE)))
    for file in tmp_path.iterdir():
        file.write_text(file.read_text().replace(f"{key}:", "other:"))
    with pytest.raises(UserError, match=message):
        read_calibration(tmp_path)


@pytest.mark.parametrize("points", ["", "1.5 2.5 -1 3.5 4.5 17"])
def test_the_line_of_points_may_be_empty(points, tmp_path):
    rig = lab_rig(5, lens=Lens(FIVE))
    assert_same_cameras(read_calibration(write_colmap_text(tmp_path, rig, points)), rig)


def test_text_whose_empty_lines_were_removed_is_refused(tmp_path):
    write_colmap_text(tmp_path, lab_rig(4, lens=Lens(FIVE)))
    file = tmp_path / "sparse/0/images.txt"
    file.write_text("\n".join(line for line in file.read_text().splitlines() if line))
    with pytest.raises(UserError, match="empty lines must not be removed"):
        read_calibration(tmp_path)


@pytest.mark.parametrize(
    ("model", "parameters", "lens"),
    [
        ("SIMPLE_PINHOLE", "360 122 101", Lens()),
        ("PINHOLE", "360 361 122 101", Lens()),
        ("SIMPLE_RADIAL", "360 122 101 0.1", Lens((0.1,))),
        ("RADIAL", "360 122 101 0.1 0.2", Lens((0.1, 0.2))),
        ("OPENCV", "360 361 122 101 0.1 0.2 0.01 0.02", Lens((0.1, 0.2, 0.01, 0.02))),
        ("FULL_OPENCV", "360 361 122 101 1 2 3 4 5 6 7 8", Lens((1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0))),
        ("OPENCV_FISHEYE", "360 361 122 101 0.1 0.2 0.3 0.4", Lens((0.1, 0.2, 0.3, 0.4), "fisheye")),
        ("RADIAL_FISHEYE", "360 122 101 0.1 0.2", Lens((0.1, 0.2), "fisheye")),
    ],
)
def test_every_colmap_model_has_its_own_order_of_parameters(model, parameters, lens, tmp_path):
    write_colmap_text(tmp_path, lab_rig(3))
    lines = [f"{index + 7} {model} 240 208 {parameters}" for index in range(3)]
    (tmp_path / "sparse/0/cameras.txt").write_text("\n".join(lines))
    camera = read_calibration(tmp_path).cameras[2]
    focal_y = 361 if parameters.split()[1] == "361" else 360
    np.testing.assert_array_equal(camera.intrinsics, [[360, 0, 122], [0, focal_y, 101], [0, 0, 1]])
    assert camera.lens == lens


def test_images_share_a_camera_and_are_named_by_their_files(tmp_path):
    write_colmap_text(tmp_path, lab_rig(4))
    file = tmp_path / "sparse/0/images.txt"
    text = file.read_text()
    for index in range(4):
        text = text.replace(f" {index + 7} Camera{index + 1}.png", f" 7 side {index}/0001.png")
    file.write_text(text)
    rig = read_calibration(tmp_path)
    assert rig.names == ("side 0/0001", "side 1/0001", "side 2/0001", "side 3/0001")
    assert rig.images == (tuple(tmp_path / "images" / f"side {index}/0001.png" for index in range(4)),)
    assert len({camera.intrinsics[0, 0] for camera in rig.cameras}) == 1


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("FULL_OPENCV", "FOV", "camera model FOV is not supported, only SIMPLE_PINHOLE"),
        ("7 FULL_OPENCV", "70 FULL_OPENCV", "camera 7 is not among the cameras"),
        (" 0.0\n", "\n", "FULL_OPENCV parameters: must be a list of 12"),
        (" 240 ", " 240.5 ", "240.5 x 208 pixels is impossible"),
        (" 208 ", " x ", "must be a list of"),
    ],
)
def test_colmap_cameras_that_cannot_be_are_refused(old, new, message, tmp_path):
    write_colmap_text(tmp_path, lab_rig(3, lens=Lens(FIVE)))
    file = tmp_path / "sparse/0/cameras.txt"
    assert old in file.read_text()
    file.write_text(file.read_text().replace(old, new))
    with pytest.raises(UserError, match=message):
        read_calibration(tmp_path)


@pytest.mark.parametrize("name", ["cameras.bin", "images.bin"])
def test_binary_files_with_something_behind_their_end_are_refused(name, tmp_path):
    write_colmap_binary(tmp_path, lab_rig(3))
    with (tmp_path / "sparse/0" / name).open("ab") as file:
        file.write(b"\0")
    with pytest.raises(UserError, match=f"{name}: is cut off or damaged"):
        read_calibration(tmp_path)


@pytest.mark.parametrize(("last", "is_read"), [(0.0, True), (0.01, False)])
def test_thin_prisms_and_tilt_are_refused_unless_they_are_zero(last, is_read, tmp_path):
    rig = lab_rig(3, lens=Lens(FIVE))
    write_opencv(tmp_path, rig)
    for file in tmp_path.iterdir():
        text = file.read_text().replace("cols: 8", "cols: 12").replace("-0.40000000000000002", "-0.4")
        file.write_text(text.replace("-0.4, 0., 0., 0. ]", f"-0.4, 0., 0., 0., 0., 0., 0., {last} ]"))
    if is_read:
        assert_same_cameras(read_calibration(tmp_path), rig)
    else:
        with pytest.raises(UserError, match="12 distortion coefficients; the polynomial model here has 8"):
            read_calibration(tmp_path)
