"""The commands as a user gives them: what they write, and how they refuse wrong input."""

import json
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import plyfile
import pytest
import torch
from command_helpers import call
from helpers import ring, write_ball_sample
from PIL import Image

from gslrm.data.sample import CAMERA_FILE

CONFIG = {
    "model": {
        "image_tokenizer": {"image_size": 16, "patch_size": 8},
        "transformer": {"d": 32, "d_head": 16, "n_layer": 1},
        "gaussians": {"scale_bias": -3.0},
    },
    "training": {
        "runtime": {"use_amp": False, "device": "cpu"},
        "dataset": {"num_views": 6, "num_input_views": 4},
        "dataloader": {"num_workers": 0},
        "losses": {"alpha_loss_weight": 0.3},
        "schedule": {"max_fwdbwd_passes": 2},
        "logging": {"wandb": {"mode": "disabled"}},
    },
    "inference": {"turntable_frames": 4, "turntable_size": 32},
    "mouse": {"use_mouse_dataset": True, "normalize_cameras": True, "object_size": 1.2, "crop_footprint": 1.5},
}


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> tuple[Path, Path]:
    """A sample and a checkpoint made from it."""
    folder = tmp_path_factory.mktemp("trained")
    sample = write_ball_sample(folder / "sample_000", ring(6, size=48))
    (folder / "config.yaml").write_text(json.dumps(CONFIG))
    path = f"training.dataset.dataset_path={sample}"
    status = call("train_gslrm.py", "--config", folder / "config.yaml", "--run-dir", folder / "run", "--set", path)
    assert status == 0
    return sample, folder / "run/checkpoints/latest"


@pytest.fixture
def sample(tmp_path) -> Path:
    return write_ball_sample(tmp_path / "sample_000", ring(6, size=48))


def test_inference_writes_what_the_interface_promises(trained, tmp_path):
    sample, checkpoint = trained
    assert call("inference.py", "--checkpoint", checkpoint, "--input", sample, "--output", tmp_path) == 0
    out = tmp_path / "sample_000"
    for folder, mode in (("renders", "RGB"), ("renders/alpha", "L")):
        for index in range(6):
            with Image.open(out / folder / f"cam_{index:03d}.png") as image:
                assert (image.mode, image.size) == (mode, (48, 48))
    depth = np.asarray(Image.open(out / "renders/depth/cam_000.png"))
    assert depth.dtype == np.uint16
    scale = json.loads((out / "renders/depth/scale.json").read_text())["depth_scale"]
    alpha = np.asarray(Image.open(out / "renders/alpha/cam_000.png"))
    assert 150 < np.median(depth[alpha > 128]) / scale < 500  # the sample is in millimetres
    vertices = plyfile.PlyData.read(out / "gaussians.ply")["vertex"]
    center = np.median(np.stack([vertices[axis] for axis in "xyz"]), axis=1)
    assert np.linalg.norm(center - [70, 40, 20]) < 40
    frames, _ = imageio_ffmpeg.count_frames_and_secs(str(out / "turntable.mp4"))
    assert frames == 4
    assert set(json.loads((out / "metrics.json").read_text())["summary"]) == {"input", "heldout"}
    assert (out / "overview.png").is_file()


def test_inference_renders_the_views_asked_for(trained, tmp_path):
    sample, checkpoint = trained
    options = ["--checkpoint", checkpoint, "--input", sample, "--output", tmp_path, "--no-video"]
    assert call("inference.py", *options, "--render-views", "4-5", "--input-views", "0-2", "--refine", 2) == 0
    out = tmp_path / "sample_000"
    assert [path.name for path in sorted((out / "renders").glob("*.png"))] == ["cam_004.png", "cam_005.png"]
    assert not (out / "turntable.mp4").exists()


def test_inference_needs_no_images_of_the_views_it_renders(trained, sample, tmp_path):
    (sample / "images/cam_005.png").unlink()
    options = ["--checkpoint", trained[1], "--input", sample, "--output", tmp_path / "out", "--no-video"]
    assert call("inference.py", *options) == 0
    assert (tmp_path / "out/sample_000/renders/cam_005.png").is_file()


def test_evaluate_reports_held_out_views_beside_the_baselines(trained, tmp_path, capsys):
    sample, checkpoint = trained
    options = ["--checkpoint", checkpoint, "--data", sample, "--target-views", "4-5", "--json", tmp_path / "out.json"]
    assert call("scripts/evaluate.py", *options) == 0
    summary = json.loads((tmp_path / "out.json").read_text())["summary"]
    assert set(summary["heldout"]) == {"model", "white", "mean_colour", "nearest_input", "visual_hull"}
    text = capsys.readouterr().out
    assert "heldout views, nearest_input" in text
    assert "psnr_fg" in text


