"""Small networks and random views that several tests share."""

from dataclasses import replace

import torch
from helpers import random_cameras, ring

from gslrm.config import ModelConfig
from gslrm.model import build_model
from gslrm.types import Views


def small_model(**changes: object) -> torch.nn.Module:
    torch.manual_seed(0)
    settings = {
        "image_tokenizer": {"image_size": 16, "patch_size": 8},
        "transformer": {"d": 32, "d_head": 16, "n_layer": 2},
        "init_std": 0.2,
    }
    return build_model(ModelConfig.model_validate(settings | changes))


def random_views(count: int, *, size: tuple[int, int] = (16, 16), batch: int = 1, seed: int = 0) -> Views:
    generator = torch.Generator().manual_seed(seed)
    cameras = random_cameras(batch * count, size=size, seed=seed).float()
    cameras = cameras.map(lambda tensor: tensor.unflatten(0, (batch, count)))
    images = torch.rand(batch, count, 3, *size, generator=generator)
    return Views(images, torch.ones_like(images[:, :, :1]), cameras)


def ball_views(count: int, *, radius: float, size: int, striped: bool = False) -> Views:
    """A ball at the origin seen by a ring of cameras at distance 3, [count]; coverage at its rim is partial."""
    cameras = ring(count, size=size)
    pose = cameras.world_from_camera.clone()
    center = torch.tensor([50.0, 52.0, 45.0], dtype=torch.float64)
    pose[:, :3, 3] = (pose[:, :3, 3] - center) / 100
    cameras = replace(cameras, world_from_camera=pose, focal=2.5 * cameras.focal)
    origin, direction = cameras.rays()
    along = -(origin * direction).sum(dim=-1)
    reach = (origin + along[..., None] * direction).norm(dim=-1)
    pixel = along / cameras.focal.amax(dim=1)[:, None, None]
    masks = (0.5 + (radius - reach) / pixel).clamp(0, 1)[:, None].float()
    depth = along - (radius**2 - reach**2).clamp_min(0).sqrt()
    points = origin + depth[..., None] * direction
    colour = 0.5 + 0.4 * torch.sin(25 * points) if striped else torch.full_like(points, 0.3)
    images = colour.movedim(-1, 1).float() * masks + 1 - masks
    return Views(images, masks, cameras.float())
