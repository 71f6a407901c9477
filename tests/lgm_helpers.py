"""Small LGM networks, the published code's numbers, and the specification written a second time."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from gslrm.config import LgmShape, ModelConfig
from gslrm.harmonics import rgb_from_degree_0
from gslrm.model import build_model
from gslrm.types import Gaussians

# Weights alone are 4 MB, so this file is not in the repository.
NUMBERS = Path(__file__).parents[2] / "shared" / "fixtures" / "lgm" / "tiny_4view.npz"
SHAPE = {  # of those numbers; asymmetric as `big` is, maps of half the side
    "down_channels": [32, 32, 64],
    "down_attention": [False, True, True],
    "up_channels": [64, 32],
    "up_attention": [True, False],
}


def lgm_config(**changes: object) -> ModelConfig:
    settings = {"family": "lgm", "image_tokenizer": {"image_size": 32}, "lgm": SHAPE | changes}
    return ModelConfig.model_validate(settings, strict=True)


def small_lgm(**changes: object) -> torch.nn.Module:
    """Weights of a size that makes outputs vary, with norms and biases that are not 1 and 0."""
    torch.manual_seed(0)
    model = build_model(lgm_config(**changes))
    generator = torch.Generator().manual_seed(0)
    for parameter in model.parameters():
        fan_in = parameter[0].numel()
        noise = torch.randn(parameter.shape, generator=generator)
        parameter.data = noise * fan_in**-0.5 if parameter.ndim > 1 else parameter.data + 0.1 * noise
    return model


def random_maps(batch: int, views: int, *, size: tuple[int, int] = (16, 16), seed: int = 0) -> Tensor:
    return torch.randn(batch, views, 9, *size, generator=torch.Generator().manual_seed(seed))


def published_case(run: str) -> tuple[torch.nn.Module, dict[str, object]]:
    """The published code's weights in our network, and its numbers of one run."""
    if not NUMBERS.exists():
        pytest.skip(f"{NUMBERS.name} is not here")
    numbers = np.load(NUMBERS, allow_pickle=False)
    model = build_model(lgm_config())
    weights = {key[2:]: torch.from_numpy(numbers[key]) for key in numbers.files if key.startswith("w/")}
    model.load_state_dict(weights, strict=True)
    case: dict[str, object] = {
        name: torch.from_numpy(numbers[f"{run}/{name}"])
        for name in ("input", "raw14", "gaussians", "mid_block", "rot_before_fix")
    }
    return model, case | {"grad_norms": json.loads(str(numbers[f"{run}/grad_norms"]))}


def in_published_order(gaussians: Gaussians) -> Tensor:
    """[B, N, 14]: position, opacity, scale, rotation, colour."""
    colour = rgb_from_degree_0(gaussians.harmonics[..., 0, :])
    opacity = gaussians.opacities[..., None]
    return torch.cat([gaussians.means, opacity, gaussians.scales, gaussians.rotations, colour], dim=-1)


class Reference:
    """The network as the specification words it, in float64: one view, one head, one layer after the other."""

    def __init__(self, weights: dict[str, Tensor], shape: LgmShape) -> None:
        self.weights = {name: value.double() for name, value in weights.items()}
        self.shape = shape

    def raw(self, images: Tensor) -> Tensor:
        """Raw maps [V, 14, h, w] of one sample [V, 9, H, W]."""
        down, up = len(self.shape.down_channels), len(self.shape.up_channels)
        maps = self.conv("unet.conv_in", images.double(), padding=1)
        stack = [maps]
        for level, attends in enumerate(self.shape.down_attention):
            for layer in range(2):
                maps = self.layer(f"unet.down_blocks.{level}", layer, maps, attends)
                stack.append(maps)
            if level < down - 1:
                maps = self.conv(f"unet.down_blocks.{level}.downsample", maps, stride=2, padding=1)
                stack.append(maps)
        maps = self.layer("unet.mid_block", 0, maps, True)
        maps = self.layer("unet.mid_block", 1, maps, False)
        for level, attends in enumerate(self.shape.up_attention):
            for layer in range(3):
                maps = self.layer(f"unet.up_blocks.{level}", layer, torch.cat([maps, stack.pop()], dim=1), attends)
            if level < up - 1:
                doubled = maps.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
                maps = self.conv(f"unet.up_blocks.{level}.upsample", doubled, padding=1)
        maps = self.conv("unet.conv_out", self.swish(self.norm("unet.norm_out", maps)), padding=1)
        return self.conv("conv", maps)

    def layer(self, block: str, layer: int, maps: Tensor, attends: bool) -> Tensor:
        maps = self.resnet(f"{block}.nets.{layer}", maps)
        return self.attention(f"{block}.attns.{layer}", maps) if attends else maps

    def resnet(self, name: str, maps: Tensor) -> Tensor:
        inner = self.conv(f"{name}.conv1", self.swish(self.norm(f"{name}.norm1", maps)), padding=1)
        inner = self.conv(f"{name}.conv2", self.swish(self.norm(f"{name}.norm2", inner)), padding=1)
        direct = self.conv(f"{name}.shortcut", maps) if f"{name}.shortcut.weight" in self.weights else maps
        return (inner + direct) * 0.5**0.5

    def attention(self, name: str, maps: Tensor) -> Tensor:
        views, width, height, across = maps.shape
        normed = self.norm(f"{name}.norm", maps)
        tokens = torch.stack([view[:, y, x] for view in normed for y in range(height) for x in range(across)])
        projected = tokens @ self.weights[f"{name}.attn.qkv.weight"].T
        heads, size = [], width // 16
        for head in range(16):
            query, key, value = (projected[:, part * width + head * size :][:, :size] for part in range(3))
            weight = torch.exp(query @ key.T / size**0.5)
            heads.append(weight / weight.sum(dim=1, keepdim=True) @ value)
        mixed = torch.cat(heads, dim=1) @ self.weights[f"{name}.attn.proj.weight"].T
        mixed = mixed + self.weights[f"{name}.attn.proj.bias"]
        return (mixed.reshape(views, height, across, width).permute(0, 3, 1, 2) + maps) * 0.5**0.5

    def norm(self, name: str, maps: Tensor) -> Tensor:
        views, width = maps.shape[:2]
        groups = maps.reshape(views, 32, -1)
        deviation = (groups.var(dim=2, keepdim=True, correction=0) + 1e-5).sqrt()
        normed = ((groups - groups.mean(dim=2, keepdim=True)) / deviation).reshape(maps.shape)
        scale, shift = (self.weights[f"{name}.{part}"].reshape(width, 1, 1) for part in ("weight", "bias"))
        return normed * scale + shift

    def conv(self, name: str, maps: Tensor, **options: int) -> Tensor:
        return functional.conv2d(maps, self.weights[f"{name}.weight"], self.weights[f"{name}.bias"], **options)

    def swish(self, values: Tensor) -> Tensor:
        return values / (1 + torch.exp(-values))
