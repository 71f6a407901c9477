"""Figures and pictures arrive in files, with wandb offline or off, and change nothing."""

import importlib.util
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import ring, write_ball_sample

from gslrm.config import Config, LoggingConfig
from gslrm.config_io import config_from_mapping
from gslrm.errors import UserError
from gslrm.training import log
from gslrm.training.log import RunLog, read_metrics, wandb_mode
from gslrm.training.trainer import Trainer

TRAIN_KEYS = {
    *("loss", "l2_loss", "ssim_loss", "background_loss", "mask_iou", "lr", "grad_norm", "step_time", "memory_host_gib"),
    *("skipped_updates", "skipped_total", "samples"),
    *(f"time_{part}" for part in ("data", "forward", "render", "loss", "backward", "update")),
}
VAL_KEYS = {"psnr", "psnr_fg", "ssim", "mask_iou"}


def config(mode: str, **logging: object) -> Config:
    mapping = {"training": {"logging": {"wandb": {"mode": mode}, **logging}}}
    return config_from_mapping(mapping, source="test")


def lines(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("mode", ["offline", "disabled"])
def test_a_log_is_written_closed_and_continued(tmp_path, mode):
    for done in (0, 2):
        with RunLog(tmp_path, config(mode), done=done, wandb_id="abcd1234") as run:
            for step in (1, 2, 3):
                run.scalars(step + done, {"train/loss": 1.0 / step}, ["sample_000", "späte <b>"])
            path = run.picture(3 + done, "val/gt_vs_pred", np.zeros((8, 8, 3), np.uint8))
        assert path.is_file()
    assert [line["step"] for line in lines(tmp_path)] == [1, 2, 3, 4, 5]  # after pass 2 all is computed again
    assert lines(tmp_path)[0]["train/samples"] == ["sample_000", "späte <b>"]
    assert (tmp_path / "wandb").exists() == (mode == "offline")


@pytest.mark.parametrize("torn", [b'{"step": 2, "train/lo', b'{"step": 2, "name": "\xc3', b"\0\0\0", b"7"])
def test_a_line_cut_short_by_a_kill_is_dropped(tmp_path, torn):
    (tmp_path / "metrics.jsonl").write_bytes(b'{"step": 1, "train/loss": 0.5}\n' + torn)
    assert read_metrics(tmp_path / "metrics.jsonl") == ([{"step": 1, "train/loss": 0.5}], 1)
    with RunLog(tmp_path, config("disabled"), done=2, wandb_id="abcd1234") as run:
        run.scalars(3, {"train/loss": float("nan")})
    assert (tmp_path / "metrics.jsonl").read_text().endswith('{"step": 3, "train/loss": null}\n')
    assert [line["step"] for line in lines(tmp_path)] == [1, 3]


@pytest.mark.parametrize(
    ("mode", "login", "expected"),
    [
        ("auto", True, "online"),
        ("auto", False, "offline"),
        ("online", False, "offline"),
        ("disabled", True, "disabled"),
    ],
)
def test_without_a_login_runs_are_kept_offline(monkeypatch, mode, login, expected):
    monkeypatch.setattr(log, "has_wandb_login", lambda: login)
    assert wandb_mode(LoggingConfig.model_validate({"wandb": {"mode": mode}})) == expected


def test_tensorboard_that_is_not_installed_is_named_with_the_install_line(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    monkeypatch.delitem(sys.modules, "torch.utils.tensorboard", raising=False)
    with pytest.raises(UserError, match=r"training.logging.tensorboard.*pip install tensorboard"):
        RunLog(tmp_path, config("disabled", tensorboard=True), done=0, wandb_id="abcd1234")


@pytest.mark.skipif(importlib.util.find_spec("tensorboard") is None, reason="tensorboard is not installed")
def test_tensorboard_gets_the_same_figures_and_pictures(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    with RunLog(tmp_path, config("disabled", tensorboard=True), done=0, wandb_id="abcd1234") as run:
        run.scalars(1, {"train/loss": 0.5}, ["sample_000"])
        run.picture(1, "val/gt_vs_pred", np.zeros((8, 8, 3), np.uint8))
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert [(event.step, event.value) for event in events.Scalars("train/loss")] == [(1, 0.5)]
    assert [event.step for event in events.Images("val/gt_vs_pred")] == [1]


@pytest.fixture(scope="module")
def samples(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("samples")
    for number in range(2):
        write_ball_sample(folder / f"sample_{number:03d}", ring(6, size=32), colour=(90, 60, 40 * number))
    return folder


def trained(samples: Path, folder: Path, logging: dict, validation: dict, **runtime: object) -> Trainer:
    mapping = {
        "model": {
            "image_tokenizer": {"image_size": 16, "patch_size": 8},
            "transformer": {"d": 32, "d_head": 16, "n_layer": 1},
            "gaussians": {"scale_bias": -3.0, "opacity_bias": 0.0},
        },
        "training": {
            "runtime": {"use_amp": False, "device": "cpu", **runtime},
            "dataset": {"dataset_path": str(samples), "num_views": 6, "num_input_views": 4, "num_target_views": 2},
            "dataloader": {"num_workers": 0},
            "losses": {"masked_l2_loss": True, "background_loss_weight": 0.1, "ssim_loss_weight": 0.1},
            "optimizer": {"lr": 2e-3},
            "schedule": {"max_fwdbwd_passes": 4, "warmup": 2},
            "logging": logging,
        },
        "validation": validation,
        "mouse": {"use_mouse_dataset": True, "normalize_cameras": True, "object_size": 1.2, "crop_footprint": 1.5},
    }
    folder.mkdir()
    trainer = Trainer(config_from_mapping(mapping, source="test"), folder)
    trainer.run()
    return trainer


def test_all_the_logging_there_is_changes_no_bit_of_the_result(samples, tmp_path):
    quiet = trained(samples, tmp_path / "quiet", {"vis_every": 99, "wandb": {"mode": "disabled", "log_every": 99}}, {})
    loud = trained(
        samples,
        tmp_path / "loud",
        {"vis_every": 1, "wandb": {"mode": "offline", "log_every": 1}},
        {"enabled": True, "dataset_path": str(samples), "val_every": 2, "max_samples": 1},
    )
    for a, b in zip(quiet.model.parameters(), loud.model.parameters(), strict=True):
        assert torch.equal(a, b)
    assert len(lines(tmp_path / "loud")) == 6 and len(lines(tmp_path / "quiet")) == 2
    assert list((tmp_path / "loud/pictures").glob("train_depth_alpha_*.png"))

    first, _, scored = lines(tmp_path / "loud")[:3]
    assert {f"train/{key}" for key in TRAIN_KEYS} <= set(first)
    assert {f"{views}/{key}" for views in ("val", "val_heldout") for key in VAL_KEYS} <= set(scored)


def test_the_time_split_sums_to_the_pass_and_every_pass_is_within_the_run(samples, tmp_path):
    trained(samples, tmp_path / "run", {"wandb": {"mode": "disabled", "log_every": 1}}, {})
    for line in lines(tmp_path / "run"):
        parts = [value for name, value in line.items() if name.startswith("train/time_")]
        assert len(parts) == 6 and min(parts) > 0
        assert sum(parts) == pytest.approx(line["train/step_time"], rel=0.05, abs=2e-3)


def test_every_skipped_update_has_a_line_that_names_its_samples(samples, tmp_path):
    folder = tmp_path / "run"
    with pytest.raises(UserError, match="3 updates in a row were skipped"):
        trained(
            samples,
            folder,
            {"wandb": {"mode": "disabled", "log_every": 99}},
            {},
            allowed_gradnorm_factor=1e-9,
            max_skipped_updates=3,
        )
    skips = [line for line in lines(folder) if line["train/skipped_updates"]]
    assert [line["train/skipped_total"] for line in skips] == [1, 2, 3]  # the third ends the run
    assert all(line["train/samples"][0].startswith("sample_00") for line in skips)
