"""gsplat's CUDA rasterizer behind the signature of the CPU backend."""

from dataclasses import dataclass
from functools import cache

import gsplat
import torch
from torch import Tensor

from gslrm.errors import UserError

CONSTANT_TOLERANCE = 1e-4  # float32 arithmetic of the probe; versions differ by 5e-3 and more


@dataclass(frozen=True)
class Constants:
    """What a gsplat was compiled with, so that it cannot be chosen at run time: 0.999 and 0 in 1.5, 0.99, 0.005 in 1.6.

    `max_alpha` bounds the alpha of one splat, `min_compensation` the antialiasing factor from below.
    """

    max_alpha: float
    min_compensation: float


def rasterization(
    means: Tensor,
    quats: Tensor,
    scales: Tensor,
    opacities: Tensor,
    colors: Tensor,
    viewmats: Tensor,
    Ks: Tensor,
    width: int,
    height: int,
    near_plane: float = 0.01,
    far_plane: float = 1e10,
    eps2d: float = 0.3,
    backgrounds: Tensor | None = None,
    render_mode: str = "RGB",
    rasterize_mode: str = "classic",
    max_alpha: float = 0.999,
    min_compensation: float = 0.0,
    *,
    cameras_per_call: int = 1,
) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
    """As `gslrm.render.cpu_backend.rasterization`, on float32 CUDA tensors.

    `cameras_per_call` trades memory for fewer kernel launches; the pictures are the same.

    Raises:
        UserError: this gsplat was compiled with other constants than those asked for.
    """
    antialiased = rasterize_mode == "antialiased"
    _require(compiled_constants(str(means.device)), max_alpha, min_compensation if antialiased else None)
    parts = []
    for first in range(0, viewmats.shape[0], cameras_per_call):
        part = slice(first, first + cameras_per_call)
        # Backgrounds are added below: how gsplat pads them for the depth channel is its own affair in each version.
        image, alpha, meta = gsplat.rasterization(
            means, quats, scales, opacities, colors[part] if colors.ndim == 3 else colors, viewmats[part], Ks[part],
            width, height, near_plane=near_plane, far_plane=far_plane, eps2d=eps2d, render_mode=render_mode,
            rasterize_mode=rasterize_mode,
            packed=False,  # cameras look at one object: all see nearly all of it, so packing would only cost time
        )  # fmt: skip
        parts.append((image, alpha, *(meta[name].detach() for name in ("radii", "means2d", "conics", "depths"))))
    image, alpha, radii, means2d, conics, depths = (torch.cat(tensors) for tensors in zip(*parts, strict=True))
    if backgrounds is not None and "RGB" in render_mode:
        image = _over(image, alpha, backgrounds)
    return image, alpha, {"radii": radii, "means2d": means2d, "conics": conics, "depths": depths}


@cache
def compiled_constants(device: str) -> Constants:
    """Constants of the installed gsplat, read off its pictures: version numbers do not tell for builds from source."""
    return Constants(
        max_alpha=_probe_alpha(device, scale=1.0, mode="classic"),
        min_compensation=_probe_alpha(device, scale=0.0, mode="antialiased"),
    )


@torch.no_grad()
def _probe_alpha(device: str, *, scale: float, mode: str) -> float:
    """Alpha of one pixel under an opaque splat of a size; a point survives antialiasing only where its factor is."""
    mean = torch.tensor([[0.0, 0.0, 1.0]], device=device)
    quaternion = torch.tensor([[1.0, 0.0, 0.0, 0.0]], device=device)
    one = torch.ones(1, 3, device=device)
    viewmat = torch.eye(4, device=device)[None]
    intrinsics = torch.tensor([[[1.0, 0.0, 0.5], [0.0, 1.0, 0.5], [0.0, 0.0, 1.0]]], device=device)
    _, alpha, _ = gsplat.rasterization(
        mean, quaternion, scale * one, one[:, 0], one, viewmat, intrinsics, 1, 1, rasterize_mode=mode, packed=False
    )
    return float(alpha)


def _require(built: Constants, max_alpha: float, min_compensation: float | None) -> None:
    version = getattr(gsplat, "__version__", "of unknown version")
    asked = {"max_alpha": max_alpha, "min_compensation": min_compensation}
    for name, value in asked.items():
        compiled = round(getattr(built, name), 4)
        if value is not None and abs(compiled - value) > CONSTANT_TOLERANCE:
            raise UserError(f"gsplat {version} is compiled with {name} {compiled}; set render.{name}: {compiled}")


def _over(image: Tensor, alpha: Tensor, backgrounds: Tensor) -> Tensor:
    """Lay the colour channels over a background per camera; the depth channel, if any, has background 0."""
    behind = (1 - alpha) * backgrounds[:, None, None]
    channels = backgrounds.shape[-1]
    return torch.cat([image[..., :channels] + behind, image[..., channels:]], dim=-1)
