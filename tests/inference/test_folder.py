"""The folder of a run: whole samples of one kind, whenever it is stopped."""

import json
import os
from pathlib import Path

import pytest
from inference_helpers import write_balls

from gslrm.errors import UserError
from gslrm.inference.folder import DONE, UNFINISHED, OutputFolder

SETTINGS = {"weights": "a", "options": {"refine": 0}}
OTHERS = {"weights": "a", "options": {"refine": 20}}


@pytest.fixture
def samples(tmp_path) -> list[Path]:
    return write_balls(tmp_path / "data", 2)


@pytest.fixture
def output(tmp_path) -> OutputFolder:
    return OutputFolder(tmp_path / "out")


def finish(output: OutputFolder, sample: Path, settings: dict = SETTINGS, text: str = "first") -> None:
    (output.begin(sample.name) / "gaussians.ply").write_text(text)
    output.complete(sample, settings, {})


def test_what_is_complete_is_not_done_again(output, samples):
    output.require_writable()
    assert output.open(SETTINGS, samples) == samples
    finish(output, samples[0])
    assert output.open(SETTINGS, samples) == samples[1:]
    assert output.open(SETTINGS, samples, redo=True) == samples


def test_a_sample_that_was_begun_is_not_there(output, samples):
    output.require_writable()
    output.open(SETTINGS, samples)
    (output.begin(samples[0].name) / "gaussians.ply").write_text("half")
    assert not list(output.root.glob("*/gaussians.ply"))
    assert output.open(SETTINGS, samples) == samples
    assert not (output.root / UNFINISHED).exists()


def test_redoing_leaves_nothing_of_the_earlier_files(output, samples):
    output.require_writable()
    output.open(SETTINGS, samples)
    finish(output, samples[0])
    (output.root / samples[0].name / "turntable.mp4").write_text("of the first time")
    output.open(SETTINGS, samples, redo=True)
    finish(output, samples[0], text="second")
    folder = output.root / samples[0].name
    assert {path.name for path in folder.iterdir()} == {"gaussians.ply", DONE}
    assert (folder / "gaussians.ply").read_text() == "second"


def test_a_kill_between_the_two_renames_loses_no_sample(output, samples, monkeypatch):
    output.require_writable()
    output.open(SETTINGS, samples)
    finish(output, samples[0])
    output.open(SETTINGS, samples, redo=True)
    rename, renamed = Path.rename, []

    def killed(path: Path, target: Path) -> Path:
        renamed.append(path)
        if len(renamed) == 2:
            raise KeyboardInterrupt
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", killed)
    with pytest.raises(KeyboardInterrupt):
        finish(output, samples[0], text="second")
    monkeypatch.undo()
    assert not (output.root / samples[0].name).exists()
    assert output.open(SETTINGS, samples) == samples[1:]
    assert (output.root / samples[0].name / "gaussians.ply").read_text() == "first"


def test_other_settings_are_refused_with_what_changed(output, samples):
    output.require_writable()
    output.open(SETTINGS, samples)
    finish(output, samples[0])
    with pytest.raises(UserError, match=r"options.refine was 0, now 20.*--redo"):
        output.open(OTHERS, samples)
    assert output.open(SETTINGS, samples) == samples[1:]  # the refusal changed nothing


def test_redoing_with_other_settings_is_all_or_nothing(output, samples):
    output.require_writable()
    output.open(SETTINGS, samples)
    for sample in samples:
        finish(output, sample)
    with pytest.raises(UserError, match="also frame_001"):
        output.open(OTHERS, samples[:1], redo=True)
    assert output.open(OTHERS, samples, redo=True) == samples
    finish(output, samples[0], OTHERS)  # and stopped here
    assert output.open(OTHERS, samples) == samples[1:]
    with pytest.raises(UserError, match="also frame_001"):
        output.open(OTHERS, samples[:1])


def test_a_sample_whose_files_have_changed_is_refused(output, samples):
    output.require_writable()
    output.open(SETTINGS, samples)
    finish(output, samples[0])
    image = samples[0] / "images/cam_001.png"
    times = image.stat().st_mtime
    os.utime(image, (times + 100, times + 100))
    assert output.open(SETTINGS, samples) == samples[1:]  # a copy has another time
    image.write_bytes(image.read_bytes() + b"\0")
    with pytest.raises(UserError, match="frame_000 was made of other files"):
        output.open(SETTINGS, samples)
    assert output.open(SETTINGS, samples, redo=True) == samples


def test_another_sample_of_the_same_name_is_refused(output, samples, tmp_path):
    output.require_writable()
    output.open(SETTINGS, samples)
    finish(output, samples[0])
    (stranger,) = write_balls(tmp_path / "other", 1, views=4)
    with pytest.raises(UserError, match="frame_000 was made of other files"):
        output.open(SETTINGS, [stranger])


def test_folders_of_somebody_else_are_never_touched(output, samples):
    output.require_writable()
    mine = output.root / samples[0].name
    mine.mkdir()
    (mine / "notes.txt").write_text("mine")
    for redo in (False, True):
        with pytest.raises(UserError, match="no complete output"):
            output.open(SETTINGS, samples, redo=redo)
    assert (mine / "notes.txt").read_text() == "mine"


def test_a_damaged_record_is_named(output, samples):
    output.require_writable()
    output.open(SETTINGS, samples)
    finish(output, samples[0])
    (output.root / samples[0].name / DONE).write_text("{")
    with pytest.raises(UserError, match=r"done.json: cannot be read"):
        output.open(SETTINGS, samples)


def test_failures_are_forgotten_when_their_samples_are_tried_again(output, samples):
    output.require_writable()
    output.open(SETTINGS, samples)
    output.note_failures([{"sample": "frame_000", "source": "x", "reason": "y"}])
    assert json.loads((output.root / "failures.json").read_text())[0]["sample"] == "frame_000"
    output.open(SETTINGS, samples)
    assert not (output.root / "failures.json").exists()


def test_a_place_that_cannot_be_written_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"--output .*cannot be written .*name another directory"):
        OutputFolder(tmp_path / "file/out").require_writable()


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_folder_is_refused(tmp_path):
    folder = tmp_path / "locked"
    folder.mkdir(mode=0o555)
    with pytest.raises(UserError, match="cannot be written"):
        OutputFolder(folder).require_writable()
