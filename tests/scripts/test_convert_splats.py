"""The command that converts, cleans, compares and meshes Gaussians; the same options of inference."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from command_helpers import call
from export_helpers import mouse_like
from helpers import ring, write_ball_sample
from test_reconstruct import SETTINGS

from gslrm import export, format_table
from gslrm.mesh import surface
from gslrm.types import Gaussians

BALL = (70.0, 40.0, 20.0)


def convert(*arguments: object) -> int:
    return call("scripts/convert_splats.py", *arguments)


def ball(count: int = 800) -> Gaussians:
    """The ball of `write_ball_sample`, with a floater for every twenty Gaussians of it."""
    gaussians = mouse_like(count)
    center = gaussians.means.mean(dim=0)
    direction = torch.nn.functional.normalize(gaussians.means - center, dim=-1)
    reach = torch.full((count, 1), 27.0)
    reach[::20] = 50
    colour = (torch.tensor([90, 60, 40]) / 255 - 0.5) / 0.28209479177387814
    return replace(
        gaussians,
        means=torch.tensor(BALL) + reach * direction,
        scales=torch.full((count, 3), 1.5),
        harmonics=colour.expand(count, 1, 3),
        opacities=torch.full((count,), 0.95),
    )


@pytest.fixture
def file(tmp_path) -> Path:
    export.write_ply(ball(), tmp_path / "in.ply")
    return tmp_path / "in.ply"


def test_endings_choose_the_formats_and_the_input_is_told_by_its_content(file, tmp_path, capsys):
    outputs = [tmp_path / f"out{form.suffix}" for form in export.FORMATS.values()]
    file = file.rename(tmp_path / "in.dat")
    assert convert(file, *outputs) == 0
    names = [export.format_of(path) for path in outputs]
    assert names == ["ply", "ply", "compressed_ply", "splat", "spz", "sog"]
    assert "800 Gaussians, harmonics of degree 0" in capsys.readouterr().out
    assert convert(tmp_path / "out.spz", tmp_path / "again.ply") == 0
    assert len(export.read_ply(tmp_path / "again.ply").means) == 800


def test_the_table_has_a_row_per_format_with_what_was_measured(file, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(format_table, "SIZE", 64)
    sample = write_ball_sample(tmp_path / "s", ring(6, size=48))
    assert convert(file, "--table", "--sample", sample, "--input-views", "0-3") == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("|")]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert [row[0] for row in rows] == ["format", "---", *export.FORMATS]
    assert rows[0][6:8] == ["loss at input views (dB)", "loss at heldout views (dB)"]
    figures = {row[0]: row[1:] for row in rows[2:]}
    assert figures["ply"][1] == "1.0 x" and float(figures["ply"][3]) > 80 and figures["ply"][4] == "0"
    size = 68 * 800 / float(figures["spz"][1][:-2])  # of a .ply row, over how much smaller
    export.write_spz(ball(), tmp_path / "x.spz")
    assert size == pytest.approx((tmp_path / "x.spz").stat().st_size, rel=0.02)
    assert all(abs(float(row[5])) < 0.5 for row in figures.values())


def test_cleaning_removes_the_floaters_and_reports_the_cost(file, tmp_path, capsys):
    sample = write_ball_sample(tmp_path / "s", ring(6, size=48))
    clean = ("--clean", "hull:1,contribution:0.01", "--sample", sample, "--input-views", "0-3")
    assert convert(file, tmp_path / "out.ply", *clean) == 0
    kept = export.read_ply(tmp_path / "out.ply")
    assert (kept.means - torch.tensor(BALL)).norm(dim=1).max() < 45
    text = capsys.readouterr().out
    assert re.search("hull:1/1: 800 -> 760\n", text)
    gain = re.search(r"heldout mask_iou: ([\d.]+) -> ([\d.]+) \(\+", text)
    assert gain and float(gain[2]) > float(gain[1])


def test_a_mesh_is_written(file, tmp_path, capsys, monkeypatch):
    pytest.importorskip("skimage")
    monkeypatch.setattr(surface, "VIEWS", 12)
    assert convert(file, "--mesh", tmp_path / "m.glb", "--mesh-resolution", 24) == 0
    assert (tmp_path / "m.glb").read_bytes()[:4] == b"glTF"
    assert re.search(r"m\.glb: \d+ vertices", capsys.readouterr().out)


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ((), "nothing to do"),
        (("out.obj",), "no format has this ending"),
        (("out.ply", "--clean", "hull"), "needs the masks"),
        (("out.ply", "--clean", "opacity:1"), "leaves nothing"),
        (("out.ply", "--clean", "shrink"), "no filter 'shrink'"),
        (("--mesh", "m.glb", "--mesh-resolution", "3"), "at least 16"),
        (("out.ply", "--sample", "nowhere"), "nowhere"),
    ],
)
def test_what_cannot_be_done_is_refused_before_anything_is_written(
    file, tmp_path, monkeypatch, capsys, arguments, reason
):
    monkeypatch.chdir(tmp_path)
    assert convert(file, *arguments) == 2
    assert reason in " ".join(capsys.readouterr().err.split())
    assert list(tmp_path.iterdir()) == [file]


def test_a_damaged_input_is_refused(tmp_path, capsys):
    (tmp_path / "in.spz").write_bytes(b"\x1f\x8b nothing")
    assert convert(tmp_path / "in.spz", tmp_path / "out.ply") == 2
    assert "in.spz is damaged" in " ".join(capsys.readouterr().err.split())


def test_inference_cleans_and_writes_the_formats_asked_for(tmp_path, monkeypatch):
    pytest.importorskip("skimage")
    monkeypatch.setattr(surface, "VIEWS", 12)
    sample = write_ball_sample(tmp_path / "s", ring(6, size=48))
    (tmp_path / "config.yaml").write_text(json.dumps(SETTINGS))
    training = ["training.schedule.max_fwdbwd_passes=1", "training.dataloader.num_workers=0"]
    training += [f"training.dataset.dataset_path={sample}", "training.logging.wandb.mode=disabled"]
    training += ["mouse.use_mouse_dataset=true"]
    assert (
        call("train_gslrm.py", "--config", tmp_path / "config.yaml", "--run-dir", tmp_path / "run", "--set", *training)
        == 0
    )
    options = [
        "--clean",
        "opacity:0.01,contribution:0",
        "--formats",
        "spz",
        "sog",
        "--no-video",
        "--render-views",
        "none",
    ]
    inputs = ["--checkpoint", tmp_path / "run/checkpoints/latest", "--input", sample, "--output", tmp_path / "out"]
    assert call("inference.py", *inputs, *options, "--mesh", "--set", "inference.mesh_resolution=24") == 0
    out = tmp_path / "out" / "s"
    report = json.loads((out / "clean.json").read_text())
    assert [step["filter"] for step in report["steps"]] == ["opacity:0.01", "contribution:0"]
    counts = {len(export.read_gaussians(out / f"gaussians{end}").means) for end in (".ply", ".spz", ".sog")}
    assert counts == {report["steps"][-1]["after"]}
    assert (out / "mesh.glb").read_bytes()[:4] == b"glTF"
    assert call("inference.py", *inputs, "--clean", "nonsense") == 2
