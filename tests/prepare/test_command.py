import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from recording_helpers import animal, raw_rig, write_recording

ROOT = Path(__file__).parents[2]


def command(recording: Path, output: Path, *more: str) -> list[str]:
    script = str(ROOT / "scripts" / "prepare_data.py")
    places = ["--videos", str(recording / "videos"), "--calibration", str(recording / "rig.mat")]
    places += ["--background", str(recording / "background"), "--output", str(output)]
    return [sys.executable, script, *places, "--size", "96", "--gap", "0", *more]


def run(arguments: list[str]) -> subprocess.CompletedProcess:
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.run(arguments, env=environment, capture_output=True, text=True, check=False, timeout=300)


def pictures(directory: Path) -> dict[str, bytes]:
    return {str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("frame_*/**/*.png")}


@pytest.fixture(scope="module")
def recording(tmp_path_factory) -> Path:
    directory = tmp_path_factory.mktemp("recording")
    write_recording(directory, raw_rig(), [[animal(40.0 + 2.0 * frame, 55.0)] for frame in range(6)])
    return directory


@pytest.mark.slow
def test_killed_at_any_moment_the_same_command_completes_what_is_missing(recording, tmp_path):
    assert run(command(recording, tmp_path / "whole")).returncode == 0
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    for kill, count in enumerate((1, 3, 4)):
        process = subprocess.Popen(
            command(recording, tmp_path / "killed", "--workers", "1"), env=environment, stderr=subprocess.DEVNULL
        )
        while process.poll() is None and len(list((tmp_path / "killed").glob("frame_*"))) < count + kill:
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert run(command(recording, tmp_path / "killed")).returncode == 0
    assert pictures(tmp_path / "killed") == pictures(tmp_path / "whole")
    assert not list((tmp_path / "killed").glob("*.partial"))


def test_a_wrong_choice_of_frames_is_one_sentence(recording, tmp_path):
    for frames in ("a:b", "-3:5", "0:5:0", "1:2:3:4"):
        result = run(command(recording, tmp_path / "out", f"--frames={frames}"))
        assert result.returncode == 2
        assert "write A:B or A:B:STEP" in result.stderr
        assert "Traceback" not in result.stderr
