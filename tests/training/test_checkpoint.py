"""Checkpoints: which are kept, what links name, and that a kill at any moment destroys none."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest
import torch
from training_helpers import ROOT

from gslrm.training.best import Best
from gslrm.training.checkpoint import CheckpointFolder, step_of
from gslrm.training.writing import write_file


def write_parts(path: Path, *, value: float = 0.0) -> None:
    path.mkdir()
    for part in ("a.pt", "b.pt"):
        write_file({"part": torch.full((3,), value)}, path / part)


def write_one(path: Path, *, value: float = 0.0) -> None:
    write_file({"part": torch.full((3,), value)}, path)


KINDS = pytest.mark.parametrize(
    ("write", "suffix"), [(write_one, ".pt"), (write_parts, ".parts"), (write_parts, "")], ids=["file", "parts", "bare"]
)


def steps(folder: CheckpointFolder) -> list[int]:
    return [step_of(path) for path in folder.steps()]


def value_of(path: Path) -> float:
    file = path / "b.pt" if path.is_dir() else path
    return float(torch.load(file, weights_only=True)["part"][0])


@KINDS
def test_old_checkpoints_are_removed_only_beyond_the_number_kept(tmp_path, write, suffix):
    folder = CheckpointFolder(tmp_path, keep_last=2, suffix=suffix)
    for step in (1, 2, 3):
        folder.save(write, step=step)
    assert steps(folder) == [2, 3]
    assert (tmp_path / "latest").resolve() == folder.steps()[-1].resolve()
    assert sorted(path.name for path in tmp_path.iterdir()) == [*(path.name for path in folder.steps()), "latest"]


@KINDS
def test_a_failed_save_leaves_the_previous_checkpoint_and_no_debris(tmp_path, write, suffix):
    folder = CheckpointFolder(tmp_path, keep_last=2, suffix=suffix)
    folder.save(write, step=1)

    def break_down(path: Path) -> None:
        write(path)
        raise OSError(28, "No space left on device")

    before = sorted(path.name for path in tmp_path.iterdir())
    with pytest.raises(OSError, match="No space left"):
        folder.save(break_down, step=2)
    with pytest.raises(AttributeError):  # a local function cannot be pickled
        folder.save(partial(write_file, {"b": lambda: None}), step=2)
    assert sorted(path.name for path in tmp_path.iterdir()) == before


@KINDS
def test_a_checkpoint_of_the_same_pass_takes_the_place_of_the_one_before(tmp_path, write, suffix):
    folder = CheckpointFolder(tmp_path, keep_last=1, suffix=suffix)
    for value in (1.0, 2.0):
        folder.save(partial(write, value=value), step=5)
    assert [value_of(path) for path in folder.steps()] == [2.0]
    assert len(list(tmp_path.iterdir())) == 2


@KINDS
def test_a_kill_between_any_two_steps_of_a_replacement_leaves_a_whole_checkpoint(tmp_path, write, suffix, monkeypatch):
    """Dies before the first, second, ... change of a name; whatever is there afterwards is the old or the new one."""

    class KilledError(BaseException):
        pass

    changes = {"rename": Path.rename, "replace": Path.replace, "unlink": Path.unlink}
    for moment in range(12):
        directory = tmp_path / str(moment)
        folder = CheckpointFolder(directory, keep_last=1, suffix=suffix)
        folder.save(partial(write, value=1.0), step=5)
        left = moment

        def dying(original, *arguments, **options):
            nonlocal left
            left -= 1
            if left < 0:
                raise KilledError
            return original(*arguments, **options)

        with monkeypatch.context() as patch:
            for name, original in changes.items():
                patch.setattr(Path, name, lambda *a, _original=original, **k: dying(_original, *a, **k))
            with contextlib.suppress(KilledError):
                folder.save(partial(write, value=2.0), step=5)
        folder.prepare(6)  # what a new run does first
        assert [value_of(path) for path in folder.steps()] in ([1.0], [2.0]), moment
    assert left > 0, "the save has more steps than were tried"


def test_files_and_folders_are_one_sequence(tmp_path):
    CheckpointFolder(tmp_path, keep_last=3).save(write_one, step=1)
    CheckpointFolder(tmp_path, keep_last=3, suffix=".parts").save(write_parts, step=2)
    folder = CheckpointFolder(tmp_path, keep_last=2)
    folder.save(write_one, step=3)
    assert [path.suffix for path in folder.steps()] == [".parts", ".pt"]


@KINDS
@pytest.mark.parametrize("best", [1, 2, 5])
def test_the_best_is_kept_beside_the_newest(tmp_path, write, suffix, best):
    folder = CheckpointFolder(tmp_path, keep_last=2, suffix=suffix)
    for step in range(1, 6):
        known = Best("val/psnr", 20.0, best) if step >= best else None
        folder.save(write, step=step, best=known)
    assert steps(folder) == sorted({best, 4, 5})
    assert step_of((tmp_path / "best").resolve()) == best


def test_a_missing_or_dangling_link_hides_no_checkpoint(tmp_path):
    folder = CheckpointFolder(tmp_path, keep_last=2)
    folder.save(write_one, step=1)
    (tmp_path / "latest").unlink()
    assert steps(folder) == [1]
    (tmp_path / "latest").symlink_to("ckpt_0000000000000009.pt")
    assert steps(folder) == [1]
    folder.save(write_one, step=2)
    assert step_of((tmp_path / "latest").resolve()) == 2


def test_other_files_in_the_folder_are_neither_read_nor_removed(tmp_path):
    for name in ("notes.txt", "ckpt_best.pt", "ckpt_12.pt"):
        (tmp_path / name).write_text("mine")
    folder = CheckpointFolder(tmp_path, keep_last=1)
    for step in (1, 2):
        folder.save(write_one, step=step)
    assert steps(folder) == [2]
    assert {path.read_text() for path in (tmp_path / "notes.txt", tmp_path / "ckpt_best.pt")} == {"mine"}


SAVE_FOREVER = """
import sys, torch
from functools import partial
from pathlib import Path
from gslrm.training.checkpoint import CheckpointFolder
from gslrm.training.writing import write_file
folder = CheckpointFolder(Path(sys.argv[1]), keep_last=2)
step = 0
while True:
    step += 1
    state = {"step": step, "weights": torch.full((2_000_000,), float(step))}
    folder.save(partial(write_file, state), step=step)
"""


def test_kill_9_during_a_save_loses_nothing(tmp_path):
    for attempt in range(4):
        target = tmp_path / str(attempt)
        process = subprocess.Popen([sys.executable, "-c", SAVE_FOREVER, str(target)], cwd=ROOT)
        deadline = time.monotonic() + 180  # the import alone takes long on a busy machine
        while not (target / "latest").exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(0.03 + 0.017 * attempt)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        folder = CheckpointFolder(target, keep_last=2)
        assert folder.steps()
        for path in folder.steps():  # not only the newest: every listed checkpoint is whole
            content = torch.load(path, weights_only=True)
            assert (content["weights"] == content["step"]).all()
        assert (target / "latest").resolve() in [path.resolve() for path in folder.steps()]
        folder.save(write_one, step=10**6)
        assert not list(target.glob(".*.tmp"))
