"""LGM on the same rails as GS-LRM: it learns, resumes, adapts, shares a batch, and its checkpoints are used."""

import json
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch
from command_helpers import call
from helpers import ring, write_ball_sample
from process_helpers import launch, shared
from process_helpers import settings as process_settings
from process_helpers import train as train_one
from training_helpers import differences, lines, repeatable, run, settings

from gslrm.config import Config
from gslrm.config_io import config_from_mapping, load_config
from gslrm.data import build_dataset, load_batches
from gslrm.model.lgm_input import canonical_input
from gslrm.model.weights import read_checkpoint_file
from gslrm.training.checkpoint import load_checkpoint

ROOT = Path(__file__).parents[2]
TINY = {
    "family": "lgm",
    "image_tokenizer": {"image_size": 16},
    "lgm": {
        "down_channels": [32, 32],
        "down_attention": [False, True],
        "up_channels": [32, 32],
        "up_attention": [True, False],
        "start": {"anchor": "ray"},
    },
}
PLAIN = TINY | {"lgm": {**TINY["lgm"], "start": {}}}
AUGMENT = {"grid_distortion": 0.5, "camera_jitter": 0.5}


def mapping(samples: Path, *, model: dict = TINY, **training: dict) -> dict:
    return settings(samples, **training) | {"model": model}


def configure(samples: Path, **options: dict) -> Config:
    return config_from_mapping(mapping(samples, **options), source="test")


def curve(folder: Path) -> list[float]:
    return [line["train/loss"] for line in lines(folder) if "train/loss" in line]


@pytest.fixture(scope="module")
def trained(samples, tmp_path_factory) -> Path:
    """The folder of a run of 12 passes."""
    folder = tmp_path_factory.mktemp("trained")
    run(configure(samples, schedule={"max_fwdbwd_passes": 12}, dataset={"augment": AUGMENT}), folder)
    return folder


def test_every_view_of_the_rig_has_rays_of_its_own_and_keeps_them(samples):
    """The users' six-view provider once gave all six views one ray embedding; views have no other mark."""
    config = configure(samples, dataset={"num_input_views": 6, "num_target_views": None})
    dataset = build_dataset(config)
    batches = [canonical_input(batch.input)[0] for batch in load_batches(dataset, config, start=0, stop=2)]
    for maps in batches:
        assert maps.shape[1:3] == (6, 9)
        for first in range(6):
            others = [view for view in range(6) if view != first]
            assert (maps[0, others, 3:] - maps[0, first, 3:]).abs().amax(dim=(1, 2, 3)).min() > 0.1
    axis = batches[0][0, 0, 6:, 7:9, 7:9].mean(dim=(1, 2))
    torch.testing.assert_close(axis, torch.tensor([0.0, 0.0, -1.0]), atol=2e-3, rtol=0)  # the first looks along -z


def test_the_loss_falls(trained):
    losses = curve(trained)
    assert np.mean(losses[-3:]) < 0.8 * np.mean(losses[:3])


@pytest.mark.parametrize("model", [TINY, PLAIN], ids=["started", "plain"])
def test_a_resumed_run_is_the_uninterrupted_run_bit_for_bit(samples, tmp_path, model):
    options = {"model": model, "dataset": {"augment": AUGMENT}, "adapt": {"ema": {"decay": 0.9}}}
    schedule = {"max_fwdbwd_passes": 8, "warmup": 2}
    whole = configure(samples, schedule=schedule, **options)
    run(whole, tmp_path / "whole")
    run(configure(samples, schedule=schedule | {"early_stop_after": 4}, **options), tmp_path / "parts")
    run(whole, tmp_path / "parts")
    one, other = (load_checkpoint(tmp_path / name / "checkpoints/latest") for name in ("whole", "parts"))
    for name in ("model", "optimizer", "averages"):
        assert name not in one or differences(one[name], other[name]) == []
    assert repeatable(tmp_path / "whole") == repeatable(tmp_path / "parts")


