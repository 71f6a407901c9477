import os
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from gslrm.data.lists import find_samples
from gslrm.data.sample import read_sample
from gslrm.data.synthetic_scene import sample_scene

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "scripts" / "make_synthetic_mice.py"


def make(output: Path, *options: str) -> subprocess.CompletedProcess:
    command = [sys.executable, str(SCRIPT), "--output", str(output), "--size", "64", *options]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=_environment(), timeout=300)


def _environment() -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(ROOT)}


@pytest.fixture(scope="module")
def data_set(tmp_path_factory) -> Path:
    output = tmp_path_factory.mktemp("mice") / "data"
    done = make(output, "--num-samples", "2", "--seed", "3", "--workers", "1")
    assert done.returncode == 0, done.stderr
    return output


def stored(sample: Path, folder: str) -> np.ndarray:
    files = sorted((sample / folder).glob("*.png"))
    return np.stack([cv2.imread(str(file), cv2.IMREAD_UNCHANGED) for file in files])


def test_lists_name_the_samples_of_each_split(data_set):
    assert (data_set / "data_mouse_train.txt").read_text() == "sample_000000\n"
    assert (data_set / "data_mouse_val.txt").read_text() == "sample_000001\n"
    assert find_samples(data_set / "data_mouse_val.txt") == [data_set / "sample_000001"]


@pytest.mark.parametrize(("index", "held_out"), [(0, False), (1, True)])
def test_camera_files_reload_as_the_cameras_that_were_drawn(data_set, index, held_out):
    sample = read_sample(data_set / f"sample_{index:06d}")
    _, cameras, names = sample_scene(np.random.default_rng([3, index]), size=64, extra_views=6, held_out=held_out)
    assert [view.name for view in sample.views] == names
    for view, pose, focal, center in zip(
        sample.views, cameras.world_from_camera, cameras.focal, cameras.center, strict=True
    ):
        torch.testing.assert_close(view.camera.world_from_camera, pose)
        torch.testing.assert_close(view.camera.focal, focal)
        torch.testing.assert_close(view.camera.center, center)
        assert view.image_path.is_file() and view.mask_path.is_file()


@pytest.mark.parametrize("index", [0, 1])
def test_pictures_show_a_whole_opaque_mouse_on_white(data_set, index):
    sample = data_set / f"sample_{index:06d}"
    images, masks, depths = (stored(sample, folder) for folder in ("images", "masks", "depth"))
    assert images.shape == (12, 64, 64, 3) and images.dtype == np.uint8
    assert masks.shape == (12, 64, 64) and depths.dtype == np.uint16
    share = masks.mean(axis=(1, 2)) / 255
    assert (share > 0.015).all() and (share < 0.15).all()
    inner = np.stack([cv2.erode((mask > 10).astype(np.uint8), np.ones((3, 3))) for mask in masks]) > 0
    assert (masks[inner] >= 250).mean() > 0.9  # no light comes through the body
    border = np.concatenate([masks[:, 0], masks[:, -1], masks[:, :, 0], masks[:, :, -1]], axis=1)
    assert (border == 0).all()
    assert (images[masks == 0] >= 254).all()
    assert ((depths > 0) == (masks > 127)).all()
    assert depths[depths > 0].min() > 20_000 and depths.max() < 50_000  # hundredths of a millimetre


def test_pictures_are_coverage_times_colour_plus_the_rest_white(data_set):
    """What white adds to a pixel is exactly its uncovered part, so no pixel is darker than its coverage allows."""
    sample = data_set / "sample_000000"
    images, masks = stored(sample, "images").astype(float), stored(sample, "masks").astype(float)
    covered = images - (255 - masks)[..., None]
    assert covered.min() >= -1.01  # two roundings to 8 bits
    edge = (masks > 60) & (masks < 200)
    colour = covered[edge] / masks[edge][:, None]
    assert colour.max() <= 1 and np.median(colour) > 0.02


def test_depth_and_masks_agree_with_the_mouse_that_was_drawn(data_set):
    mouse, cameras, _ = sample_scene(np.random.default_rng([3, 0]), size=64, extra_views=6, held_out=False)
    pixel, depth = cameras.project(torch.from_numpy(mouse.vertices).expand(12, -1, -1))
    measured = stored(data_set / "sample_000000", "depth") / 100
    column, row = pixel.long().unbind(-1)
    view = torch.arange(12)[:, None].expand_as(row)
    seen = torch.from_numpy(measured)[view, row, column]
    front = seen > 0
    assert front.float().mean() > 0.8
    assert ((depth - seen)[front] > -6).float().mean() > 0.97  # nothing lies far in front of what is seen
    assert ((depth - seen)[front].abs() < 4).float().mean() > 0.35  # and what is seen is skin


def test_bytes_do_not_depend_on_the_number_of_workers(data_set, tmp_path):
    done = make(tmp_path / "again", "--num-samples", "2", "--seed", "3", "--workers", "2")
    assert done.returncode == 0, done.stderr
    files = sorted(path.relative_to(data_set) for path in data_set.rglob("*") if path.is_file())
    assert files == sorted(path.relative_to(tmp_path / "again") for path in (tmp_path / "again").rglob("*.*"))
    assert all((data_set / file).read_bytes() == (tmp_path / "again" / file).read_bytes() for file in files)


def test_data_that_is_already_there_is_not_overwritten_unasked(data_set):
    before = (data_set / "data_mouse_train.txt").stat().st_mtime_ns
    done = make(data_set, "--num-samples", "1")
    assert done.returncode == 2 and "--overwrite" in done.stderr and "Traceback" not in done.stderr
    assert (data_set / "data_mouse_train.txt").stat().st_mtime_ns == before


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (("--num-samples", "0"), "--num-samples 0"),
        (("--num-samples", "2", "--size", "8"), "--size 8"),
        (("--num-samples", "2", "--val-fraction", "1"), "--val-fraction"),
        (("--num-samples", "2", "--extra-views", "-1"), "--extra-views -1"),
    ],
)
def test_wrong_numbers_end_with_one_sentence(tmp_path, options, named):
    done = make(tmp_path / "none", *options)
    assert done.returncode == 2
    assert named in done.stderr and "Traceback" not in done.stderr
    assert not (tmp_path / "none").exists()


def test_help_is_quick():
    start = time.monotonic()
    assert make(Path("unused"), "--help").returncode == 0
    assert time.monotonic() - start < 2
