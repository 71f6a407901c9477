"""`inference.py` as users give it: what is refused before anything is computed, and how it ends."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from command_helpers import call
from inference_helpers import write_balls, write_checkpoint, write_lgm, write_published
from PIL import Image

from gslrm import shipped
from gslrm.export import read_ply
from gslrm.inference.folder import DONE
from gslrm.reconstruct import Reconstructor

QUICK = ("--no-video", "--render-views", "none", "--device", "cpu")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("weights") / "weights.pt")


@pytest.fixture
def no_network(monkeypatch):
    """A run that would load weights fails."""

    def load(*_: object, **__: object) -> None:
        pytest.fail("weights are loaded although the command must be refused before")

    monkeypatch.setattr(Reconstructor, "from_checkpoint", load)


def infer(checkpoint: Path | None, data: Path, out: Path, *more: object) -> int:
    named = () if checkpoint is None else ("--checkpoint", checkpoint)
    return call("inference.py", *named, "--input", data, "--output", out, *QUICK, *more)


def last_error(capsys) -> str:
    return next(line for line in capsys.readouterr().err.splitlines() if line.startswith("error: "))


def done(out: Path) -> list[str]:
    return sorted(path.parent.name for path in out.glob(f"*/{DONE}"))


def spoil(sample: Path) -> None:
    path = sample / "images/cam_001.png"
    path.write_bytes(path.read_bytes()[:100])


@pytest.mark.parametrize("kind", ["directory", "list", "sample", "camera file", "prepared recording"])
def test_samples_are_named_in_every_usual_way(kind, checkpoint, tmp_path):
    data = tmp_path / "data"
    write_balls(data, 2)
    (tmp_path / "list.txt").write_text("data/frame_000\ndata/frame_001/opencv_cameras.json\n")
    if kind == "prepared recording":
        (data / "prepare.json").write_text("{}")
        (data / "rejected").mkdir()
        (data / "rejected/frame_009.json").write_text("{}")
        write_balls(data / "x", 1)[0].rename(data / "frame_007.partial")
    named = {"list": tmp_path / "list.txt", "sample": data / "frame_000"}.get(kind, data)
    named = data / "frame_000/opencv_cameras.json" if kind == "camera file" else named
    assert infer(checkpoint, named, tmp_path / "out") == 0
    names = ["frame_000"] if kind in ("sample", "camera file") else ["frame_000", "frame_001"]
    assert done(tmp_path / "out") == names
    assert all(len(read_ply(tmp_path / "out" / name / "gaussians.ply").means) for name in names)


def test_a_sample_may_be_the_working_directory(checkpoint, tmp_path, monkeypatch):
    monkeypatch.chdir(write_balls(tmp_path / "data", 1)[0])
    assert infer(checkpoint, Path(), tmp_path / "out") == 0
    assert done(tmp_path / "out") == ["frame_000"]


def test_a_failed_sample_is_told_at_the_end_and_by_the_exit_status(checkpoint, tmp_path, capsys):
    samples = write_balls(tmp_path / "data", 3)
    spoil(samples[1])
    assert infer(checkpoint, tmp_path / "data", tmp_path / "out") == 3
    assert done(tmp_path / "out") == ["frame_000", "frame_002"]
    report = capsys.readouterr().out
    assert "1 failed, see failures.json" in report and "cam_001.png: PNG is truncated" in report
    assert [failure["sample"] for failure in json.loads((tmp_path / "out/failures.json").read_text())] == ["frame_001"]


def test_a_run_in_which_everything_failed_ends_as_a_wrong_input_does(checkpoint, tmp_path, capsys):
    for sample in write_balls(tmp_path / "data", 2):
        spoil(sample)
    assert infer(checkpoint, tmp_path / "data", tmp_path / "out") == 2
    assert "cam_001.png: PNG is truncated" in last_error(capsys)


def test_the_same_command_goes_on_and_another_one_is_refused(checkpoint, tmp_path, capsys):
    write_balls(tmp_path / "data", 2)
    assert infer(checkpoint, tmp_path / "data/frame_000", tmp_path / "out") == 0
    assert infer(checkpoint, tmp_path / "data", tmp_path / "out", "--batch", 2) == 0
    assert "1 samples in" in capsys.readouterr().out
    assert infer(checkpoint, tmp_path / "data", tmp_path / "out", "--input-views", "0-2") == 2
    assert 'options.input_views was null, now "0-2"' in last_error(capsys)
    assert infer(checkpoint, tmp_path / "data", tmp_path / "out", "--input-views", "0-2", "--redo") == 0
    other = write_checkpoint(tmp_path / "other.pt", seed=1)
    assert infer(other, tmp_path / "data", tmp_path / "out", "--input-views", "0-2") == 2
    assert "weights was " in last_error(capsys)


def test_frames_of_a_recording_share_their_placement_if_asked(checkpoint, tmp_path, capsys):
    write_balls(tmp_path / "data", 3)
    smooth = ("--smooth-placement", 1)
    assert infer(checkpoint, tmp_path / "data", tmp_path / "out", *smooth) == 0
    assert json.loads((tmp_path / "out/inference.json").read_text())["smooth_placement"]["reach"] == 1
    scales = {
        json.loads((tmp_path / "out" / name / DONE).read_text())["grain"]["density"] for name in done(tmp_path / "out")
    }
    assert len(done(tmp_path / "out")) == 3 and max(scales) == pytest.approx(min(scales))  # though the balls differ
    assert infer(checkpoint, tmp_path / "data", tmp_path / "out", *smooth) == 0
    assert "0 samples in" in capsys.readouterr().out
    assert infer(checkpoint, tmp_path / "data", tmp_path / "out") == 2
    assert "smooth_placement.reach was 1, now null" in last_error(capsys)


def test_a_run_tells_what_cleaning_cost(checkpoint, tmp_path, capsys):
    write_balls(tmp_path / "data", 2)
    assert infer(checkpoint, tmp_path / "data", tmp_path / "out", "--clean", "opacity:0.1") == 0
    told = capsys.readouterr().out
    assert "in 2 samples" in told and "Gaussians stay (" in told and "heldout views: psnr_crop " in told


@pytest.mark.parametrize("place", ["below a file", "where nobody may write"])
def test_an_output_that_cannot_be_written_is_refused_first(place, no_network, tmp_path, capsys):
    write_balls(tmp_path / "data", 1)
    (tmp_path / "file").write_text("")
    out = tmp_path / "file/out" if place == "below a file" else Path("/proc/out")
    if place != "below a file" and not out.parent.is_dir():
        pytest.skip("no such place here")
    assert infer(tmp_path / "weights.pt", tmp_path / "data", out) == 2
    assert f"--output {out}: cannot be written" in last_error(capsys)


def test_samples_of_the_same_name_are_refused_first(no_network, tmp_path, capsys):
    write_balls(tmp_path / "a", 1)
    write_balls(tmp_path / "b", 1)
    (tmp_path / "list.txt").write_text("a/frame_000\nb/frame_000\n")
    assert infer(tmp_path / "weights.pt", tmp_path / "list.txt", tmp_path / "out") == 2
    error = last_error(capsys)
    assert "'frame_000'" in error and str(tmp_path / "a") in error and str(tmp_path / "b") in error


def test_published_weights_alone_reconstruct_a_rig_of_any_unit(tmp_path):
    """FaceLift's names without a YAML; the crops are those that its weights know."""
    write_balls(tmp_path / "data", 1)
    weights = write_published(tmp_path / "ckpt_0000000000021125.pt")
    smaller = ("--set", "model.image_tokenizer.image_size=32")
    out = tmp_path / "out"
    arguments = ("--checkpoint", weights, "--input", tmp_path / "data", "--output", out, "--device", "cpu")
    assert call("inference.py", *arguments, "--no-video", "--render-views", "0", *smaller) == 0
    assert Image.open(out / "frame_000/renders/cam_000.png").size == (32, 32)
    settings = json.loads((out / "inference.json").read_text())
    assert settings["model"]["transformer"] == {"d": 64, "d_head": 64, "n_layer": 2}
    assert settings["mouse"] | {"crop": "pretrained", "normalize_cameras": True} == settings["mouse"]
    assert (settings["mouse"]["target_camera_distance"], settings["mouse"]["object_size"]) == (2.7, None)
    assert json.loads((out / "frame_000" / DONE).read_text())["input_views"] == [0, 1, 2, 3, 4, 5]
    means = read_ply(out / "frame_000/gaussians.ply").means
    center = np.median(means.numpy(), axis=0)
    assert np.linalg.norm(center - [48, 52, 45]) < 300  # millimetres, like the rig: its cameras are 300 mm away


