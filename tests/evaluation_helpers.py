"""Painted balls, a tiny reconstructor, and a scorer that shares no code with the package."""

import json
import math
from pathlib import Path

import numpy as np
import skimage.metrics
import torch
from helpers import ring, write_ball_sample
from PIL import Image

from gslrm.cameras import Cameras
from gslrm.config_io import config_from_mapping
from gslrm.data.sample import Sample, read_sample
from gslrm.model import build_model
from gslrm.reconstruct import Reconstructor, build_reconstructor
from gslrm.types import Views

CENTER = torch.tensor([48.0, 52.0, 45.0], dtype=torch.float64)
RADIUS = 30.0
SETTINGS = {
    "model": {
        "image_tokenizer": {"image_size": 16, "patch_size": 8},
        "transformer": {"d": 32, "d_head": 16, "n_layer": 1},
        "gaussians": {"scale_bias": -3.0},
        "init_std": 0.1,
    },
    "training": {"runtime": {"device": "cpu", "use_amp": False}, "dataset": {"num_views": 6, "num_input_views": 4}},
    "mouse": {"normalize_cameras": True, "object_size": 1.2, "crop_footprint": 1.5},
}


def reconstructor() -> Reconstructor:
    torch.manual_seed(0)
    config = config_from_mapping(SETTINGS, source="test")
    return build_reconstructor(build_model(config.model), config)


def ball_sample(directory: Path, views: int = 6, size: int = 48, **options: object) -> Sample:
    return read_sample(write_ball_sample(directory, ring(views, size=size), center=tuple(CENTER.tolist()), **options))


def ball_depth(camera: Cameras, center: torch.Tensor = CENTER, radius: float = RADIUS) -> torch.Tensor:
    """z along the axis of the ball's near side at pixel centres [H, W], 0 beside it."""
    origin, direction = camera.rays()
    offset = center - origin
    along = (offset * direction).sum(-1)
    height = radius**2 - (offset.square().sum(-1) - along.square())
    distance = along - height.clamp_min(0).sqrt()
    axis = camera.world_from_camera[:3, 2]
    return torch.where(height > 0, distance * (direction @ axis), torch.zeros_like(distance))


def ball_view(camera: Cameras) -> Views:
    """A ball painted by position: red grows along x, green along y, blue along z."""
    depth = ball_depth(camera)
    offset = (camera.pixel_grid() - camera.center) / camera.focal
    along = torch.cat([offset, torch.ones_like(offset[..., :1])], dim=-1) @ camera.world_from_camera[:3, :3].mT
    surface = camera.position + depth[..., None] * along
    colour = 0.5 + 0.4 * (surface - CENTER) / RADIUS
    inside = (depth > 0)[..., None]
    image = torch.where(inside, colour, torch.ones_like(colour)).float().permute(2, 0, 1)
    return Views(image[None], inside.float().permute(2, 0, 1)[None], camera[None])


def write_ball_depth(sample: Sample, scale: float | None = None) -> None:
    """`depth/` of a ball's sample; with `scale`, scale.json says it."""
    folder = sample.directory / "depth"
    folder.mkdir()
    for view in sample.views:
        values = (ball_depth(view.camera) * (scale or 100)).round().numpy().astype(np.uint16)
        Image.fromarray(values).save(folder / view.image_path.name)
    if scale:
        (folder / "scale.json").write_text(json.dumps({"depth_scale": scale}))


def independent_scores(
    image_path: Path, mask_path: Path | None, rgb: np.ndarray, alpha: np.ndarray
) -> dict[str, float]:
    """Scores of a rendering [h, w, 3] and [h, w] against stored files, in numpy and scikit-image alone."""
    stored = np.asarray(Image.open(image_path)).astype(np.float64) / 255
    if stored.shape[2] == 4:
        coverage = stored[..., 3]
        truth = stored[..., :3] * coverage[..., None] + 1 - coverage[..., None]
    else:
        coverage, truth = np.asarray(Image.open(mask_path)).astype(np.float64) / 255, stored
    rgb, inside, shown = np.clip(rgb.astype(np.float64), 0, 1), coverage > 0.5, alpha > 0.5
    rows, columns = np.flatnonzero(inside.any(axis=1)), np.flatnonzero(inside.any(axis=0))
    crop = tuple(_grown(line[0], line[-1] + 1, size) for line, size in zip((rows, columns), inside.shape, strict=True))
    both, coloured = (inside & shown).sum(), np.abs(rgb - 1).mean(axis=2) > 0.1
    return {
        "psnr": _decibels(((rgb - truth) ** 2).mean()),
        "psnr_fg": _decibels(((rgb - truth)[inside] ** 2).mean()),
        "psnr_crop": _decibels(((rgb - truth)[crop] ** 2).mean()),
        "ssim": _ssim(rgb, truth),
        "ssim_crop": _ssim(rgb[crop], truth[crop]),
        "mask_iou": both / (inside | shown).sum(),
        "mask_precision": both / max(1, shown.sum()),
        "mask_recall": both / inside.sum(),
        "mask_iou_colour": (inside & coloured).sum() / (inside | coloured).sum(),
    }


def _grown(first: int, stop: int, size: int) -> slice:
    margin = max(round(0.05 * (stop - first)), math.ceil((11 - (stop - first)) / 2))
    start = max(0, min(first - margin, size - 11))
    return slice(start, min(size, max(stop + margin, 11)))


def _decibels(error: float) -> float:
    return 100.0 if error < 1e-10 else -10 * math.log10(error)


def _ssim(image: np.ndarray, truth: np.ndarray) -> float:
    options = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 1.0}
    return float(skimage.metrics.structural_similarity(image, truth, channel_axis=2, **options))
