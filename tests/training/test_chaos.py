"""A training that is killed fifty times ends as the one that is left alone, and no checkpoint is ever lost."""

import itertools
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from training_helpers import ROOT, differences, lines, repeatable, settings

from gslrm.training.checkpoint import CheckpointFolder, load_checkpoint, step_of
from gslrm.training.log import read_metrics

KILLS = 50
EXIT_RESUMABLE = 75
PASSES = 360
VAL_EVERY = 20
NOT_OF_THE_RESULT = ("wandb_id", "config")  # the configurations differ: saving in the background, workers
CONFIG = {
    "runtime": {"grad_accum_steps": 3},
    "adapt": {"ema": {"decay": 0.9}},
    "schedule": {"max_fwdbwd_passes": PASSES, "warmup": 4},
    "checkpointing": {"checkpoint_every": 6, "keep_last": 2},
    "validation": {"val_every": VAL_EVERY, "max_samples": 2, "visual_hull": False},
}


class Nursery:
    """Trainings that are forked from one warm process."""

    def __init__(self, process: "subprocess.Popen[str]", folder: Path) -> None:
        self.process = process
        self.folder = folder

    def start(self, run: Path, *overrides: str) -> int:
        config = ["--config", self.folder / "c.yaml", "--run-dir", run]
        return self._ask("start", self.folder / f"{run.name}.log", *config, "--set", "debug=false", *overrides)

    def wait(self, process: int) -> int:
        return self._ask("wait", process)

    def _ask(self, *words: object) -> int:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(" ".join(map(str, words)) + "\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline())


@contextmanager
def nursery(folder: Path) -> Iterator[Nursery]:
    command = [sys.executable, str(Path(__file__).with_name("nursery.py"))]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        command, cwd=ROOT, env=environment, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        yield Nursery(process, folder)
        assert process.stdin is not None
        process.stdin.close()


def last_step(run: Path) -> int:
    path = run / "metrics.jsonl"
    return max((entry["step"] for entry in read_metrics(path)[0]), default=0) if path.exists() else 0


def saving(run: Path) -> bool:
    return any((run / "checkpoints").glob(".ckpt_*.tmp"))


def moment(chance: random.Random, run: Path) -> tuple[str, Callable[[], bool]]:
    """When to kill: a name, and whether it is now."""
    began, done = time.monotonic(), last_step(run)
    kind = chance.choices(["start", "pass", "save", "validation"], [1, 3, 4, 2])[0]
    delay, more = chance.uniform(0, 3), chance.randint(1, 8)
    if kind == "start":
        return kind, lambda: time.monotonic() - began > delay
    if kind == "pass":
        return kind, lambda: last_step(run) >= min(done + more, PASSES)
    if kind == "save":
        newest = newest_of(run) + chance.choice([0, 0, 6])
        return kind, lambda: newest_of(run) >= newest and saving(run)
    due = min((done // VAL_EVERY + 1) * VAL_EVERY, PASSES)
    wait = chance.uniform(0, 0.3)
    reached: list[float] = []

    def validating() -> bool:
        if last_step(run) >= due:
            reached.append(time.monotonic())
        return bool(reached) and time.monotonic() - reached[0] > wait

    return kind, validating


def newest_of(run: Path) -> int:
    return max(map(step_of, CheckpointFolder(run / "checkpoints", keep_last=2).steps()), default=0)


def require_sound(run: Path, newest: int) -> int:
    """All checkpoints can be read, and the newest is no older than before."""
    paths = CheckpointFolder(run / "checkpoints", keep_last=2).steps()
    for path in paths:
        assert load_checkpoint(path)["fwdbwd_pass_step"] == step_of(path)
    if newest:
        assert (run / "checkpoints/latest").resolve() in [path.resolve() for path in paths]
    now = newest_of(run)
    assert now >= newest
    return now


def kill_once(home: Nursery, run: Path, chance: random.Random, life: int) -> tuple[str, int, int]:
    """One life of a run: when and how it was killed, and its exit status."""
    overrides = [f"training.checkpointing.async_save={str(life % 2 == 0).lower()}"]
    overrides += [f"training.dataloader.num_workers={int(life % 5 == 4)}"]
    number = chance.choices([signal.SIGKILL, signal.SIGTERM, signal.SIGUSR1], [6, 3, 1])[0]
    kind, is_now = moment(chance, run)
    process = home.start(run, *overrides)
    deadline = time.monotonic() + 60
    while not is_now() and time.monotonic() < deadline:
        time.sleep(0.002)
        if Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
            break  # it came to its end
    os.kill(process, number)  # nobody has taken leave of it yet, so the number is still its own
    return kind, number, home.wait(process)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0])
def test_fifty_kills_change_no_bit_and_lose_no_checkpoint(samples, tmp_path, seed):
    """In passes, saves (half of the runs save in the background), validations and starts, by SIGKILL and others."""
    (tmp_path / "c.yaml").write_text(json.dumps(settings(samples, **CONFIG)))
    chance, killed, told = random.Random(seed), tmp_path / "killed", Counter()
    with nursery(tmp_path) as home:
        assert home.wait(home.start(tmp_path / "whole")) == 0
        newest = kills = 0
        for life in itertools.count():
            kind, number, status = kill_once(home, killed, chance, life)
            newest = require_sound(killed, newest)
            assert status in (0, EXIT_RESUMABLE, -number), (tmp_path / "killed.log").read_text()[-3000:]
            if status == EXIT_RESUMABLE or status < 0:
                kills += 1
                told[f"{signal.Signals(number).name} in {kind}, status {status}"] += 1
            if kills == KILLS:
                break
            assert newest < PASSES, f"the run came to its end after {kills} kills; give it more passes"
        assert home.wait(home.start(killed)) == 0
    ends = [load_checkpoint(run / "checkpoints/latest") for run in (tmp_path / "whole", killed)]
    states = [{key: value for key, value in end.items() if key not in NOT_OF_THE_RESULT} for end in ends]
    assert ends[0]["fwdbwd_pass_step"] == PASSES
    assert differences(*states) == []
    assert repeatable(tmp_path / "whole") == repeatable(killed)
    records = [(run / "checkpoints/best.json").read_text() for run in (tmp_path / "whole", killed)]
    assert records[0] == records[1]
    names = [sorted(path.name for path in (run / "checkpoints").iterdir()) for run in (tmp_path / "whole", killed)]
    assert names[0] == names[1]
    assert len(lines(killed)) > PASSES
    sys.stderr.write(f"{kills} kills: {json.dumps(told, indent=1)}\n")