def test_published_weights_are_seen_as_their_own_yaml_would_say(tmp_path):
    weights = write_published(tmp_path / "ckpt.pt", gaussians={"sh_degree": 1})
    config = Reconstructor.from_checkpoint(weights, device="cpu").config
    named = Reconstructor.from_checkpoint(
        weights,
        device="cpu",
        config_file=shipped.REPOSITORY / shipped.ZERO_SHOT["gslrm"],
        overrides=("model.transformer.d=64", "model.transformer.n_layer=2", "model.gaussians.sh_degree=1"),
    ).config
    assert (config.model, config.mouse, config.render) == (named.model, named.mouse, named.render)
    assert config.training.dataset.dataset_path is None  # nothing here was trained on that list


def test_lgm_weights_alone_reconstruct_a_rig(tmp_path):
    write_balls(tmp_path / "data", 1)
    smaller = ("--set", "model.image_tokenizer.image_size=32")
    assert infer(write_lgm(tmp_path / "model_fixrot.pt"), tmp_path / "data", tmp_path / "out", *smaller) == 0
    settings = json.loads((tmp_path / "out/inference.json").read_text())
    assert (settings["model"]["family"], settings["model"]["lgm"]["down_channels"]) == ("lgm", [32, 64, 96])
    assert settings["mouse"]["crop"] == "pretrained_lgm" and settings["mouse"]["normalize_cameras"]
    assert len(read_ply(tmp_path / "out/frame_000/gaussians.ply").means)


