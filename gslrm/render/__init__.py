"""Gaussians and cameras to pictures, with one meaning on every device.

Backends share the semantics of gsplat's `rasterization` (EWA splatting, front-to-back blending, pinhole cameras).
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from gslrm import harmonics as sh
from gslrm.cameras import Cameras
from gslrm.config import RenderConfig
from gslrm.errors import UserError
from gslrm.exact import exact_float32
from gslrm.render.deferred import render_deferred
from gslrm.types import Gaussians, Rendering

logger = logging.getLogger(__name__)
Rasterization = Callable[..., tuple[Tensor, Tensor, dict]]
ALPHA_MIN = 1 / 255  # a pixel takes no notice of a splat below this
WORTH_PICKING = 0.75  # share of drawn Gaussians below which the others are taken out


@runtime_checkable
class Rasterizer(Protocol):
    """Renders a batch of scenes, each from its own cameras."""

    def __call__(
        self,
        gaussians: Gaussians,
        cameras: Cameras,
        background: Float[Tensor, "b 3"],
        *,
        resolution_ratio: float = 1.0,
    ) -> Rendering:
        """Pictures [B, V] of Gaussians [B, N] seen by cameras [B, V] on a background per scene.

        `resolution_ratio` is the number of pixels rendered per pixel of the pictures the Gaussians were made for: a
        model learns splats that are right together with the blur of its own pixels, so finer pictures need the same
        blur in world units (its square scales `eps2d`, never below the configured value).
        """
        ...


@dataclass(frozen=True)
class BatchRasterizer:
    """Calls a backend's `rasterization` once per scene, in float32 whatever the surrounding autocast."""

    rasterization: Rasterization
    config: RenderConfig
    device: str | None = None
    """Where the backend works, if that is one place only; Gaussians travel there and pictures back."""

    def __call__(
        self,
        gaussians: Gaussians,
        cameras: Cameras,
        background: Float[Tensor, "b 3"],
        *,
        resolution_ratio: float = 1.0,
    ) -> Rendering:
        """See `Rasterizer`."""
        home = gaussians.means.device
        if self.device is not None:
            gaussians, cameras = gaussians.to(self.device), cameras.to(self.device)
            background = background.to(self.device)
        render = self._deferred if self.config.deferred_backward and torch.is_grad_enabled() else self._views
        scenes = [
            render(
                visible(gaussians[index].float()), cameras[index].float(), background[index].float(), resolution_ratio
            )
            for index in range(gaussians.means.shape[0])
        ]
        rgb, alpha, depth = (torch.stack(parts) for parts in zip(*scenes, strict=True))
        return Rendering(rgb, alpha, depth).to(home)

    def _deferred(self, gaussians: Gaussians, cameras: Cameras, background: Tensor, ratio: float) -> tuple[Tensor, ...]:
        """As `_views`, without keeping a graph: harmonics and splats are those of one view at a time."""
        height, width = cameras.height, cameras.width

        def render_view(view: int, *tensors: Tensor) -> tuple[Tensor, ...]:
            means, scales, rotations, opacities, harmonics, poses, focal, center, behind = tensors
            seen_by = Cameras(poses, focal, center, height, width)[view : view + 1]
            return self._views(Gaussians(means, scales, rotations, opacities, harmonics), seen_by, behind, ratio)

        scene = (gaussians.means, gaussians.scales, gaussians.rotations, gaussians.opacities, gaussians.harmonics)
        views = (cameras.world_from_camera, cameras.focal, cameras.center)
        return render_deferred(render_view, cameras.focal.shape[0], (*scene, *views, background))

    def _views(self, gaussians: Gaussians, cameras: Cameras, background: Tensor, ratio: float) -> tuple[Tensor, ...]:
        """RGB, alpha and depth [V, ., H, W] of one scene."""
        with exact_float32(gaussians.means.device.type):
            colours, alpha, _ = self.rasterization(
                gaussians.means,
                gaussians.rotations,
                gaussians.scales,
                gaussians.opacities,
                seen_colours(gaussians, cameras),
                cameras.camera_from_world,
                cameras.intrinsics,
                cameras.width,
                cameras.height,
                near_plane=self.config.near_plane,
                eps2d=self.config.eps2d * max(1.0, ratio) ** 2,
                backgrounds=background.expand(cameras.focal.shape[0], 3),
                render_mode="RGB+ED",
                rasterize_mode="antialiased" if self.config.antialiased else "classic",
                max_alpha=self.config.max_alpha,
                min_compensation=self.config.min_compensation,
            )
        colours, alpha = colours.permute(0, 3, 1, 2), alpha.permute(0, 3, 1, 2)
        return colours[:, :3], alpha, colours[:, 3:]


def build_rasterizer(
    backend: str = "auto", config: RenderConfig | None = None, *, device: str = "auto"
) -> BatchRasterizer:
    """The rasterizer of a backend.

    Args:
        backend: `cpu`, `gsplat`, or `auto`: gsplat when CUDA is used and gsplat is installed, else the CPU's.
        config: blur, planes and limits; defaults if none.
        device: where the Gaussians will be; `auto` means CUDA when there is a card.

    Raises:
        UserError: gsplat was asked for and cannot be used here.
    """
    gpu = device != "cpu" and torch.cuda.is_available()
    gsplat = gpu and find_spec("gsplat") is not None
    if backend == "gsplat" and not gsplat:
        missing = "gsplat is not installed: pip install gsplat" if gpu else "there is no CUDA device"
        raise UserError(f"render.backend gsplat: {missing}; or use render.backend: cpu")
    chosen = "gsplat" if backend == "auto" and gsplat else ("cpu" if backend == "auto" else backend)
    logger.info("rasterizer: %s", chosen)
    return BatchRasterizer(_load(chosen), config or RenderConfig(), device="cpu" if chosen == "cpu" else None)


def visible(gaussians: Gaussians) -> Gaussians:
    """The Gaussians without those that are too transparent to be drawn, which no stage needs to look at.

    A network gives every pixel a Gaussian, and learns to hide those of the background. Picking costs a copy, so few
    hidden ones are left to the backend, which skips them one by one.
    """
    drawn = gaussians.opacities.detach() >= ALPHA_MIN
    if drawn.sum() > WORTH_PICKING * drawn.numel():
        return gaussians
    index = drawn.nonzero().squeeze(1)
    return gaussians.map(lambda tensor: tensor.index_select(0, index))


def seen_colours(gaussians: Gaussians, cameras: Cameras) -> Float[Tensor, "n 3"] | Float[Tensor, "v n 3"]:
    """RGB of every Gaussian; per camera when the harmonics depend on direction."""
    if gaussians.degree == 0:
        return sh.rgb_from_degree_0(gaussians.harmonics[:, 0]).clamp_min(0)
    direction = torch.nn.functional.normalize(gaussians.means - cameras.position[:, None], dim=-1)
    return sh.evaluate(gaussians.harmonics.expand(direction.shape[0], *gaussians.harmonics.shape), direction)


def _load(backend: str) -> Rasterization:
    if backend == "gsplat":
        from gslrm.render.gsplat_backend import rasterization as gsplat_rasterization

        return gsplat_rasterization
    from gslrm.render.cpu_backend import rasterization as cpu_rasterization

    return cpu_rasterization
