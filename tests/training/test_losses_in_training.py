"""Loss terms inside a run: all of them at once, and FaceLift's points warm-up from its first pass to its last."""

import json
import math

import pytest
import torch
from helpers import ring, write_ball_sample

from gslrm.config_io import config_from_mapping
from gslrm.errors import UserError
from gslrm.model import utils_losses
from gslrm.training.trainer import Trainer

EVERYTHING = {
    "l2_loss_weight": 1.0,
    "masked_l2_loss": True,
    "background_loss_weight": 0.1,
    "alpha_loss_weight": 0.1,
    "alpha_iou_loss_weight": 0.1,
    "ssim_loss_weight": 0.1,
    "masked_ssim_loss": True,
    "ssim_mask": "windows",
    "depth_loss_weight": 0.1,
    "opacity_loss_weight": 0.01,
    "scale_loss_weight": 0.01,
    "pixelalign_loss_weight": 0.1,
    "pointsdist_loss_weight": 0.1,
    "starts": {"depth_loss": 2},
    "ramps": {"ssim_loss": 3},
}


def trainer(folder, losses: dict, **model: object) -> Trainer:
    write_ball_sample(folder / "samples/sample", ring(4, size=32))
    mapping = {
        "model": {
            "image_tokenizer": {"image_size": 16, "patch_size": 8},
            "transformer": {"d": 32, "d_head": 16, "n_layer": 1},
            "gaussians": {"scale_bias": -3.0, "opacity_bias": 0.0},
            "init_std": None,
        }
        | model,
        "training": {
            "runtime": {"use_amp": True, "amp_dtype": "bf16", "device": "cpu", "grad_checkpoint_every": 0},
            "dataset": {"dataset_path": str(folder / "samples"), "num_views": 4, "num_input_views": 3},
            "dataloader": {"num_workers": 0},
            "losses": losses,
            "schedule": {"max_fwdbwd_passes": 4, "warmup": 1},
            "logging": {"wandb": {"mode": "disabled", "log_every": 1}},
        },
        "mouse": {"use_mouse_dataset": True, "normalize_cameras": True, "object_size": 1.2, "crop_footprint": 1.5},
    }
    return Trainer(config_from_mapping(mapping, source="test"), folder / "run")


def lines(folder) -> list[dict]:
    return [json.loads(line) for line in (folder / "run/metrics.jsonl").read_text().splitlines()]


def test_all_terms_at_once_are_finite_and_change_the_weights(tmp_path):
    (tmp_path / "run").mkdir()
    run = trainer(tmp_path, EVERYTHING, hard_pixelalign=False)
    before = [parameter.detach().clone() for parameter in run.model.parameters()]
    run.run()
    names = {f"train/{key.removesuffix('_weight')}" for key in EVERYTHING if key.endswith("_weight")}
    logged = lines(tmp_path)
    assert names <= set(logged[-1])
    assert "train/depth_loss" not in logged[1]
    assert all(math.isfinite(line[name]) for line in logged for name in names & set(line))
    assert run.position.updates == 4
    assert any(not torch.equal(a, b) for a, b in zip(before, run.model.parameters(), strict=True))


def test_the_points_warm_up_replaces_l2_and_clipping_for_its_passes(tmp_path, monkeypatch):
    monkeypatch.setattr(utils_losses, "POINTSDIST_WARMUP", 2)
    (tmp_path / "run").mkdir()
    run = trainer(tmp_path, {"warmup_pointsdist": True}, clip_xyz=True)
    clipped = []
    step = run.model.decode
    monkeypatch.setattr(run.model, "decode", lambda *args: clipped.append(run.model.config.clip_xyz) or step(*args))
    run.run()
    terms = [{name for name in run.losses.terms if f"train/{name}" in line} for line in lines(tmp_path)]
    assert terms == 2 * [{"pointsdist_loss"}] + 2 * [{"l2_loss"}]
    assert clipped == [False, False, True, True]


def test_a_term_that_is_dead_stops_the_run_in_its_first_pass(tmp_path):
    run = trainer(tmp_path, {"alpha_loss_weight": 1.0, "starts": {"alpha_loss": 1}})
    silhouette = run.losses.terms["alpha_loss"]
    run.losses.terms["alpha_loss"] = utils_losses.Term(lambda c: 0 * c.alpha.sum(), silhouette.weight, silhouette.start)
    (tmp_path / "run").mkdir()
    with pytest.raises(UserError, match="alpha_loss is exactly 0 where it begins"):
        run.run()
    assert run.position.passes == 1
