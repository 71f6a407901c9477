"""A run learns, stops and goes on as if it had not stopped."""

import json
import subprocess
import sys

import pytest
import torch
from training_helpers import ROOT, configure, lines, repeatable, run, settings

from gslrm.config import Config
from gslrm.config_io import config_from_mapping, load_config
from gslrm.errors import UserError
from gslrm.training.resume import resume
from gslrm.training.trainer import Trainer


@pytest.mark.parametrize(
    ("runtime", "model"),
    [({}, {}), ({"use_amp": True, "amp_dtype": "bf16"}, {"drop_background": True, "depth_anchor": "hull"})],
    ids=["float32", "bfloat16 from the hull"],
)
def test_a_run_stopped_and_resumed_is_the_uninterrupted_run_bit_for_bit(samples, tmp_path, runtime, model):
    """Across an epoch boundary (3 samples), with accumulation, and with workers in one of the runs."""

    def config(**training: object) -> Config:
        mapping = settings(samples, runtime=runtime, **training)
        return config_from_mapping(mapping | {"model": mapping["model"] | model}, source="test")

    whole = run(config(), tmp_path / "whole")
    run(config(schedule={"max_fwdbwd_passes": 8, "early_stop_after": 4}), tmp_path / "parts")
    parts = run(config(dataloader={"num_workers": 1}), tmp_path / "parts")
    assert whole.position == parts.position
    assert whole.position.updates == 4
    for a, b in zip(whole.model.parameters(), parts.model.parameters(), strict=True):
        assert torch.equal(a, b)
    for a, b in zip(whole.update.optimizer.state.values(), parts.update.optimizer.state.values(), strict=True):
        assert torch.equal(a["exp_avg_sq"], b["exp_avg_sq"])

    assert repeatable(tmp_path / "whole") == repeatable(tmp_path / "parts")


def test_accumulated_passes_are_one_pass_of_a_larger_batch(samples, tmp_path):
    norms = []
    for accumulate, batch in ((2, 1), (1, 2)):
        passes = {"max_fwdbwd_passes": accumulate, "warmup": 0}
        config = configure(
            samples,
            runtime={"grad_accum_steps": accumulate},
            dataloader={"batch_size_per_gpu": batch},
            schedule=passes,
        )
        run(config, tmp_path / str(batch))
        norms.append(lines(tmp_path / str(batch))[-1]["train/grad_norm"])
    assert norms[0] == pytest.approx(norms[1], rel=1e-4)


def test_a_small_run_learns(samples, tmp_path):
    folder = tmp_path / "run"
    run(configure(samples, schedule={"max_fwdbwd_passes": 120, "warmup": 10}), folder)
    losses = [line["train/loss"] for line in lines(folder)]
    assert sum(losses[-6:]) < 0.7 * sum(losses[:6])


def test_validation_scores_given_and_held_out_cameras_beside_the_baselines(samples, tmp_path):
    mapping = settings(samples) | {"validation": {"enabled": True, "dataset_path": str(samples), "val_every": 8}}
    run(config_from_mapping(mapping, source="test"), tmp_path / "run")
    logged = {name for line in lines(tmp_path / "run") for name in line}
    for name in ("psnr", "psnr_fg", "ssim", "mask_iou", "white_psnr_fg", "nearest_input_psnr_fg"):
        assert {f"val/{name}", f"val_heldout/{name}"} <= logged
    assert list((tmp_path / "run/pictures").glob("val_gt_vs_pred_*.png"))


def test_resume_none_in_a_used_folder_is_refused(samples, tmp_path):
    config = configure(samples)
    run(config, tmp_path)
    with pytest.raises(UserError, match="--resume none would ignore; choose another --run-dir"):
        resume(Trainer(config, tmp_path), "none")


def test_load_takes_weights_only_and_never_loses_to_checkpoints_that_lie_about(samples, tmp_path):
    first = run(configure(samples), tmp_path / "first")
    newest = tmp_path / "first/checkpoints/latest"
    second = Trainer(configure(samples), tmp_path / "second")
    resume(second, "auto", load=newest)
    assert second.position.passes == 0
    assert not second.update.optimizer.state
    for a, b in zip(first.model.parameters(), second.model.parameters(), strict=True):
        assert torch.equal(a, b)
    with pytest.raises(UserError, match="--load .* would ignore"):
        resume(Trainer(configure(samples), tmp_path / "first"), "auto", load=newest)
    with pytest.raises(UserError, match="exclude each other"):
        resume(Trainer(configure(samples), tmp_path / "third"), str(newest), load=newest)


def test_reset_lr_begins_a_new_schedule_on_another_runs_checkpoint_but_not_on_its_own(samples, tmp_path):
    run(configure(samples), tmp_path / "first")
    checkpoint = str(tmp_path / "first/checkpoints/ckpt_0000000000000004.pt")
    config = configure(samples, optimizer={"reset_lr": True})
    foreign, own = Trainer(config, tmp_path / "second"), Trainer(config, tmp_path / "first")
    resume(foreign, checkpoint)
    resume(own, "auto")
    assert (foreign.course.boundary.schedule_start, own.course.boundary.schedule_start) == (2, 0)


def test_resuming_another_architecture_is_refused(samples, tmp_path):
    run(configure(samples), tmp_path)
    mapping = settings(samples)
    mapping["model"]["transformer"]["d"] = 64
    with pytest.raises(UserError, match="the model wants"):
        resume(Trainer(config_from_mapping(mapping, source="test"), tmp_path), "auto")


def test_updates_skipped_again_and_again_stop_the_run_with_the_samples_named(samples, tmp_path):
    config = configure(samples, runtime={"allowed_gradnorm_factor": 1e-9, "max_skipped_updates": 2})
    with pytest.raises(UserError, match=r"2 updates in a row were skipped .*samples sample_00"):
        run(config, tmp_path)


def test_the_command_trains_and_leaves_a_run_folder_that_loads(samples, tmp_path):
    (tmp_path / "c.yaml").write_text(json.dumps(settings(samples)))
    command = [sys.executable, str(ROOT / "train_gslrm.py"), "--config", str(tmp_path / "c.yaml")]
    done = subprocess.run(
        [*command, "--run-dir", str(tmp_path / "run"), "--set", "training.schedule.max_fwdbwd_passes=2"],
        capture_output=True, text=True, cwd=ROOT, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    config = load_config(tmp_path / "run/config.yaml")
    assert config.training.schedule.max_fwdbwd_passes == 2
    assert (tmp_path / "run/environment.json").is_file()
    assert (tmp_path / "run/checkpoints/latest").resolve().name == "ckpt_0000000000000002.pt"
