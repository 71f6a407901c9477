"""Saving: a full disk ends no run, and the background writes the same bytes."""

import json
import logging
import os
import resource
import subprocess
import sys
import threading
from functools import partial
from pathlib import Path

import pytest
import torch
from training_helpers import ROOT, configure, differences, lines, run, settings

from gslrm.errors import UserError
from gslrm.training.best import Best
from gslrm.training.checkpoint import CheckpointFolder, step_of
from gslrm.training.log import PatientFile
from gslrm.training.processes import Processes
from gslrm.training.saver import Saver
from gslrm.training.trainer import Trainer
from gslrm.training.writing import in_host_memory, write_file

STATE = {"model": {"w": torch.arange(6.0)}, "step": 3}
FULL = OSError(28, "No space left on device")


def fail(state: object, path: Path) -> None:
    path.write_bytes(b"half of it")
    raise FULL


def failing_at(*passes: int):
    """Writes checkpoints except those of some passes."""

    def write(state: dict, path: Path) -> None:
        (fail if state["fwdbwd_pass_step"] in passes else write_file)(state, path)

    return write


def steps(folder: Path) -> list[int]:
    return [step_of(path) for path in CheckpointFolder(folder, keep_last=3).steps()]


@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_failed_save_is_counted_and_told_once_and_leaves_what_was_there(tmp_path, caplog, asynchronous):
    saver = Saver(CheckpointFolder(tmp_path, keep_last=2), asynchronous=asynchronous)
    saver.save(STATE, step=1)
    saver._write = fail
    saver.save(STATE, step=2)
    saver.wait()
    assert steps(tmp_path) == [1]
    assert saver.scalars() == {"train/failed_saves": 1.0}
    assert len(caplog.records) == 1
    assert "pass 2 (No space left on device); that of pass 1 is intact, and the run goes on" in caplog.text
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ckpt_0000000000000001.pt", "latest"]


def test_a_required_save_that_fails_ends_the_run_with_the_cure(tmp_path):
    saver = Saver(CheckpointFolder(tmp_path, keep_last=2), write=fail)
    with pytest.raises(UserError, match=r"pass 2 .No space left on device.; there is none yet: free some space"):
        saver.save(STATE, step=2, required=True)


def test_old_checkpoints_are_deleted_only_after_the_new_one_is_complete(tmp_path):
    saver = Saver(CheckpointFolder(tmp_path, keep_last=1))
    saver.save(STATE, step=1)

    def look(state: object, path: Path) -> None:
        assert steps(tmp_path) == [1]
        write_file(STATE, path)

    saver._write = look
    saver.save(STATE, step=2)
    assert steps(tmp_path) == [2]


def test_the_best_is_not_forgotten_for_one_that_could_not_be_written(tmp_path):
    saver = Saver(CheckpointFolder(tmp_path, keep_last=1))
    good, lost = Best("val/psnr", 20.0, 1), Best("val/psnr", 21.0, 2)
    saver.save(STATE, step=1, best=good)
    saver._write = fail
    saver.save(STATE, step=2, best=lost)
    assert saver.best == good
    assert steps(tmp_path) == [1]


def test_the_newest_checkpoint_is_not_written_again(tmp_path):
    saver = Saver(CheckpointFolder(tmp_path, keep_last=1))
    saver.save(STATE, step=1)
    saver._write = fail
    saver.save(STATE, step=1, required=True)
    with pytest.raises(UserError):
        saver.save(STATE, step=1, best=Best("val/psnr", 20.0, 1), required=True)  # now it is another


def test_an_error_that_is_not_the_disks_is_raised_from_the_background_too(tmp_path):
    saver = Saver(CheckpointFolder(tmp_path, keep_last=1), asynchronous=True)
    saver.save({"model": lambda: None}, step=1)
    with pytest.raises(AttributeError):
        saver.wait()


def test_a_background_save_holds_the_state_of_its_own_moment(tmp_path):
    gate, weights = threading.Event(), torch.zeros(4)
    saver = Saver(CheckpointFolder(tmp_path, keep_last=2), asynchronous=True)

    def late(state: dict, path: Path) -> None:
        gate.wait(10)
        write_file(state, path)

    saver._write = late
    saver.save({"w": weights, "tied": weights}, step=1)
    weights += 1
    gate.set()
    saver.save({"w": weights, "tied": weights}, step=2)  # waits for the one before
    assert steps(tmp_path) == [1]
    saver.wait()
    contents = [torch.load(path, weights_only=True) for path in CheckpointFolder(tmp_path, keep_last=2).steps()]
    assert [float(content["w"].sum()) for content in contents] == [0.0, 4.0]
    assert contents[0]["w"].data_ptr() == contents[0]["tied"].data_ptr()  # stored once


