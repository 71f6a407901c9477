"""A run learns, stops and goes on as if it had not stopped, and survives being killed."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from helpers import ring, write_ball_sample

from gslrm.config import Config
from gslrm.config_io import config_from_mapping, load_config
from gslrm.errors import UserError
from gslrm.training.checkpoint import CheckpointFolder
from gslrm.training.resume import resume
from gslrm.training.trainer import Trainer

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def samples(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("samples")
    for number in range(3):
        write_ball_sample(
            folder / f"sample_{number:03d}", ring(6, size=32), radius=26.0 + 3 * number, colour=(90, 60, 40 * number)
        )
    return folder


def settings(samples: Path, **training: object) -> dict:
    defaults = {
        "runtime": {"use_amp": False, "grad_checkpoint_every": 0, "device": "cpu", "grad_accum_steps": 2},
        "dataset": {"dataset_path": str(samples), "num_views": 6, "num_input_views": 4, "num_target_views": 2},
        "dataloader": {"num_workers": 0},
        "losses": {"alpha_loss_weight": 0.3},
        "optimizer": {"lr": 2e-3},
        "schedule": {"max_fwdbwd_passes": 8, "warmup": 2},
        "checkpointing": {"checkpoint_every": 4},
        "logging": {"vis_every": 1000, "wandb": {"mode": "disabled", "log_every": 1}},
    }
    return {
        "model": {
            "image_tokenizer": {"image_size": 16, "patch_size": 8},
            "transformer": {"d": 32, "d_head": 16, "n_layer": 1},
            "gaussians": {"scale_bias": -3.0, "opacity_bias": 0.0},
            "init_std": None,
        },
        "training": {key: value | training.get(key, {}) for key, value in defaults.items()},
        "mouse": {"use_mouse_dataset": True, "normalize_cameras": True, "object_size": 1.2, "crop_footprint": 1.5},
    }


def configure(samples: Path, **training: object) -> Config:
    return config_from_mapping(settings(samples, **training), source="test")


def run(config: Config, folder: Path, choice: str = "auto") -> Trainer:
    folder.mkdir(parents=True, exist_ok=True)
    trainer = Trainer(config, folder)
    resume(trainer, choice)
    trainer.run()
    return trainer


def lines(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


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

    def repeatable(folder: Path) -> list[dict]:
        return [{k: v for k, v in x.items() if "time" not in k and "memory" not in k} for x in lines(folder)]

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


def test_a_corrupt_newest_checkpoint_is_named_and_the_one_before_is_used(samples, tmp_path, caplog):
    run(configure(samples), tmp_path)
    newest = tmp_path / "checkpoints/ckpt_0000000000000008.pt"
    newest.write_bytes(newest.read_bytes()[:1000])
    trainer = Trainer(configure(samples), tmp_path)
    resume(trainer, "auto")
    assert trainer.position.passes == 4
    assert "ckpt_0000000000000008.pt" in caplog.text
    for path in (tmp_path / "checkpoints").glob("ckpt_*.pt"):
        path.write_bytes(b"")
    with pytest.raises(UserError, match="none of its 2 checkpoints can be read"):
        resume(Trainer(configure(samples), tmp_path), "auto")


def test_a_failed_save_leaves_the_previous_checkpoint_and_no_debris(tmp_path):
    folder = CheckpointFolder(tmp_path, keep_last=2)
    folder.save({"a": torch.ones(3)}, step=1)
    with pytest.raises(AttributeError):  # a local function cannot be pickled
        folder.save({"a": torch.ones(3), "b": lambda: None}, step=2)
    assert [path.name for path in folder.steps()] == ["ckpt_0000000000000001.pt"]
    assert (tmp_path / "latest").resolve() == folder.steps()[0].resolve()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ckpt_0000000000000001.pt", "latest"]


def test_old_checkpoints_are_removed_only_beyond_the_number_kept(tmp_path):
    folder = CheckpointFolder(tmp_path, keep_last=2)
    for step in (1, 2, 3):
        folder.save({"a": torch.ones(1)}, step=step)
    assert [path.name[-4:-3] for path in folder.steps()] == ["2", "3"]
    assert (tmp_path / "latest").resolve().name == "ckpt_0000000000000003.pt"


SAVE_FOREVER = """
import sys, torch
from pathlib import Path
from gslrm.training.checkpoint import CheckpointFolder
folder = CheckpointFolder(Path(sys.argv[1]), keep_last=2)
step = 0
while True:
    step += 1
    folder.save({"step": step, "weights": torch.full((2_000_000,), float(step))}, step=step)
"""


def test_kill_9_during_a_save_loses_nothing(tmp_path):
    for attempt in range(4):
        target = tmp_path / str(attempt)
        process = subprocess.Popen([sys.executable, "-c", SAVE_FOREVER, str(target)], cwd=ROOT)
        deadline = time.monotonic() + 180  # the import alone takes long on a busy machine
        while not (target / "latest").exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(0.03 + 0.017 * attempt)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        folder = CheckpointFolder(target, keep_last=2)
        assert folder.steps()
        for path in folder.steps():  # not only the newest: every listed checkpoint is whole
            content = torch.load(path, weights_only=True)
            assert (content["weights"] == content["step"]).all()
        assert (target / "latest").resolve() in [path.resolve() for path in folder.steps()]
        folder.save({"step": 10**6}, step=10**6)
        assert not list(target.glob(".*.tmp"))


def newest_step(folder: Path) -> int:
    """The pass of the checkpoint that `latest` names; 0 before the first."""
    latest = folder / "checkpoints/latest"
    return int(latest.readlink().stem.removeprefix("ckpt_")) if latest.is_symlink() else 0


@pytest.mark.slow
def test_a_run_killed_again_and_again_ends_as_the_uninterrupted_run(samples, tmp_path):
    config = settings(samples, schedule={"max_fwdbwd_passes": 300}, checkpointing={"checkpoint_every": 2})
    (tmp_path / "c.yaml").write_text(json.dumps(config))
    command = [sys.executable, str(ROOT / "train_gslrm.py"), "--config", str(tmp_path / "c.yaml"), "--run-dir"]
    subprocess.run([*command, str(tmp_path / "whole")], cwd=ROOT, check=True)
    killed = tmp_path / "killed"
    for goal in (20, 60, 110, 170):
        process = subprocess.Popen([*command, str(killed)], cwd=ROOT)
        while newest_step(killed) < goal:
            assert process.poll() is None
            time.sleep(0.001)
        process.kill()
        process.wait()
    subprocess.run([*command, str(killed)], cwd=ROOT, check=True)
    ends = [torch.load(folder / "checkpoints/latest", weights_only=True) for folder in (tmp_path / "whole", killed)]
    assert ends[1]["fwdbwd_pass_step"] == 300
    for key, value in ends[0]["model"].items():
        assert torch.equal(value, ends[1]["model"][key])


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
    assert (foreign.boundary.schedule_start, own.boundary.schedule_start) == (2, 0)


def test_a_full_disk_ends_the_save_with_a_sentence(tmp_path, monkeypatch):
    folder = CheckpointFolder(tmp_path, keep_last=2)
    folder.save({"a": torch.ones(3)}, step=1)

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("gslrm.training.checkpoint.os.fsync", full)
    with pytest.raises(UserError, match=r"pass 2 .No space left on device.; earlier ones are intact"):
        folder.save({"a": torch.ones(3)}, step=2)
    assert [path.name for path in folder.steps()] == ["ckpt_0000000000000001.pt"]


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
