"""Every family of calibration files gives back the rig that was written, whoever wrote it."""

import pytest
from calibration_helpers import (
    FAMILIES,
    FIVE,
    assert_same_cameras,
    lab_rig,
    named,
    rig_of,
    write_anipose,
    write_dannce_files,
    write_jarvis,
    write_opencv,
)

from gslrm.data.calibration import FORMATS, read_calibration
from gslrm.data.rig import Lens


def test_every_format_has_a_test():
    assert {family.format for family in FAMILIES.values()} == set(FORMATS)


@pytest.mark.parametrize("name", FAMILIES)
def test_a_file_gives_back_its_rig_by_its_content_or_by_its_name(name, tmp_path):
    family = FAMILIES[name]
    written = rig_of(family)
    path = family.write(tmp_path, written)
    if family.format == "mammal":
        written = named(written, ["0", "1", "2", "3"])
    for format_name in (None, family.format):
        found = read_calibration(path, format=format_name)
        assert_same_cameras(found, written, has_size=family.has_size)
        assert (found.format, found.unit, found.undistorted) == (family.format, family.unit, family.undistorted)
        assert found.source == path


@pytest.mark.parametrize("name", ["mammal", "anipose", "easymocap", "nerfstudio", "facelift"])
def test_a_directory_stands_for_the_file_with_the_formats_own_name(name, tmp_path):
    family = FAMILIES[name]
    path = family.write(tmp_path, rig_of(family))
    directory = path if path.is_dir() else path.parent
    assert_same_cameras(read_calibration(directory), read_calibration(path))


@pytest.mark.parametrize(
    ("name", "member"),
    [
        ("dannce_files", "hires_Camera2_params.mat"),
        ("jarvis", "Camera3.yaml"),
        ("opencv", "Camera2.yml"),
        ("easymocap", "intri.yml"),
        ("easymocap", "extri.yml"),
        ("colmap_text", "sparse/0"),
        ("colmap_text", "sparse/0/images.txt"),
        ("colmap_binary", "sparse/0/cameras.bin"),
    ],
)
def test_one_file_of_several_stands_for_all(name, member, tmp_path):
    family = FAMILIES[name]
    whole = read_calibration(family.write(tmp_path, rig_of(family)))
    assert_same_cameras(read_calibration(tmp_path / member), whole)


@pytest.mark.parametrize("write", [write_jarvis, write_opencv, write_dannce_files])
def test_files_per_camera_are_read_in_natural_order(write, tmp_path):
    names = [f"cam{index}" for index in (1, 2, 3, 9, 10, 11)]
    written = named(lab_rig(6, lens=Lens(FIVE)), names)
    assert read_calibration(write(tmp_path, written)).names == tuple(names)


def test_cam_2_comes_before_cam_10_in_toml(tmp_path):
    written = lab_rig(11, lens=Lens(FIVE))
    path = write_anipose(tmp_path, written)
    tables = path.read_text().split("[cam_")
    path.write_text("[cam_".join([tables[0], *sorted(tables[1:])]))  # as text, cam_10 before cam_2
    assert_same_cameras(read_calibration(path), written)
