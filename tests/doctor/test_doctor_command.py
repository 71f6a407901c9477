"""scripts/doctor.py for configurations and cards that are not here."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SMALL = ["--set", "model.transformer.n_layer=2", "model.transformer.d=64", "model.image_tokenizer.image_size=32"]


def run(*options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "scripts/doctor.py", *options]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=300)


def test_a_card_that_is_not_here_is_estimated():
    done = run("--config", "configs/small_cpu.yaml", "--card", "12", "--shown", "0.1", *SMALL)
    assert done.returncode == 0, done.stderr
    assert "10% of the patches and pixels show the object" in done.stdout
    assert "of 12.0 GiB: fits" in done.stdout
    assert "a pass, without loading data" in done.stdout


def test_a_configuration_is_estimated_for_the_device_that_is_here():
    done = run("--config", "configs/small_cpu.yaml", *SMALL)
    assert "measured here" in done.stdout, done.stderr
    assert "at the peak of a pass" in done.stdout


@pytest.mark.parametrize(
    "options",
    [["--card", "12"], ["--config", "C", "--card", "0"], ["--config", "C", "--shown", "1.5"], ["--shown", "0.1"]],
    ids=str,
)
def test_options_without_sense_are_refused(options):
    done = run(*options)
    assert done.returncode == 2
    assert "error: --" in done.stderr
