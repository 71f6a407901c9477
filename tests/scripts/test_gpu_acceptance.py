"""The GPU's acceptance can be rehearsed without one, and says clearly what it misses."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[2]
WITHOUT_CARD = pytest.mark.skipif(torch.cuda.is_available(), reason="there is a card")


def run(*options: str) -> subprocess.CompletedProcess[str]:
    command = ["bash", str(ROOT / "scripts" / "gpu_acceptance.sh"), *options]
    environment = {**os.environ, "PYTHON": sys.executable}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=300)


def test_a_rehearsal_on_a_cpu_goes_through_every_section(tmp_path) -> None:
    done = run("--device", "cpu", "--quick", "--repeats", "1", "--json", str(tmp_path / "found.json"))
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "found.json").read_text())
    assert found["passed"]
    assert len(found["parity"]["scenes"]) == 8
    assert found["parity"]["tried"] == "cpu"
    assert found["training_steps"]["bf16"]["taken"]
    assert found["memory"]["training"]["peak_bytes"]["process"] > 0
    assert 0 < found["memory"]["estimate"]["estimated_bytes"] < found["memory"]["training"]["peak_bytes"]["process"]
    assert all(found["throughput"][f"{size} px"]["training_pass_seconds"] > 0 for size in (16, 24, 32))


@WITHOUT_CARD
def test_without_a_card_it_says_so_and_fails() -> None:
    done = run()
    assert done.returncode == 2
    assert "sees no CUDA device" in done.stderr
    assert "--device cpu --quick" in done.stderr


def test_a_folder_without_wheels_is_refused(tmp_path) -> None:
    done = run("--wheels", str(tmp_path))
    assert done.returncode == 2
    assert "no .whl file" in done.stderr


@pytest.mark.parametrize(
    ("allocated", "passed"), [(100, True), (120, True), (82, True), (200, False), (50, False), (None, True)]
)
def test_an_estimate_that_is_far_from_what_was_allocated_fails(monkeypatch, allocated, passed) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    from gpu_acceptance import judge_estimate

    assert judge_estimate(100, allocated)["passed"] is passed