def test_weights_of_another_family_are_refused(tmp_path, capsys):
    write_balls(tmp_path / "data", 1)
    torch.save({"state_dict": {"encoder.0.weight": torch.zeros(2, 2)}}, tmp_path / "vit.pt")
    assert infer(tmp_path / "vit.pt", tmp_path / "data", tmp_path / "out") == 2
    assert "vit.pt: carries no configuration and holds weights of no known family" in last_error(capsys)


def test_without_a_checkpoint_the_shipped_model_is_taken(checkpoint, tmp_path, monkeypatch, capsys):
    from gslrm.model.exchange import write_exchange

    write_balls(tmp_path / "data", 1)
    monkeypatch.setattr(shipped, "REPOSITORY", tmp_path)
    assert infer(None, tmp_path / "data", tmp_path / "out") == 2
    error = last_error(capsys)
    assert str(tmp_path / shipped.CHECKPOINT) in error and "train_gslrm.py" in error and "--checkpoint" in error
    (tmp_path / "checkpoints").mkdir()
    write_exchange(torch.load(checkpoint, weights_only=True), tmp_path / shipped.CHECKPOINT)
    assert infer(None, tmp_path / "data", tmp_path / "out") == 0
    evaluate = ("--data", tmp_path / "data", "--no-hull", "--device", "cpu", "--json", tmp_path / "scores.json")
    assert call("scripts/evaluate.py", *evaluate) == 0
    assert json.loads((tmp_path / "scores.json").read_text())["checkpoint"] == shipped.CHECKPOINT


@pytest.mark.parametrize(
    "wrong", [("--batch", "0"), ("--workers", "-1"), ("--refine", "-1"), ("--smooth-placement", "-1")]
)
def test_counts_that_are_none_are_refused(wrong, tmp_path):
    assert infer(None, tmp_path, tmp_path / "out", *wrong) == 2


def test_the_output_may_be_named_by_the_configuration(tmp_path):
    write_balls(tmp_path / "data", 1)
    weights = write_checkpoint(tmp_path / "w.pt", inference={"output_dir": str(tmp_path / "named")})
    arguments = ("--checkpoint", weights, "--input", tmp_path / "data", *QUICK)
    assert call("inference.py", *arguments) == 0
    assert done(tmp_path / "named") == ["frame_000"]
