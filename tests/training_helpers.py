"""A run that is small enough to be trained in a test."""

import json
from pathlib import Path
from typing import Any

import torch
from helpers import ring, write_ball_sample

from gslrm.config import Config
from gslrm.config_io import config_from_mapping
from gslrm.training.resume import resume
from gslrm.training.trainer import Trainer

ROOT = Path(__file__).parents[1]
VALIDATION = {"enabled": True, "visual_hull": False}  # whose compilation takes longer than these runs


def write_samples(folder: Path) -> Path:
    for number in range(3):
        write_ball_sample(
            folder / f"sample_{number:03d}", ring(6, size=32), radius=26.0 + 3 * number, colour=(90, 60, 40 * number)
        )
    return folder


def settings(samples: Path, validation: dict | None = None, **training: Any) -> dict:
    """Settings as a configuration file holds them; further keywords are sections of `training`."""
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
        "training": training | {key: value | training.get(key, {}) for key, value in defaults.items()},
        "validation": {**VALIDATION, "dataset_path": str(samples)} | validation if validation is not None else {},
        "mouse": {"use_mouse_dataset": True, "normalize_cameras": True, "object_size": 1.2, "crop_footprint": 1.5},
    }


def configure(samples: Path, **sections: Any) -> Config:
    return config_from_mapping(settings(samples, **sections), source="test")


def run(config: Config, folder: Path, choice: str = "auto") -> Trainer:
    folder.mkdir(parents=True, exist_ok=True)
    trainer = Trainer(config, folder)
    resume(trainer, choice)
    trainer.run()
    return trainer


def differences(a: Any, b: Any, place: str = "") -> list[str]:
    """Where two states are not equal bit for bit."""
    if isinstance(a, torch.Tensor) and isinstance(b, torch.Tensor):
        return [] if a.dtype == b.dtype and torch.equal(a, b) else [place]
    if isinstance(a, dict) and isinstance(b, dict) and a.keys() == b.keys():
        return [found for key in a for found in differences(a[key], b[key], f"{place}/{key}")]
    if isinstance(a, list | tuple) and isinstance(b, list | tuple) and len(a) == len(b):
        return [found for index in range(len(a)) for found in differences(a[index], b[index], f"{place}/{index}")]
    return [] if type(a) is type(b) and a == b else [f"{place}: {a!r} is not {b!r}"]


def repeatable(folder: Path) -> list[dict]:
    """The lines of metrics.jsonl without what no two runs share: times and memory."""
    return [{k: v for k, v in x.items() if "time" not in k and "memory" not in k} for x in lines(folder)]


def lines(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
