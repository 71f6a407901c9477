"""What is written is read back the same; what a format cannot carry is refused, never dropped."""

import json
import sys
from dataclasses import replace

import numpy as np
import pytest
from calibration_helpers import (
    EIGHT,
    FAMILIES,
    FISHEYE,
    FIVE,
    assert_same_cameras,
    lab_rig,
    named,
    rig_of,
)

from gslrm.data.calibration import FORMATS, WRITABLE, read_calibration, write_calibration
from gslrm.data.rig import Lens
from gslrm.data.sample import read_sample
from gslrm.errors import UserError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

FILES = {"anipose": "calibration.toml", "nerfstudio": "transforms.json", "facelift": "opencv_cameras.json"}
LENSES = {
    "none": Lens(),
    "five": Lens(FIVE),
    "eight": Lens(EIGHT),
    "fisheye": Lens(FISHEYE, "fisheye"),
    "equidistant": Lens((), "fisheye"),
}
CARRIED = {"anipose": set(LENSES), "nerfstudio": set(LENSES) - {"eight"}, "facelift": {"none"}}


def test_the_writable_formats_are_those_of_this_test():
    assert set(WRITABLE) == set(FILES)


@pytest.mark.parametrize("unit", ["mm", "m", None])
@pytest.mark.parametrize(("name", "lens"), [(name, lens) for name in FILES for lens in sorted(CARRIED[name])])
def test_reading_what_was_written_gives_the_same_rig(name, lens, unit, tmp_path):
    rig = replace(lab_rig(5, lens=LENSES[lens]), unit=unit)
    path = tmp_path / "new" / "folder" / FILES[name]
    write_calibration(path, rig, format=name)
    found = read_calibration(path)
    assert_same_cameras(found, rig, tolerance=1e-12)
    assert (found.format, found.unit) == (name, unit)


@pytest.mark.parametrize("source", FAMILIES)
@pytest.mark.parametrize("name", FILES)
def test_any_rig_that_is_read_is_carried_exactly_or_refused(name, source, tmp_path):
    family = FAMILIES[source]
    (tmp_path / "in").mkdir()
    rig = read_calibration(family.write(tmp_path / "in", rig_of(family)))
    path = tmp_path / FILES[name]
    try:
        write_calibration(path, rig, format=name)
    except UserError as refusal:
        assert family.skew or not family.has_size or (name != "anipose" and any(family.lens.coefficients))
        assert f"camera {rig.names[0]}: " in str(refusal)
        assert not path.exists()
    else:
        assert not family.skew
        assert_same_cameras(read_calibration(path), rig, tolerance=1e-12, has_size=family.has_size)


@pytest.mark.parametrize("name", FILES)
def test_skew_is_refused_with_the_camera_that_has_it(name, tmp_path):
    rig = lab_rig(3)
    matrix = rig.cameras[1].intrinsics.copy()
    matrix[0, 1] = -5.8
    rig = replace(rig, cameras=(rig.cameras[0], replace(rig.cameras[1], intrinsics=matrix), rig.cameras[2]))
    with pytest.raises(UserError, match=r"camera Camera2: .* cannot carry its skew of -5\.8 pixels"):
        write_calibration(tmp_path / "a", rig, format=name)
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize(
    ("name", "lens", "message"),
    [
        ("facelift", "five", "camera Camera1: FaceLift files cannot carry its lens distortion"),
        ("facelift", "equidistant", "camera Camera1: FaceLift files cannot carry its lens distortion"),
        ("nerfstudio", "eight", "camera Camera1: nerfstudio files cannot carry k4, k5, k6"),
    ],
)
def test_lenses_that_a_format_cannot_carry_are_refused(name, lens, message, tmp_path):
    with pytest.raises(UserError, match=message):
        write_calibration(tmp_path / "a", lab_rig(3, lens=LENSES[lens]), format=name)


