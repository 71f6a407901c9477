import argparse
import logging
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from gslrm import cli
from gslrm.errors import UserError

ROOT = Path(__file__).parents[1]
COMMANDS = sorted([ROOT / "train_gslrm.py", ROOT / "inference.py", *(ROOT / "scripts").glob("*.py")])
HEAVY_MODULES = ("torch", "cv2", "numba", "scipy", "wandb")


@pytest.fixture(autouse=True)
def logging_restored():
    root, package = logging.getLogger(), logging.getLogger("gslrm")
    before = (root.handlers[:], root.level, package.level)
    yield
    root.handlers[:] = before[0]
    root.setLevel(before[1])
    package.setLevel(before[2])


def ask_for_help(command: Path, *options: str) -> tuple[subprocess.CompletedProcess[str], float]:
    start = time.monotonic()
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    arguments = [sys.executable, *options, str(command), "--help"]
    done = subprocess.run(arguments, capture_output=True, text=True, env=environment, check=False, timeout=60)
    return done, time.monotonic() - start


def fail(error: BaseException) -> int:
    raise error


def status_of(main) -> object:
    with pytest.raises(SystemExit) as caught:
        cli.run(main)
    return caught.value.code


def test_a_user_error_is_its_message_alone_and_status_2(capsys):
    assert status_of(lambda: fail(UserError("x.yaml: wrong [b] /a/b"))) == 2
    assert capsys.readouterr().err == "error: x.yaml: wrong [b] /a/b\n"


def test_a_long_user_error_stays_one_line(capsys):
    status_of(lambda: fail(UserError("word " * 100)))
    assert capsys.readouterr().err.count("\n") == 1


def test_an_interrupt_is_status_130_without_traceback(capsys):
    assert status_of(lambda: fail(KeyboardInterrupt())) == 130
    assert "Traceback" not in capsys.readouterr().err


def test_a_defect_keeps_its_traceback():
    with pytest.raises(ZeroDivisionError):
        cli.run(lambda: fail(ZeroDivisionError()))


@pytest.mark.parametrize("status", [None, 0, 1])
def test_the_status_of_a_command_is_the_status_of_its_process(status):
    assert status_of(lambda: status) == status


def test_logs_are_plain_lines_on_stderr_when_it_is_no_terminal(capsys):
    cli.setup_logging()
    logging.getLogger("gslrm.x").info("told %s", "[red]")
    logging.getLogger("other").info("not told")
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.endswith("INFO told [red]\n")
    assert captured.err.count("\n") == 1


def test_under_torchrun_other_processes_report_warnings_only(capsys, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    cli.setup_logging()
    logging.getLogger("gslrm.x").info("not told")
    logging.getLogger("gslrm.x").warning("told")
    assert capsys.readouterr().err.endswith("WARNING told\n")


def test_a_report_goes_to_stdout(capsys):
    cli.report("figures")
    assert capsys.readouterr() == ("figures\n", "")


def test_overrides_may_share_an_option_or_repeat_it():
    parser = argparse.ArgumentParser()
    cli.add_overrides(parser)
    assert parser.parse_args(["--set", "a=1", "b=2", "--set", "c=3"]).overrides == ["a=1", "b=2", "c=3"]
    assert parser.parse_args([]).overrides == []


def test_tracking_changes_no_item_and_tells_the_end(caplog):
    with caplog.at_level(logging.INFO, "gslrm"):
        assert list(cli.track([1, 2, 3], "work")) == [1, 2, 3]
        assert list(cli.track(iter("ab"), "letters")) == ["a", "b"]
    assert [record.message[:9] for record in caplog.records] == ["work: 3/3", "letters: "]


def test_plain_progress_speaks_at_intervals_and_resumes_where_it_was(caplog, monkeypatch):
    monkeypatch.setattr(cli, "PLAIN_INTERVAL_SECONDS", 0.0)
    with caplog.at_level(logging.INFO, "gslrm"), cli.progress("training", 10, done=7) as task:
        task.advance(note="loss 0.5")
    assert "training: 8/10" in caplog.records[1].message
    assert "loss 0.5" in caplog.records[1].message


def test_plain_progress_speaks_whenever_enough_pieces_are_done(caplog):
    with caplog.at_level(logging.INFO, "gslrm"), cli.progress("training", 7, every=3) as task:
        for _ in range(7):
            task.advance()
    assert [record.message[:13] for record in caplog.records] == ["training: 3/7", "training: 6/7", "training: 7/7"]


def test_progress_on_a_terminal_is_a_bar(monkeypatch, capsys):
    monkeypatch.setattr(cli, "_console", cli.Console(stderr=True, force_terminal=True, width=100))
    with cli.progress("training", 10, done=7) as task:
        task.advance(note="loss [0.5]")
    assert "8/10" in capsys.readouterr().err


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_help_imports_nothing_heavy(command):
    done, _ = ask_for_help(command, "-X", "importtime")
    assert done.returncode == 0, done.stderr[-2000:]
    imported = {line.rpartition("|")[2].strip().partition(".")[0] for line in done.stderr.splitlines() if "|" in line}
    assert not imported & set(HEAVY_MODULES)


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_help_takes_less_than_two_seconds(command):
    assert min(ask_for_help(command)[1] for _ in range(2)) < 2


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_a_wrong_option_is_told_without_traceback(command):
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    arguments = [sys.executable, str(command), "--no-such-option"]
    done = subprocess.run(arguments, capture_output=True, text=True, env=environment, check=False, timeout=60)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