def test_the_network_in_bfloat16_gives_positions_in_float32(samples, tmp_path):
    amp = {"use_amp": True, "amp_dtype": "bf16"}
    trainer = run(configure(samples, runtime=amp, schedule={"max_fwdbwd_passes": 2}), tmp_path)
    batch = next(iter(load_batches(trainer.dataset, trainer.config, start=0, stop=1)))
    trainer.model.eval()
    with torch.no_grad(), trainer.runtime.autocast():
        means = trainer.model(batch.input).means
    with torch.no_grad():
        exact = trainer.model(batch.input).means
    assert means.dtype == torch.float32
    assert not torch.equal(means, means.bfloat16().float())
    assert (means - exact).abs().max() < 0.05
    assert all(np.isfinite(line["train/loss"]) for line in lines(tmp_path))


@pytest.mark.parametrize(
    ("adapt", "trained_names"),
    [
        pytest.param({"preset": "decoder_only"}, ("unet.norm_out.", "unet.conv_out.", "conv."), id="heads alone"),
        pytest.param({"preset": "last_layer"}, ("unet.conv_out.", "conv."), id="last layer"),
        pytest.param({"freeze": ["unet.*"]}, ("conv.",), id="by name"),
    ],
)
def test_what_is_frozen_keeps_its_weights_and_the_rest_learns(samples, tmp_path, trained, adapt, trained_names):
    start = trained / "checkpoints/latest"
    config = configure(
        samples, adapt=adapt, schedule={"max_fwdbwd_passes": 2, "warmup": 0}, runtime={"grad_accum_steps": 1}
    )
    train_one(config.model_dump(mode="json"), tmp_path, load=start)
    before, after = (load_checkpoint(path)["model"] for path in (start, tmp_path / "checkpoints/latest"))
    changed = {name for name, value in after.items() if not torch.equal(value, before[name])}
    assert changed
    assert all(name.startswith(trained_names) for name in changed)


def test_lora_adapts_attention_alone_in_a_small_checkpoint_that_evaluation_takes(samples, tmp_path, trained):
    pytest.importorskip("peft")
    adapt = {"lora": {"rank": 2, "alpha": 4}}
    config = configure(samples, adapt=adapt, schedule={"max_fwdbwd_passes": 2, "warmup": 0})
    train_one(config.model_dump(mode="json"), tmp_path, load=trained / "checkpoints/latest")
    path = tmp_path / "checkpoints/latest"
    assert path.stat().st_size < (trained / "checkpoints/latest").stat().st_size / 3
    scores = tmp_path / "scores.json"
    assert call("scripts/evaluate.py", "--checkpoint", path, "--data", samples, "--no-hull", "--json", scores) == 0


def test_evaluation_and_inference_take_its_checkpoints_as_any_other(samples, tmp_path, trained):
    checkpoint, out = trained / "checkpoints/latest", tmp_path / "out"
    scores = tmp_path / "scores.json"
    assert (
        call("scripts/evaluate.py", "--checkpoint", checkpoint, "--data", samples, "--json", scores, "--no-hull") == 0
    )
    content = json.loads(scores.read_text())
    assert content["model"]["family"] == "lgm"
    assert np.isfinite(content["summary"]["heldout"]["model"]["psnr_fg"])
    sample = samples / "sample_000"
    assert call("inference.py", "--checkpoint", checkpoint, "--input", sample, "--output", out, "--no-video") == 0
    assert (out / "sample_000/gaussians.ply").is_file()