def test_parts_in_the_background_are_refused_by_the_configuration(samples):
    with pytest.raises(UserError, match=r"training.checkpointing: .*set one of them to false"):
        configure(samples, checkpointing={"async_save": True, "sharded": True})


def test_leaving_waits_for_the_background(tmp_path):
    with Saver(CheckpointFolder(tmp_path, keep_last=2), asynchronous=True) as saver:
        saver.save(STATE, step=1)
    assert steps(tmp_path) == [1]


def test_a_copy_in_host_memory_is_the_state_and_shares_nothing_with_it():
    base = torch.arange(8.0)
    state = {"view": base[2:6], "whole": base, "plain": [1, (2.0, "x")], "none": None}
    copied = in_host_memory(state, apart=True)
    assert differences(copied, state) == []
    base += 1
    assert float(copied["whole"][0]) == 0
    assert copied["view"].untyped_storage().data_ptr() == copied["whole"].untyped_storage().data_ptr()


def test_an_asynchronous_run_writes_the_same_bytes(samples, tmp_path):
    for name, background in (("at once", False), ("background", True)):
        options = {"checkpoint_every": 2, "keep_last": 9, "async_save": background, "checkpoint_dir": None}
        config = configure(
            samples, checkpointing=options, adapt={"ema": {"decay": 0.9}}, validation={"val_every": 4, "max_samples": 1}
        )
        trainer = Trainer(config, tmp_path / name)
        trainer.wandb_id = "same"
        trainer.config = configure(samples, checkpointing=options | {"async_save": False})  # what is stored of it
        (tmp_path / name).mkdir()
        assert trainer.run()
    folders = [tmp_path / name / "checkpoints" for name in ("at once", "background")]
    first, second = (CheckpointFolder(folder, keep_last=9) for folder in folders)
    assert [path.name for path in first.steps()] == [path.name for path in second.steps()]
    assert len(first.steps()) == 4
    for a, b in zip(first.steps(), second.steps(), strict=True):
        assert a.read_bytes() == b.read_bytes()


@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_run_goes_on_when_saves_fail_and_ends_as_if_they_had_not(samples, tmp_path, asynchronous):
    options = {"checkpoint_every": 2, "keep_last": 9, "async_save": asynchronous}
    whole = run(configure(samples, checkpointing=options), tmp_path / "whole")
    folder = tmp_path / "run"
    folder.mkdir()
    trainer = Trainer(configure(samples, checkpointing=options), folder)
    trainer.saver._write = failing_at(2, 6)
    assert trainer.run()
    assert steps(folder / "checkpoints") == [4, 8]
    assert lines(folder)[-1]["train/failed_saves"] == 2
    assert "train/failed_saves" not in lines(folder)[0]
    assert differences(dict(whole.model.state_dict()), dict(trainer.model.state_dict())) == []


def test_a_last_checkpoint_that_cannot_be_written_is_an_error(samples, tmp_path):
    trainer = Trainer(configure(samples), tmp_path)
    trainer.saver._write = failing_at(8)
    with pytest.raises(UserError, match="pass 8 .*that of pass 4 is intact: free some space and give the same command"):
        trainer.run()
    assert steps(tmp_path / "checkpoints") == [4]


