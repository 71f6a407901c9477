"""Scenes and stopwatches that the rasterizer's benchmark and its gate in the tests share."""

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numba
import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))  # the twin is kept where it is mostly used

from reference_rasterizer import rasterize_view

from gslrm.render.cpu_backend import rasterization

SPLAT_SIGMA = 1.25  # px: about what networks learn for Gaussians that belong to pixels
DISTANCE, BALL_RADIUS, BALL_SHARE = 2.7, 0.6, 0.8  # world units; diameter of the ball as a share of the picture
DIFFERENTIATED = ("means", "quats", "scales", "opacities", "colors")

Scene = dict[str, Tensor | int]
Contender = Callable[[Scene], tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class Case:
    """One scene: a ball full of Gaussians as large as pixels, seen from a ring of cameras."""

    count: int
    size: int
    opacities: str
    views: int = 4

    def scene(self) -> Scene:
        """Arguments of `rasterization`, float32."""
        generator = torch.Generator().manual_seed(0)
        normal = torch.randn(self.count, 8, generator=generator)
        uniform = torch.rand(self.count, 5, generator=generator)
        direction = torch.nn.functional.normalize(normal[:, :3], dim=-1)
        focal = 0.5 * BALL_SHARE * self.size * DISTANCE / BALL_RADIUS
        spread = (0.4 * (uniform[:, :1] - 0.5)).exp()
        return {
            "means": BALL_RADIUS * uniform[:, 4:] ** (1 / 3) * direction,
            "quats": normal[:, 3:7],
            "scales": SPLAT_SIGMA * DISTANCE / focal * torch.cat([spread, 1 / spread, torch.ones_like(spread)], dim=1),
            "opacities": OPACITIES[self.opacities](normal[:, 7]),
            "colors": uniform[:, 1:4].contiguous(),
            "viewmats": ring(self.views),
            "Ks": torch.tensor([[focal, 0, self.size / 2], [0, focal, self.size / 2], [0, 0, 1]]).repeat(
                self.views, 1, 1
            ),
            "width": self.size,
            "height": self.size,
        }

    @property
    def splats(self) -> int:
        """Gaussians times views."""
        return self.count * self.views


OPACITIES: dict[str, Callable[[Tensor], Tensor]] = {
    "trained": lambda normal: torch.sigmoid(3 * normal),  # most nearly opaque or nearly transparent, 3 % hidden
    "untrained": lambda normal: torch.full_like(normal, 0.12),  # sigmoid(-2), the start of training
    # Networks trained on mice hide 81 to 84 % of their Gaussians: those of the background.
    "mouse": lambda normal: torch.where(torch.arange(normal.shape[0]) % 5 == 0, torch.sigmoid(3 * normal), 0.0),
}


def ring(views: int) -> Tensor:
    """World-to-camera matrices of cameras around the origin."""
    angle = 2 * torch.pi * torch.arange(views) / views + 0.3
    zero, one = torch.zeros(views), torch.ones(views)
    rows = [
        torch.stack([angle.cos(), zero, angle.sin(), zero], dim=-1),
        torch.stack([zero, one, zero, zero], dim=-1),
        torch.stack([-angle.sin(), zero, angle.cos(), DISTANCE * one], dim=-1),
        torch.stack([zero, zero, zero, one], dim=-1),
    ]
    return torch.stack(rows, dim=1)


def ours(scene: Scene) -> tuple[Tensor, Tensor]:
    """The numba backend, with the outputs that training asks for."""
    image, alpha, _ = rasterization(**scene, render_mode="RGB+ED")  # type: ignore[arg-type]
    return image, alpha


def twin(scene: Scene) -> tuple[Tensor, Tensor]:
    """The same pictures from plain torch."""
    gaussians = [scene[name] for name in DIFFERENTIATED]
    views = [
        rasterize_view(*gaussians, viewmat, intrinsics, scene["width"], scene["height"])  # type: ignore[arg-type]
        for viewmat, intrinsics in zip(scene["viewmats"], scene["Ks"], strict=True)  # type: ignore[arg-type]
    ]
    rgb, alpha, depth = (torch.stack(parts) for parts in zip(*views, strict=True))
    return torch.cat([rgb, depth / alpha.clamp_min(1e-10)], dim=-1), alpha


@dataclass(frozen=True)
class Times:
    """Seconds of one pass: by the clock, and of the processor over all threads."""

    forward: float
    backward: float
    processor: float

    @property
    def total(self) -> float:
        """Forward and backward by the clock."""
        return self.forward + self.backward


def run(contender: Contender, scene: Scene) -> Times:
    """One forward and one backward pass."""
    leaves = {name: scene[name].detach().requires_grad_() for name in DIFFERENTIATED}  # type: ignore[union-attr]
    start, processor = time.perf_counter(), time.process_time()
    outputs = contender({**scene, **leaves})
    forward, processor = time.perf_counter() - start, time.process_time() - processor
    generator = torch.Generator().manual_seed(1)
    weights = [torch.rand(output.shape, generator=generator) / output.numel() for output in outputs]
    start, backward_processor = time.perf_counter(), time.process_time()
    torch.autograd.grad(outputs, list(leaves.values()), weights)
    return Times(forward, time.perf_counter() - start, processor + time.process_time() - backward_processor)


def medians(contenders: dict[str, Contender], scene: Scene, repeats: int) -> dict[str, Times]:
    """Median times per contender, after a warm-up.

    Contenders take turns, so that a change of the machine's load meets all of them.
    """
    for contender in contenders.values():
        run(contender, scene)
    runs: dict[str, list[Times]] = {name: [] for name in contenders}
    for _ in range(repeats):
        for name, contender in contenders.items():
            runs[name].append(run(contender, scene))
    return {
        name: Times(*(median(getattr(one, part) for one in several) for part in ("forward", "backward", "processor")))
        for name, several in runs.items()
    }


def set_threads(count: int) -> None:
    """Threads of torch and of the backend."""
    torch.set_num_threads(count)
    numba.set_num_threads(count)
