"""Signals end a run at a moment when nothing is half done, with a checkpoint, and soon."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from training_helpers import ROOT, configure, settings

from gslrm.training import interrupt
from gslrm.training.checkpoint import load_checkpoint
from gslrm.training.interrupt import SIGNALS, Interrupted, StopSignals
from gslrm.training.processes import Processes
from gslrm.training.saver import Saver
from gslrm.training.trainer import Trainer
from gslrm.training.writing import write_file

EXIT_RESUMABLE = 75
SOON = 20.0  # seconds; the promise is 30


def send(number: signal.Signals) -> None:
    os.kill(os.getpid(), number)


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_is_noted_and_answered_and_old_handlers_come_back(number, capfd):
    before = [signal.getsignal(each) for each in SIGNALS]
    stop = StopSignals()
    with stop:
        assert not stop.stop_requested
        stop.check()
        send(number)
        assert stop.stop_requested
        assert stop.name == number.name
        with pytest.raises(Interrupted):
            stop.check()
    assert [signal.getsignal(each) for each in SIGNALS] == before
    assert f"{number.name}: the run ends after this pass" in capfd.readouterr().err


def test_old_handlers_come_back_after_an_error_too():
    before = [signal.getsignal(each) for each in SIGNALS]
    with pytest.raises(ZeroDivisionError), StopSignals():
        1 / 0  # noqa: B018
    assert [signal.getsignal(each) for each in SIGNALS] == before


def test_a_second_ctrl_c_ends_at_once_and_other_signals_never_do():
    with StopSignals() as stop:
        for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGTERM, signal.SIGINT):
            send(number)
        assert stop.name == "SIGTERM"
        with pytest.raises(KeyboardInterrupt):
            send(signal.SIGINT)


def test_waiting_is_broken_off_by_a_signal_and_work_is_not(monkeypatch):
    def slow() -> Iterator[int]:
        yield 1
        time.sleep(60)
        yield 2

    monkeypatch.setattr(interrupt, "PATIENCE", 0.2)
    seen = []
    with StopSignals() as stop, pytest.raises(Interrupted):
        threading.Timer(0.2, send, [signal.SIGTERM]).start()
        began = time.monotonic()
        for item in stop.waiting_for(slow()):
            seen.append(item)
    assert seen == [1]
    assert time.monotonic() - began < 5

    with StopSignals() as stop, pytest.raises(Interrupted):
        for item in stop.waiting_for([3, 4]):
            send(signal.SIGTERM)  # between the items nothing is raised, however long it takes
            seen.append(item)
            time.sleep(0.4)
    assert seen == [1, 3]


def test_data_that_arrive_soon_are_waited_for_and_not_used():
    def soon() -> Iterator[int]:
        yield 1
        send(signal.SIGTERM)
        arrived.append(2)
        yield 2

    arrived, seen = [], []
    with StopSignals() as stop, pytest.raises(Interrupted):
        for item in stop.waiting_for(soon()):
            seen.append(item)
    assert (arrived, seen) == ([2], [1])
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


def test_a_second_signal_while_the_first_is_obeyed_raises_nothing():
    with StopSignals() as stop:
        with pytest.raises(Interrupted):
            for _ in stop.waiting_for(send(signal.SIGTERM) for _ in range(3)):
                pass
        send(signal.SIGUSR1)  # say, while the checkpoint is written


def test_of_several_processes_none_stops_alone_and_all_stop_together():
    class Asked(Processes):
        def all(self, fact: bool) -> bool:
            return fact and not other_asked

    other_asked = False
    with StopSignals(Asked(0, 2)) as stop:
        stop.check_together()
        send(signal.SIGTERM)
        stop.check()
        assert list(stop.waiting_for([1, 2])) == [1, 2]
        with pytest.raises(Interrupted):
            stop.check_together()
    other_asked = True
    with StopSignals(Asked(1, 2)) as stop, pytest.raises(Interrupted):
        stop.check_together()


def test_in_a_thread_no_handler_is_touched():
    before, found = [signal.getsignal(each) for each in SIGNALS], []

    def enter() -> None:
        with StopSignals():
            found.extend(signal.getsignal(each) for each in SIGNALS)

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert found == before


def test_a_signal_in_the_middle_of_a_save_lets_it_end(samples, tmp_path):
    """And what is then written for the interruption is that same checkpoint, once."""
    writes = []

    def write(state: dict, path: Path) -> None:
        writes.append(state["fwdbwd_pass_step"])
        send(signal.SIGTERM)
        write_file(state, path)

    trainer = Trainer(configure(samples, checkpointing={"checkpoint_every": 2}), tmp_path)
    trainer.saver = Saver(trainer.checkpoints, write=write)
    assert not trainer.run()
    assert writes == [2]
    assert load_checkpoint(tmp_path / "checkpoints/latest")["fwdbwd_pass_step"] == 2


def test_a_second_ctrl_c_in_the_middle_of_a_save_leaves_no_debris(samples, tmp_path):
    def write(state: dict, path: Path) -> None:
        write_file(state, path)
        send(signal.SIGINT)
        send(signal.SIGINT)

    trainer = Trainer(configure(samples, checkpointing={"checkpoint_every": 2}), tmp_path)
    trainer.saver = Saver(trainer.checkpoints, write=write)
    with pytest.raises(KeyboardInterrupt):
        trainer.run()
    assert not list((tmp_path / "checkpoints").iterdir())


def test_a_signal_while_the_data_hang_ends_the_run_with_a_checkpoint(samples, tmp_path, monkeypatch):
    """The disk of the samples stops answering in pass 4."""
    monkeypatch.setattr(interrupt, "PATIENCE", 0.5)
    trainer = Trainer(configure(samples), tmp_path)
    load = trainer.dataset.__class__.__getitem__
    calls = []

    def hang(dataset: object, key: object) -> object:
        calls.append(key)
        if len(calls) == 4:
            threading.Timer(0.2, send, [signal.SIGTERM]).start()
            time.sleep(120)
        return load(dataset, key)

    monkeypatch.setattr(trainer.dataset.__class__, "__getitem__", hang)
    began = time.monotonic()
    assert not trainer.run()
    assert time.monotonic() - began < SOON
    assert load_checkpoint(tmp_path / "checkpoints/latest")["fwdbwd_pass_step"] == 2


class Command:
    """A training in a process group of its own."""

    def __init__(self, samples: Path, folder: Path, **sections: dict) -> None:
        (folder / "c.yaml").write_text(json.dumps(settings(samples, **sections)))
        self.run = folder / "run"
        self.arguments = [sys.executable, str(ROOT / "train_gslrm.py"), "--config", str(folder / "c.yaml")]
        self.arguments += ["--run-dir", str(self.run)]

    def start(self) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            self.arguments, cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
        )

    def wait_for_pass(self, process: "subprocess.Popen[str]", step: int) -> None:
        deadline = time.monotonic() + 180  # the import alone takes long on a busy machine
        while self.last_pass() < step:
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.01)

    def last_pass(self) -> int:
        path = self.run / "metrics.jsonl"
        return path.read_text().count('"train/loss"') if path.exists() else 0


def test_the_command_killed_and_interrupted_goes_on_to_the_same_end(samples, tmp_path):
    passes = {"schedule": {"max_fwdbwd_passes": 60, "warmup": 2}, "checkpointing": {"checkpoint_every": 4}}
    command = Command(samples, tmp_path, **passes)
    process = command.start()
    command.wait_for_pass(process, 9)
    process.kill()
    process.communicate()
    assert command.last_pass() < 60
    process = command.start()
    command.wait_for_pass(process, command.last_pass() + 6)
    os.kill(process.pid, signal.SIGTERM)
    out, err = process.communicate(timeout=60)
    assert process.returncode == EXIT_RESUMABLE, err
    assert "Traceback" not in err
    assert "interrupted by SIGTERM after pass" in out
    assert "give the same command again to go on" in out
    done = subprocess.run(command.arguments, cwd=ROOT, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "resuming from" in done.stderr
    assert load_checkpoint(command.run / "checkpoints/latest")["fwdbwd_pass_step"] == 60
    assert [json.loads(line)["step"] for line in (command.run / "metrics.jsonl").read_text().splitlines()] == list(
        range(1, 61)
    )
    whole = Trainer(configure(samples, **passes), tmp_path / "whole")
    (tmp_path / "whole").mkdir()
    assert whole.run()
    end = load_checkpoint(command.run / "checkpoints/latest")
    for name, value in whole.model.state_dict().items():
        assert torch.equal(value, end["model"][name])


@pytest.mark.slow
@pytest.mark.parametrize("number", SIGNALS)
@pytest.mark.parametrize("moment", ["passes", "start of the workers"])
def test_a_signal_to_the_whole_group_kills_no_worker_first(samples, tmp_path, number, moment):
    """Ctrl-C in a terminal, or a cluster's signal to all processes of a job."""
    passes = {"schedule": {"max_fwdbwd_passes": 100_000, "warmup": 2}, "dataloader": {"num_workers": 2}}
    command = Command(samples, tmp_path, checkpointing={"checkpoint_every": 50_000}, **passes)
    process = command.start()
    if moment == "passes":
        command.wait_for_pass(process, 6)
    else:
        while not (command.run / "metrics.jsonl").exists():  # opened right before the workers start
            assert process.poll() is None
            time.sleep(0.001)
        time.sleep(0.5)
    began = time.monotonic()
    os.killpg(process.pid, number)
    out, err = process.communicate(timeout=60)
    assert process.returncode == EXIT_RESUMABLE, err
    assert time.monotonic() - began < SOON
    assert "Traceback" not in err
    assert "exited unexpectedly" not in err
    assert f"interrupted by {number.name}" in out


@pytest.mark.slow
def test_a_long_validation_does_not_delay_the_end(samples, tmp_path):
    """Its samples would take minutes together."""
    validation = {"val_every": 4, "max_samples": 3, "protocol": "leave_one_out"}
    slow = "import time, train_gslrm; from gslrm import cli, reconstruct\n" + (
        "original = reconstruct.Reconstructor.reconstruct\n"
        "def slowly(self, placed):\n"
        "    time.sleep(10)\n"
        "    return original(self, placed)\n"
        "reconstruct.Reconstructor.reconstruct = slowly\n"
        "cli.run(train_gslrm.main)"
    )
    command = Command(samples, tmp_path, validation=validation)
    command.arguments[1:2] = ["-c", slow]
    process = command.start()
    command.wait_for_pass(process, 4)
    time.sleep(2)
    began = time.monotonic()
    os.kill(process.pid, signal.SIGUSR1)
    out, err = process.communicate(timeout=60)
    assert process.returncode == EXIT_RESUMABLE, err
    assert time.monotonic() - began < SOON
    assert "after pass 4 of 8" in out
    assert load_checkpoint(command.run / "checkpoints/latest")["validation_due"]
