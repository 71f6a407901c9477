"""Checkpoints of random weights, balls to reconstruct, and what a run leaves on disk."""

import hashlib
from pathlib import Path
from typing import Any

import torch
from evaluation_helpers import CENTER, SETTINGS, reconstructor
from helpers import ring, write_ball_sample

from gslrm.config_io import config_from_mapping
from gslrm.inference import OutputFolder, Pace, Summary, Task, describe_settings, reconstruct_samples
from gslrm.model import build_model
from gslrm.reconstruct import Reconstructor, build_reconstructor

INFERENCE = {"inference": {"turntable_frames": 4, "turntable_size": 24}}
PUBLISHED = {  # FaceLift's network, small
    "image_tokenizer": {"image_size": 16},
    "transformer": {"d": 64, "n_layer": 2},
    "init_std": 0.1,
}
HULL = {
    "model": {
        "image_tokenizer": {"image_size": 16, "patch_size": 8},
        "transformer": {"d": 32, "d_head": 16, "n_layer": 1},
        "gaussians": {"opacity_bias": 0.8},
        "drop_background": True,
        "depth_anchor": "corrected_hull",
        "init_std": 0.1,
    }
}


def hull_reconstructor() -> Reconstructor:
    """A network whose scenes differ in their number of Gaussians."""
    torch.manual_seed(0)
    config = config_from_mapping(reconstructor().config.model_dump(mode="json") | HULL, source="test")
    return build_reconstructor(build_model(config.model), config)


def write_checkpoint(path: Path, *, seed: int = 0, **sections: Any) -> Path:
    """Random weights with their configuration."""
    torch.manual_seed(seed)
    config = config_from_mapping(SETTINGS | INFERENCE | sections, source="test")
    torch.save({"model": build_model(config.model).state_dict(), "config": config.model_dump(mode="json")}, path)
    return path


def write_published(path: Path, **model: Any) -> Path:
    """Random weights as FaceLift publishes them: names and tensors alone, with the VGG of its loss."""
    torch.manual_seed(0)
    config = config_from_mapping({"model": PUBLISHED | model}, source="test")
    weights = build_model(config.model).state_dict()
    weights["loss_calculator.perceptual_loss_module.net.conv1.weight"] = torch.zeros(64, 3, 3, 3)
    torch.save({"model": weights}, path)
    return path


def write_lgm(path: Path) -> Path:
    """Random weights under LGM's names, of small widths."""
    torch.manual_seed(0)
    levels = {"down_channels": [32, 64, 96], "up_channels": [96, 64]}
    attention = {"down_attention": [False, False, True], "up_attention": [True, False]}
    settings = {"family": "lgm", "image_tokenizer": {"image_size": 32}, "lgm": levels | attention}
    torch.save(build_model(config_from_mapping({"model": settings}, source="test").model).state_dict(), path)
    return path


def write_balls(folder: Path, count: int, *, views: int = 6) -> list[Path]:
    """Samples of balls of different sizes and colours."""
    return [
        write_ball_sample(
            folder / f"frame_{number:03d}",
            ring(views, size=32),
            center=tuple(CENTER.tolist()),
            radius=24.0 + 3 * number,
            colour=(90, 40 * number, 40),
        )
        for number in range(count)
    ]


def reconstruct_all(
    reconstructor: Reconstructor,
    samples: list[Path],
    root: Path,
    *,
    task: Task | None = None,
    pace: Pace | None = None,
    redo: bool = False,
) -> Summary:
    """A run, or the rest of one."""
    task = task or Task(render_views=(0, 5), video=False)
    output = OutputFolder(root)
    output.require_writable()
    settings = describe_settings(reconstructor, task)
    remaining = output.open(settings, samples, redo=redo)
    return reconstruct_samples(
        reconstructor, remaining, output, settings=settings, task=task, pace=pace or Pace(batch=1, workers=2)
    )


def contents(root: Path) -> dict[str, str]:
    """A digest of every file by its path in the folder."""
    files = [path for path in sorted(root.rglob("*")) if path.is_file()]
    return {path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
