import errno
import json

import numpy as np
import pytest
from helpers import ring

from gslrm.data.sample import read_sample
from gslrm.errors import UserError
from gslrm.prepare import output as module
from gslrm.prepare.output import OutputFolder
from gslrm.prepare.sample import PreparedView

RECIPE = {"size": 64, "crop": "fill"}
RECORD = {"sample": "frame_000007", "frame": 7, "reasons": []}


def views(level: int = 90) -> list[PreparedView]:
    picture, coverage = np.full((64, 64, 3), level, np.uint8), np.full((64, 64), 0.25, np.float32)
    return [PreparedView(f"Camera{index}", camera, picture, coverage) for index, camera in enumerate(cameras())]


def cameras():
    return [ring(3)[index] for index in range(3)]


def opened(path) -> OutputFolder:
    folder = OutputFolder(path)
    folder.open(RECIPE)
    return folder


def test_a_written_sample_is_read_back_as_it_was(tmp_path):
    folder = opened(tmp_path / "out")
    size = folder.write(views(), RECORD, None)
    sample = read_sample(tmp_path / "out" / "frame_000007")
    assert [view.name for view in sample.views] == ["Camera0", "Camera1", "Camera2"]
    for view, camera in zip(sample.views, cameras(), strict=True):
        np.testing.assert_allclose(view.camera.world_from_camera, camera.world_from_camera, rtol=1e-12, atol=1e-9)
    assert json.loads((sample.directory / "opencv_cameras.json").read_text())["id"] == "frame_000007"
    assert folder.record("frame_000007") == RECORD
    assert size == sum(path.stat().st_size for path in sample.directory.rglob("*") if path.is_file())


def test_a_rejected_moment_is_done_and_keeps_its_reasons(tmp_path):
    folder = opened(tmp_path)
    assert not folder.is_done("frame_000007")
    folder.reject(RECORD | {"reasons": ["two animals"]}, b"jpeg")
    assert folder.is_done("frame_000007")
    assert folder.record("frame_000007")["reasons"] == ["two animals"]
    assert (tmp_path / "rejected" / "frame_000007.jpg").read_bytes() == b"jpeg"


def test_a_run_of_the_same_recipe_goes_on_and_what_was_left_half_written_goes(tmp_path):
    opened(tmp_path).write(views(), RECORD, None)
    left = tmp_path / "frame_000008.partial" / "images"
    left.mkdir(parents=True)
    folder = opened(tmp_path)
    assert folder.is_done("frame_000007")
    assert not left.parent.exists()


def test_a_run_of_another_recipe_is_refused_with_what_changed(tmp_path):
    opened(tmp_path)
    with pytest.raises(UserError, match="crop was 'fill', now 'pretrained'"):
        OutputFolder(tmp_path).open(RECIPE | {"crop": "pretrained"})


def test_a_folder_with_other_files_is_left_alone(tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(UserError, match="holds other files"):
        opened(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


@pytest.mark.parametrize("files", [0, 1, 4])
def test_when_the_disk_is_full_no_half_sample_is_left(tmp_path, monkeypatch, files):
    folder = opened(tmp_path)
    folder.write(views(), RECORD, None)
    real, written = module.write_sample, []

    def full(directory, **parts):
        directory.mkdir()
        for index in range(files):
            (directory / f"{index}.png").write_bytes(b"x")
            written.append(index)
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(module, "write_sample", full)
    with pytest.raises(UserError, match=r"the disk is full; .* give the same command again"):
        folder.write(views(), RECORD | {"sample": "frame_000008"}, None)
    assert len(written) == files
    assert sorted(path.name for path in tmp_path.glob("frame*")) == ["frame_000007"]
    monkeypatch.setattr(module, "write_sample", real)
    folder.write(views(), RECORD | {"sample": "frame_000008"}, None)
    assert folder.is_done("frame_000008")
