"""The depth of the surface that a camera sees, through haze and in spite of what lies behind.

The expected depth of a rasterizer mixes the front with the back wherever the front is a little transparent. Here the
weights of every pixel are sorted into slabs of depth, and the depth is the mean of the slab in which half of the
weight is reached, with its neighbours.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from gslrm.cameras import Cameras
from gslrm.look_around import OUTLIERS
from gslrm.render import BatchRasterizer, seen_colours
from gslrm.types import Gaussians, Rendering

SLABS = 16


def render_front(gaussians: Gaussians, camera: Cameras, rasterizer: BatchRasterizer) -> Rendering:
    """Colour on black, alpha and depth of the front `[1, ...]` of one scene at one unbatched camera, on the CPU.

    The depth is that of the front-most surface which covers half of what the pixel shows; 0 where nothing is.
    """
    view = camera[None].float().to(rasterizer.device or gaussians.means.device)
    scene = gaussians.float().to(view.focal.device)
    depth = (scene.means @ view.camera_from_world[0, 2, :3]) + view.camera_from_world[0, 2, 3]
    slab, low, step = _slabs(depth)
    share = torch.nn.functional.one_hot(slab, SLABS).to(depth.dtype)
    colour = seen_colours(scene, view).reshape(-1, len(depth), 3)[0]
    features = torch.cat([colour, share, share * (depth - low)[:, None] / step], dim=1)
    picture, alpha = _blend(scene, view, features, rasterizer)
    weight, moment = picture[3 : 3 + SLABS], picture[3 + SLABS :]
    front = _front(weight, moment) * step.cpu() + low.cpu() * (weight.sum(dim=0, keepdim=True) > 0)
    return Rendering(picture[None, :3], alpha[None], front[None])


def _slabs(depth: Float[Tensor, "n"]) -> tuple[Tensor, Tensor, Tensor]:
    """Number of each Gaussian's slab, where the first slab starts, how thick they are; a far floater widens none."""
    ahead = depth[depth > 0].sort().values
    cut = int(OUTLIERS * len(ahead))
    low, high = ahead[cut], ahead[len(ahead) - 1 - cut]
    step = ((high - low) / SLABS).clamp_min(1e-6 * high)
    return ((depth - low) / step).floor().clamp(0, SLABS - 1).long(), low, step


def _front(weight: Float[Tensor, "k h w"], moment: Float[Tensor, "k h w"]) -> Float[Tensor, "1 h w"]:
    """Mean over the slab that reaches half of the weight and both its neighbours."""
    total = weight.cumsum(dim=0)
    median = (total < 0.5 * total[-1:]).sum(dim=0, keepdim=True).clamp_max(len(weight) - 1)
    number = torch.arange(len(weight), device=weight.device)[:, None, None]
    near = (number - median).abs() <= 1
    return (moment * near).sum(dim=0, keepdim=True) / (weight * near).sum(dim=0, keepdim=True).clamp_min(1e-12)


def _blend(
    scene: Gaussians, view: Cameras, features: Float[Tensor, "n d"], rasterizer: BatchRasterizer
) -> tuple[Float[Tensor, "d h w"], Float[Tensor, "1 h w"]]:
    config = rasterizer.config
    picture, alpha, _ = rasterizer.rasterization(
        scene.means,
        scene.rotations,
        scene.scales,
        scene.opacities,
        features,
        view.camera_from_world,
        view.intrinsics,
        view.width,
        view.height,
        near_plane=config.near_plane,
        eps2d=config.eps2d,
        render_mode="RGB",
        rasterize_mode="antialiased" if config.antialiased else "classic",
        max_alpha=config.max_alpha,
        min_compensation=config.min_compensation,
    )
    return picture[0].permute(2, 0, 1).cpu(), alpha[0].permute(2, 0, 1).cpu()
