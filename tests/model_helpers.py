"""Small networks and random views that several tests share."""

import torch
from helpers import random_cameras

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
