"""Small runs that fine-tune, and what they begin with."""

from pathlib import Path
from typing import Any

import torch
from training_helpers import settings

from gslrm.config import Config
from gslrm.config_io import config_from_mapping
from gslrm.model.weights import read_state_dict
from gslrm.training.resume import resume
from gslrm.training.trainer import Trainer

LORA = {"lora": {"rank": 4, "alpha": 8.0}}
EMA = {"ema": {"decay": 0.9}}
HEAD = {"train": ["pixel_gaussian_decoder.*"]}


def configure(samples: Path, adapt: dict, validation: dict | None = None, **training: Any) -> Config:
    mapping = settings(samples, validation, adapt=adapt, **{"dataset": {"num_views": 5}} | training)
    mapping["model"]["transformer"]["n_layer"] = 3
    return config_from_mapping(mapping, source="test")


def begin(config: Config, folder: Path, load: Path | None = None) -> Trainer:
    folder.mkdir(parents=True, exist_ok=True)
    trainer = Trainer(config, folder)
    resume(trainer, "auto", load=load)
    return trainer


def run(config: Config, folder: Path, load: Path | None = None) -> Trainer:
    trainer = begin(config, folder, load)
    trainer.run()
    return trainer


def newest(folder: Path) -> Path:
    return folder / "checkpoints/latest"


def core(path: Path) -> dict[str, torch.Tensor]:
    return {key: value for key, value in read_state_dict(path).items() if not key.startswith("loss_calculator.")}


def assert_same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> None:
    assert first.keys() == second.keys()
    for name, value in first.items():
        assert torch.equal(value, second[name]), name