@pytest.mark.slow
class TestProcesses:
    """Two processes, by copies of the network and by parts of it, train what one does."""

    KINDS: ClassVar[dict[str, dict]] = {
        "whole": {},
        "frozen": {"adapt": {"preset": "decoder_only"}},
        "adapted": {"adapt": {"lora": {"rank": 2, "alpha": 4}, "ema": {"decay": 0.9}}},
    }

    @pytest.fixture(scope="class")
    def balls(self, tmp_path_factory) -> Path:
        folder = tmp_path_factory.mktemp("balls")
        for number in range(5):  # not a multiple of the batch of 4
            write_ball_sample(folder / f"sample_{number:03d}", ring(6, size=32), radius=22.0 + 3 * number)
        return folder

    @pytest.fixture(scope="class")
    def runs(self, balls, tmp_path_factory) -> Path:
        """Folders "KIND", of one process, and "KIND STRATEGY", of two; layers are recomputed."""
        pytest.importorskip("peft")
        folder, jobs = tmp_path_factory.mktemp("runs"), []
        for kind, adapt in self.KINDS.items():
            config = process_settings(balls, schedule={"max_fwdbwd_passes": 4}, **adapt) | {"model": TINY}
            begin = {} if kind == "whole" else {"load": folder / "whole/checkpoints/latest"}
            train_one(config, folder / kind, **begin)
            for strategy in ("ddp", "fsdp"):
                parts = shared(config, strategy, checkpointing={"sharded": kind == "whole"})
                jobs.append({"config": parts, "folder": folder / f"{kind} {strategy}", **begin})
        launch(jobs, folder)
        return folder

    @pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
    @pytest.mark.parametrize("kind", KINDS)
    def test_losses_and_weights_are_those_of_one(self, runs, kind, strategy):
        alone, together = runs / kind, runs / f"{kind} {strategy}"
        assert len(curve(alone)) == 4
        assert curve(together) == pytest.approx(curve(alone), rel=1e-5)
        contents = [read_checkpoint_file(folder / "checkpoints/latest") for folder in (alone, together)]
        weights = [content["adapter"]["tensors"] if kind == "adapted" else content["model"] for content in contents]
        assert weights[0].keys() == weights[1].keys()
        for name, value in weights[0].items():
            torch.testing.assert_close(weights[1][name], value, rtol=0, atol=2e-5, msg=name)

    @pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
    def test_one_goes_on_from_the_checkpoint_folder_of_two(self, balls, runs, tmp_path, strategy):
        config = process_settings(balls, schedule={"max_fwdbwd_passes": 4}) | {"model": TINY}
        train_one(config, tmp_path, begin=runs / f"whole {strategy}/checkpoints/ckpt_{2:016d}")
        assert len(curve(tmp_path)) == 2
        assert curve(tmp_path) == pytest.approx(curve(runs / "whole")[2:], rel=1e-5)


class TestDoor:
    """scripts/train_lgm_mouse_6view.py"""

    def test_it_is_train_gslrm_with_a_configuration(self, samples, tmp_path):
        own = tmp_path / "own.yaml"
        own.write_text(json.dumps(mapping(samples, schedule={"max_fwdbwd_passes": 1})))
        assert call("scripts/train_lgm_mouse_6view.py", "--config", own, "--run-dir", tmp_path / "run") == 0
        assert (tmp_path / "run/checkpoints/latest").exists()

    def test_without_one_it_takes_that_of_six_views(self, tmp_path, monkeypatch, capsys):
        monkeypatch.chdir(tmp_path)
        small = ["--set", "training.runtime.amp_dtype=fp32", f"training.dataset.dataset_path={tmp_path / 'nothing'}"]
        assert call("scripts/train_lgm_mouse_6view.py", *small) == 2
        assert "nothing" in capsys.readouterr().err
        config = load_config(ROOT / "configs/mouse_lgm_6view.yaml")
        assert (config.model.family, config.training.dataset.num_input_views) == ("lgm", 6)


def test_published_weights_are_given_crops_of_their_own_field_of_view(tmp_path):
    path = write_ball_sample(tmp_path / "sample_000", ring(6, size=64))
    overrides = [f"training.dataset.dataset_path={path}", "training.dataset.min_input_views=6"]
    config = load_config(ROOT / "configs/mouse_lgm_6view.yaml", [*overrides, "training.dataloader.num_workers=0"])
    batch = next(iter(load_batches(build_dataset(config), config, start=0, stop=1)))
    cameras = batch.input.cameras
    angle = 2 * torch.rad2deg(torch.atan(cameras.height / 2 / cameras.focal))
    torch.testing.assert_close(angle, torch.full_like(angle, 49.1), atol=1e-4, rtol=0)
    torch.testing.assert_close(cameras.position.norm(dim=-1).mean(), torch.tensor(1.5), atol=1e-4, rtol=0)
    torch.testing.assert_close(cameras.center, torch.full_like(cameras.center, 128.0))