def test_every_process_writes_its_part_and_learns_whether_all_could(tmp_path, monkeypatch):
    """Two processes' savers in two threads that meet at every decision."""
    barrier, votes = threading.Barrier(2), {}

    class Pair(Processes):
        def all(self, fact: bool) -> bool:
            votes[self.rank] = fact
            barrier.wait(10)
            result = votes[0] and votes[1]
            barrier.wait(10)
            return result

    def write(state: dict, path: Path, *, broken: bool = False) -> None:
        path.mkdir(exist_ok=True)
        write_file(state, path / f"part_{state['rank']}.pt")
        if broken and state["rank"] == 1:
            raise FULL

    folder = CheckpointFolder(tmp_path, keep_last=1, suffix="")
    savers = [Saver(folder, processes=Pair(rank, 2), write=write, in_parts=True) for rank in range(2)]

    def both(step: int) -> None:
        threads = [
            threading.Thread(target=partial(saver.save, {"rank": rank}, step=step)) for rank, saver in enumerate(savers)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    both(1)
    assert steps(tmp_path) == [1]
    assert sorted(path.name for path in folder.steps()[0].iterdir()) == ["part_0.pt", "part_1.pt"]
    for saver in savers:
        saver._write = partial(write, broken=True)
    both(2)
    assert steps(tmp_path) == [1]
    assert [saver.failed for saver in savers] == [1, 1]
    assert not list(tmp_path.glob(".*"))


def test_lines_wait_for_room_on_a_full_disk_and_lose_no_byte(tmp_path, caplog):
    path = tmp_path / "lines"
    file = PatientFile(path)
    file.write("one\n")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (6, before[1]))  # a real refusal, after two bytes of the next line
    try:
        file.write("two\n")
        file.write("three\n")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert path.read_text() == "one\ntw"
    file.write("four\n")
    file.close()
    assert path.read_text() == "one\ntwo\nthree\nfour\n"
    assert [record.levelno for record in caplog.records] == [logging.WARNING]


LIMITED = """
import resource, sys
from functools import partial
from pathlib import Path
import torch
from gslrm.training.checkpoint import CheckpointFolder
from gslrm.training.saver import Saver
saver = Saver(CheckpointFolder(Path(sys.argv[1]), keep_last=2))
saver.save({"w": torch.zeros(1000)}, step=1)
resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, resource.RLIM_INFINITY))
for step, size in ((2, 100_000), (3, 1000), (4, 12_000)):
    saver.save({"w": torch.zeros(size)}, step=step)
print(saver.failed)
"""


def test_a_real_refusal_to_write_more_is_survived(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, str(tmp_path)], cwd=ROOT, check=True, capture_output=True, text=True
    )
    assert done.stdout.strip() == "1"
    assert "pass 2 (File too large)" in done.stderr
    assert steps(tmp_path) == [3, 4]
    assert not list(tmp_path.glob(".*"))


ON_A_SMALL_DISK = """
mount -t tmpfs -o size=1m none "$1" || exit 77
head -c "$2" /dev/zero > "$1/filler"
"$3" -c "$4" "$1/run" "$5"
status=$?
cp -r "$1/run" "$6"
exit $status
"""
TRAIN = """
import json, sys
from pathlib import Path
from gslrm.config_io import config_from_mapping
from gslrm.training.trainer import Trainer
folder = Path(sys.argv[1])
folder.mkdir()
trainer = Trainer(config_from_mapping(json.loads(sys.argv[2]), source="test"), folder)
trainer.checkpoints.directory.mkdir()
after_pass = trainer.after_pass
def free_at_the_end(*arguments):
    if trainer.position.passes == trainer.plan.stop:
        (folder.parent / "filler").unlink()
    after_pass(*arguments)
trainer.after_pass = free_at_the_end
trainer.run()
"""


@pytest.mark.slow
def test_a_run_on_a_full_disk_goes_on_until_there_is_room_again(samples, tmp_path):
    """A real file system of 1 MB; one process alone sees it."""
    (tmp_path / "disk").mkdir()
    config = json.dumps(settings(samples, checkpointing={"checkpoint_every": 2}))
    filler = 1_048_576 - 8 * 4096  # what is left takes the lines of some passes, and no checkpoint
    done = subprocess.run(
        ["unshare", "-rm", "bash", "-c", ON_A_SMALL_DISK, "bash", str(tmp_path / "disk"), str(filler), sys.executable,
         TRAIN, config, str(tmp_path / "seen")],
        cwd=ROOT, check=False, capture_output=True, text=True, env=os.environ | {"PYTHONPATH": "."},
    )  # fmt: skip
    if done.returncode == 77 or "unshare" in done.stderr:
        pytest.skip("this machine lets nobody mount a small file system")
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("No space left on device") >= 3
    assert steps(tmp_path / "seen/checkpoints") == [8]
    assert [line["step"] for line in lines(tmp_path / "seen")] == list(range(1, 9))
    assert lines(tmp_path / "seen")[-1]["train/failed_saves"] == 3
