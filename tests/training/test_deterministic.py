"""Results that do not depend on timing: switches, refusals, and two runs that are the same bit for bit."""

import json
import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
import torch
import yaml
from helpers import ring, write_ball_sample

from gslrm.config import Config, RuntimeConfig
from gslrm.errors import UserError
from gslrm.model.loss_ssim import _median
from gslrm.training import runtime
from gslrm.training.checkpoint import load_checkpoint
from gslrm.training.runtime import CUBLAS_WORKSPACE, build_runtime, require_machine

ROOT = Path(__file__).parents[2]
DETERMINISTIC = RuntimeConfig(deterministic=True, device="cuda", use_amp=False)


@pytest.fixture(autouse=True)
def switch_back():
    yield
    torch.use_deterministic_algorithms(False)


@pytest.fixture
def card(monkeypatch):
    """A machine with a card, on which CUDA has not started."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: False)
    monkeypatch.delenv(CUBLAS_WORKSPACE, raising=False)
    monkeypatch.setattr(runtime.os, "environ", dict(os.environ))
    return runtime.os.environ


def test_the_switch_goes_on_and_off_with_the_key():
    for wanted in (True, False):
        build_runtime(RuntimeConfig(deterministic=wanted, device="cpu"))
        assert torch.are_deterministic_algorithms_enabled() is wanted


def test_cublas_is_told_before_cuda_starts(card):
    build_runtime(DETERMINISTIC)
    assert card[CUBLAS_WORKSPACE] == ":4096:8"
    assert torch.are_deterministic_algorithms_enabled()
    assert not torch.backends.cudnn.benchmark


def test_a_workspace_that_the_user_chose_stays(card):
    card[CUBLAS_WORKSPACE] = ":16:8"
    build_runtime(DETERMINISTIC)
    assert card[CUBLAS_WORKSPACE] == ":16:8"


def test_another_workspace_is_refused_with_the_cure(card):
    card[CUBLAS_WORKSPACE] = ":0:0"
    with pytest.raises(UserError, match=r"export CUBLAS_WORKSPACE_CONFIG=:4096:8 and start again"):
        build_runtime(DETERMINISTIC)


def test_once_cuda_has_started_it_is_too_late(card, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    with pytest.raises(UserError, match="before CUDA starts"):
        build_runtime(DETERMINISTIC)
    assert CUBLAS_WORKSPACE not in card


def test_without_the_key_nothing_is_set(card):
    build_runtime(DETERMINISTIC.model_copy(update={"deterministic": False}))
    assert CUBLAS_WORKSPACE not in card


@pytest.mark.parametrize("backend", ["auto", "gsplat"])
def test_gsplat_is_refused_because_its_threads_add_in_any_order(card, backend):
    config = Config.model_validate({"training": {"runtime": DETERMINISTIC}, "render": {"backend": backend}})
    with pytest.raises(UserError, match="needs render.backend: cpu on a card"):
        require_machine(config)
    require_machine(config.model_copy(update={"render": config.render.model_copy(update={"backend": "cpu"})}))


def test_float16_without_a_card_is_told_the_switch():
    with pytest.raises(UserError, match="add --set training.runtime.amp_dtype=auto"):
        build_runtime(RuntimeConfig(device="cpu", amp_dtype="fp16"))


@pytest.mark.parametrize("size", [(4, 5), (3, 3)])
def test_the_median_is_the_same_without_cudas_own(size):
    images = torch.rand(2, 3, *size, generator=torch.Generator().manual_seed(0))
    usual = _median(images)
    torch.use_deterministic_algorithms(True)
    assert torch.equal(_median(images), usual)


def write_config(folder: Path) -> Path:
    for number in range(3):
        write_ball_sample(folder / f"samples/{number}", ring(6, size=64), radius=26.0 + 3 * number)
    content = {
        "base": str(ROOT / "configs/small_cpu.yaml"),
        "model": {"image_tokenizer": {"image_size": 64}, "transformer": {"d": 64, "n_layer": 2}},
        "training": {
            "runtime": {"deterministic": True, "device": "cpu", "grad_accum_steps": 2},
            "dataset": {"dataset_path": str(folder / "samples")},
            "schedule": {"max_fwdbwd_passes": 8, "warmup": 2},
            "logging": {"wandb": {"mode": "disabled", "log_every": 1}},
        },
    }
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    return path


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system cannot pin a process to a core")
def test_two_runs_whose_threads_are_timed_otherwise_are_the_same_bit_for_bit(tmp_path):
    """Both at once, one of them with both threads on one core and with other workers."""
    config, threads = write_config(tmp_path), {"OMP_NUM_THREADS": "2", "NUMBA_NUM_THREADS": "2"}
    crowd = partial(os.sched_setaffinity, 0, {min(os.sched_getaffinity(0))})
    runs = [
        subprocess.Popen(
            [sys.executable, "train_gslrm.py", "--config", config, "--run-dir", tmp_path / name]
            + ["--set", f"training.dataloader.num_workers={workers}"],
            cwd=ROOT,
            env=os.environ | threads,
            preexec_fn=pinned,
            stderr=subprocess.PIPE,
        )
        for name, workers, pinned in (("free", 0, None), ("crowded", 2, crowd))
    ]
    for process in runs:
        assert process.wait(timeout=240) == 0, process.stderr.read().decode()
    free, crowded = (load_checkpoint(tmp_path / name / "checkpoints/latest")["model"] for name in ("free", "crowded"))
    assert free.keys() == crowded.keys()
    assert all(torch.equal(free[name], crowded[name]) for name in free)

    def figures(name: str) -> list[dict]:
        lines = map(json.loads, (tmp_path / name / "metrics.jsonl").read_text(encoding="utf-8").splitlines())
        return [{k: v for k, v in line.items() if "time" not in k and "memory" not in k} for line in lines]

    assert figures("free") == figures("crowded")
    assert len(figures("free")) == 8
