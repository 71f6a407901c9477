import importlib.util
import json
import re
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from calibration_helpers import (
    FIVE,
    assert_same_cameras,
    dannce_content,
    lab_rig,
    write_dannce,
    write_explicit,
    write_jarvis,
)
from matlab_helpers import save_matlab_5

from gslrm.data.calibration import read_calibration
from gslrm.data.rig import Lens
from gslrm.errors import UserError

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "scripts" / "convert_calibration.py"


@pytest.fixture
def convert(monkeypatch, capsys):
    """Runs the command in this process; what it reports."""
    spec = importlib.util.spec_from_file_location("convert_calibration", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)

    def run(*options: object) -> str:
        monkeypatch.setattr(sys, "argv", [str(SCRIPT), *map(str, options)])
        assert module.main() == 0
        return capsys.readouterr().out

    return run


def test_a_rig_is_written_in_another_format(tmp_path, convert):
    rig = lab_rig(3, lens=Lens(FIVE))
    (tmp_path / "in").mkdir()
    source, target = write_jarvis(tmp_path / "in", rig), tmp_path / "out" / "transforms.json"
    options = ["--input", source, "--output", target, "--output-format", "nerfstudio"]
    with pytest.raises(UserError, match="camera Camera1: nerfstudio files need the size"):
        convert(*options)
    assert convert(*options, "--sizes", "240x208") == f"{target}: 3 cameras, nerfstudio\n"
    assert_same_cameras(read_calibration(target), rig, tolerance=1e-12)


def test_the_table_tells_every_camera_and_where_it_stands(tmp_path, convert):
    rig = lab_rig(4, skew=-1.4, lens=Lens(FIVE))
    lines = convert("--input", write_dannce(tmp_path, rig)).splitlines()
    assert "dannce, 4 cameras, unit mm" in lines[0]
    assert "optical axes meet near (48, 52, 45)" in lines[1]
    header, *rows = lines[-5:]
    assert header.split()[:4] == ["camera", "size", "fx", "fy"]
    for camera, row in zip(rig.cameras, rows, strict=True):
        cells = row.split()
        offset = camera.position - [48, 52, 45]
        assert cells[0] == camera.name
        assert float(cells[2]) == pytest.approx(camera.intrinsics[0, 0], abs=0.01)
        assert float(cells[6]) == pytest.approx(camera.intrinsics[0, 1], abs=0.01)
        assert float(cells[-3]) == pytest.approx(np.linalg.norm(offset), rel=1e-3)
        assert float(cells[-2]) == pytest.approx(np.degrees(np.arcsin(offset[2] / np.linalg.norm(offset))), abs=0.1)
        assert float(cells[-1]) == pytest.approx(np.degrees(np.arctan2(offset[1], offset[0])), abs=0.1)


def test_a_wrong_unit_is_told(tmp_path, convert):
    rig = lab_rig(3, lens=Lens(FIVE))
    metres = replace(
        rig,
        cameras=tuple(
            replace(camera, camera_from_world=camera.camera_from_world * [1, 1, 1, 0.001] + np.diag([0, 0, 0, 0.999]))
            for camera in rig.cameras
        ),
    )
    warning = convert("--input", write_dannce(tmp_path, metres)).splitlines()[-1]
    assert warning.startswith("warning: ")
    assert "seem to be in metres" in warning


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--output", "x.toml"], "--output and --output-format belong together"),
        (["--sizes", "240"], "--sizes 240: must be WIDTHxHEIGHT"),
        (["--sizes", "1x1", "2x2"], "2 sizes for 3 cameras"),
        (["--sizes", "241x208"], "the file says 240x208 for Camera1"),
        (["--format", "yaml"], "'yaml' is unknown"),
    ],
)
def test_wrong_options_end_with_a_sentence(options, message, tmp_path, convert):
    with pytest.raises(UserError, match=re.escape(message)):
        convert("--input", write_explicit(tmp_path, lab_rig(3)), *options)


def test_what_is_left_behind_is_said(tmp_path, convert):
    rig = lab_rig(3, lens=Lens(FIVE))
    sync = [{"data_frame": np.arange(7)[:, None]}] * 3
    source = save_matlab_5(tmp_path / "a.mat", dannce_content(rig, sync=sync))
    reported = convert("--input", source, "--output", tmp_path / "a.toml", "--output-format", "anipose")
    assert "not carried over: a sync table of 7 times" in reported
    assert json.loads((tmp_path / "a.toml").read_text().split("matrix = ")[1].splitlines()[0])[0][1] == 0
