import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from proof_helpers import bump, mouse

from gslrm.data.sample import write_sample
from gslrm.tensor_struct import stack

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "scripts" / "check_data.py"


def check(*options: object) -> subprocess.CompletedProcess:
    command = [sys.executable, str(SCRIPT), *map(str, options)]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=environment, timeout=300)


def write(directory: Path, shots) -> None:
    write_sample(
        directory,
        images=np.stack([np.rint(image * 255).astype(np.uint8) for image in shots.images]),
        masks=np.stack([np.rint(mask * 255).astype(np.uint8) for mask in shots.masks]),
        depths=None,
        cameras=stack(list(shots.cameras)),
        camera_names=shots.names,
    )


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("samples")
    write(root / "right", mouse(0, 256))
    write(root / "wrong", bump(mouse(0, 256), 2, 2.0))
    write(root / "broken", mouse(1, 256))
    (root / "broken" / "images" / "cam_003.png").unlink()
    (root / "right.txt").write_text("right\n")
    return root


def test_right_samples_end_with_status_0(data):
    done = check("--data", data / "right.txt", "--workers", 1)
    assert done.returncode == 0, done.stderr
    assert "right  pass" in done.stdout and "all 1 samples pass" in done.stdout


def test_wrong_samples_end_with_status_1_the_cause_and_a_report(data, tmp_path):
    done = check("--data", data, "--output", tmp_path / "out", "--json", tmp_path / "one.json", "--workers", 2)
    assert done.returncode == 1, done.stderr
    lines = done.stdout.splitlines()
    assert any(line.startswith("wrong ") and "FAIL" in line and "calibrate it again" in line for line in lines)
    assert any(line.startswith("broken ") and "cam_003.png" in line for line in lines)
    assert "2 of 3 samples fail" in lines
    content = json.loads((tmp_path / "one.json").read_text())
    assert content == json.loads((tmp_path / "out" / "report.json").read_text()) and content["failed"] == 2
    assert len((tmp_path / "out" / "samples.jsonl").read_text().splitlines()) == 3
    page = (tmp_path / "out" / "report.html").read_text()
    assert "Camera3 disagrees" in page and page.count("data:image/jpeg;base64,") == 2


def test_limits_can_be_widened(data):
    done = check("--data", data / "wrong", "--limit", "swing=50", "lacking=1", "excess=1", "--workers", 1)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("options", "named"), [(("--limit", "swong=1"), "swong"), (("--limit", "swing=x"), "'x' is no number")]
)
def test_wrong_limits_end_with_status_2_and_one_sentence(data, options, named):
    done = check("--data", data / "right", *options)
    assert done.returncode == 2 and named in done.stderr and "Traceback" not in done.stderr


def test_nothing_to_check_ends_with_status_2(tmp_path):
    done = check("--data", tmp_path / "nowhere")
    assert done.returncode == 2 and "nowhere" in done.stderr and "Traceback" not in done.stderr


def test_help_is_quick():
    start = time.monotonic()
    assert check("--help").returncode == 0
    assert time.monotonic() - start < 2