@pytest.mark.parametrize("coefficient", [3, 5, 6, 7])
def test_every_coefficient_beyond_nerfstudios_counts(coefficient, tmp_path):
    values = [0.0] * 8
    values[coefficient] = 0.01
    rig = lab_rig(3, lens=Lens(tuple(values)))
    if coefficient < 5:
        write_calibration(tmp_path / "transforms.json", rig, format="nerfstudio")
        assert_same_cameras(read_calibration(tmp_path), rig, tolerance=1e-12)
    else:
        with pytest.raises(UserError, match="cannot carry k4, k5, k6"):
            write_calibration(tmp_path / "transforms.json", rig, format="nerfstudio")


def test_nerfstudio_files_have_one_camera_model(tmp_path):
    rig = lab_rig(3)
    mixed = replace(rig, cameras=(*rig.cameras[:2], replace(rig.cameras[2], lens=LENSES["fisheye"])))
    with pytest.raises(UserError, match="this rig mixes fisheye and polynomial"):
        write_calibration(tmp_path / "a", mixed, format="nerfstudio")
    write_calibration(tmp_path / "a.toml", mixed, format="anipose")
    assert_same_cameras(read_calibration(tmp_path / "a.toml"), mixed, tolerance=1e-12)


@pytest.mark.parametrize("name", ["nerfstudio", "facelift"])
def test_unknown_sizes_are_refused_where_a_file_needs_them(name, tmp_path):
    with pytest.raises(UserError, match="camera Camera1: .* need the size of its pictures"):
        write_calibration(tmp_path / "a", lab_rig(3, sized=False), format=name)


def test_anipose_leaves_out_unknown_sizes(tmp_path):
    rig = lab_rig(3, sized=False)
    write_calibration(tmp_path / "a.toml", rig, format="anipose")
    assert_same_cameras(read_calibration(tmp_path / "a.toml"), rig, tolerance=1e-12, has_size=False)


@pytest.mark.parametrize("name", sorted(set(FORMATS) - set(WRITABLE)))
def test_formats_that_are_only_read_are_refused(name, tmp_path):
    with pytest.raises(UserError, match="can only be read; .* anipose, nerfstudio, facelift"):
        write_calibration(tmp_path / "a", lab_rig(3), format=name)


def test_a_file_that_cannot_be_written_is_an_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written"):
        write_calibration(tmp_path / "file" / "a.toml", lab_rig(3), format="anipose")


def test_names_with_any_letters_survive(tmp_path):
    rig = named(lab_rig(3), ['sîde "A"\\', "top 1.5", "ниж/了"])
    for name, file in FILES.items():
        write_calibration(tmp_path / file, rig, format=name)
        assert read_calibration(tmp_path / file).names == rig.names


def test_what_facelifts_loaders_read_is_what_was_written(tmp_path):
    rig = lab_rig(3)
    write_calibration(tmp_path / "opencv_cameras.json", rig, format="facelift")
    for view, camera in zip(read_sample(tmp_path).views, rig.cameras, strict=True):
        assert view.name == camera.name
        point = np.array([[50.0, 55.0, 20.0]])
        pixel, _ = view.camera.project(view.camera.position.new_tensor(point))
        np.testing.assert_allclose(pixel.numpy(), camera.project(point), atol=1e-9)


def test_anipose_gets_what_it_writes_itself(tmp_path):
    write_calibration(tmp_path / "a.toml", lab_rig(2, lens=Lens(FIVE)), format="anipose")
    table = tomllib.loads((tmp_path / "a.toml").read_text())["cam_0"]
    assert table["size"] == [240, 208]
    assert table["distortions"] == list(FIVE)
    assert np.shape(table["matrix"]) == (3, 3)
    assert table["matrix"][0][2] == pytest.approx(122.3 - 0.5)
    assert len(table["rotation"]) == len(table["translation"]) == 3


def test_pictures_that_a_rig_names_keep_their_places(tmp_path):
    family = FAMILIES["nerfstudio"]
    rig = read_calibration(family.write(tmp_path, lab_rig(3)))
    for folder in (tmp_path, tmp_path / "elsewhere"):
        for name in ("facelift", "nerfstudio"):
            write_calibration(folder / FILES[name], rig, format=name)
            assert read_calibration(folder / FILES[name]).images == rig.images
    content = json.loads((tmp_path / FILES["facelift"]).read_text())
    assert content["frames"][0]["file_path"] == "images/Camera1.png"