def test_the_mask_pictures_are_drawn(trained, tmp_path):
    sample, checkpoint = trained
    config = checkpoint.parents[1] / "config.yaml"
    options = ["--config", config, "--num_samples", 1, "--output_dir", tmp_path]
    assert call("scripts/debug_mask_visualization.py", *options) == 0
    assert len(list(tmp_path.glob("*.png"))) == 1


def misspelled_key(sample: Path) -> list[str]:
    return ["--set", "training.optimizer.learning_rat=1"]


def missing_image(sample: Path) -> None:
    (sample / "images/cam_002.png").unlink()


def truncated_image(sample: Path) -> None:
    path = sample / "images/cam_002.png"
    path.write_bytes(path.read_bytes()[:100])


def edited(change):
    def edit(sample: Path) -> None:
        file = sample / CAMERA_FILE
        content = json.loads(file.read_text())
        change(content["frames"][2])
        file.write_text(json.dumps(content))

    return edit


WRONG_SAMPLES = {
    "missing image": (missing_image, r"cam_002.png: image is missing"),
    "truncated image": (truncated_image, r"cam_002.png: PNG is truncated"),
    "no rotation": (edited(lambda f: f["w2c"][1].__setitem__(1, 7)), "opencv_cameras.json: frame 2 .*not a rotation"),
    "zero focal": (edited(lambda f: f.update(fy=0)), "opencv_cameras.json: frame 2 .*focal length must be positive"),
}


def train_command(tmp_path: Path, data: object, *more: object) -> list[object]:
    (tmp_path / "config.yaml").write_text(json.dumps(CONFIG))
    path = f"training.dataset.dataset_path={data}"
    return ["train_gslrm.py", "--config", tmp_path / "config.yaml", "--run-dir", tmp_path / "run", "--set", path, *more]


def refused(capsys, *command: object) -> str:
    """The one sentence with which a command ends."""
    assert call(*command) == 2
    error = capsys.readouterr().err
    assert "Traceback" not in error
    return next(line for line in error.splitlines() if line.startswith("error: "))


@pytest.mark.parametrize("name", WRONG_SAMPLES)
def test_training_and_inference_refuse_a_broken_sample_by_file(name, trained, sample, tmp_path, capsys):
    import re

    spoil, message = WRONG_SAMPLES[name]
    spoil(sample)
    assert re.search(message, refused(capsys, *train_command(tmp_path, sample)))
    options = ["--checkpoint", trained[1], "--input", sample, "--output", tmp_path / "out"]
    assert re.search(message, refused(capsys, "inference.py", *options))


def test_a_misspelled_key_is_refused_with_a_suggestion(sample, tmp_path, capsys):
    line = refused(capsys, *train_command(tmp_path, sample, "model.transformer.n_layr=2"))
    assert "model.transformer.n_layr: unknown key; did you mean 'n_layer'?" in line


def test_lists_with_foreign_paths_or_nothing_are_refused(tmp_path, capsys):
    lines = tmp_path / "list.txt"
    lines.write_text("/mnt/elsewhere/sample_000\n")
    assert "list.txt, line 1" in refused(capsys, *train_command(tmp_path, lines))
    lines.write_text("")
    assert "list.txt: the list is empty" in refused(capsys, *train_command(tmp_path, lines))


def test_a_checkpoint_of_another_size_is_refused_by_both_shapes(trained, sample, tmp_path, capsys):
    command = train_command(tmp_path, sample, "model.transformer.d=64")
    line = refused(capsys, *command, "--resume", trained[1])
    assert "the model wants" in line


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", None])
def test_checkpoints_that_are_none_are_refused_by_name(content, sample, tmp_path, capsys):
    path = tmp_path / "weights.pt"
    if content is not None:
        path.write_bytes(content)
    line = refused(capsys, "inference.py", "--checkpoint", path, "--input", sample, "--output", tmp_path / "out")
    assert "weights.pt: " in line


def test_published_weights_alone_cannot_pass_for_a_training_checkpoint(sample, tmp_path, capsys):
    torch.save({"model": {"a": torch.zeros(1)}}, tmp_path / "weights.pt")
    options = ["--checkpoint", tmp_path / "weights.pt", "--input", sample, "--output", tmp_path / "out"]
    assert "carries no configuration" in refused(capsys, "inference.py", *options)
