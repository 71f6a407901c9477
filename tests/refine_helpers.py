"""A ball as six cameras of a ring show it, and Gaussians on its surface."""

import torch
from helpers import ball_coverage

from gslrm.cameras import Cameras
from gslrm.config import RenderConfig
from gslrm.harmonics import degree_0_from_rgb
from gslrm.refine.target import Target
from gslrm.render import build_rasterizer
from gslrm.types import Gaussians, Views

RADIUS = 0.5
DISTANCE = 3.0
SIZE = 64
COLOUR = torch.tensor([0.3, 0.2, 0.1])
RASTERIZER = build_rasterizer("cpu", RenderConfig(), device="cpu")


def cameras(count: int, *, turn: float = 0.0, height: float = 0.4) -> Cameras:
    angle = 2 * torch.pi * torch.arange(count, dtype=torch.float64) / count + turn
    direction = torch.stack([angle.cos(), angle.sin(), torch.full_like(angle, height)], dim=-1)
    return Cameras.look_at(
        DISTANCE * torch.nn.functional.normalize(direction, dim=-1),
        torch.zeros(count, 3, dtype=torch.float64),
        torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64),
        focal=torch.full((count, 2), 1.6 * SIZE, dtype=torch.float64),
        center=torch.full((count, 2), SIZE / 2, dtype=torch.float64),
        height=SIZE,
        width=SIZE,
    )


def ball_targets(radius: float = RADIUS) -> list[Target]:
    rig, targets = cameras(6), []
    for index in range(6):
        inside = ball_coverage(rig[index], torch.zeros(3, dtype=torch.float64), radius)
        mask = torch.from_numpy(inside).float()[None, None]
        image = mask * COLOUR[:, None, None] + 1 - mask
        targets.append(Target(Views(image, mask, rig[index : index + 1].float()), 1.0))
    return targets


def shell(count: int = 2000, *, opacity: float = 0.9) -> Gaussians:
    direction = torch.randn(count, 3, generator=torch.Generator().manual_seed(0))
    return Gaussians(
        means=RADIUS * torch.nn.functional.normalize(direction, dim=-1),
        scales=torch.full((count, 3), 0.02),
        rotations=torch.tensor([1.0, 0.0, 0.0, 0.0]).repeat(count, 1),
        opacities=torch.full((count,), opacity),
        harmonics=degree_0_from_rgb(COLOUR).repeat(count, 1)[:, None],
    )
