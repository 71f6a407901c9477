"""What silhouettes and colours alone say about a scene: where the network's Gaussians start, and what it is told."""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from gslrm.config import HullConfig
from gslrm.model.hull_rays import HullRays, PackedViews, colour_agreement, sharpen, trace
from gslrm.types import Views

COVERED = 0.1  # coverage from which a pixel is told of the hull: a tail covers few pixels more than half
BARE = 0.02  # coverage below which a pixel shows the background alone
FAINT = 0.1  # colours are not divided by less coverage than this
HINTS = 6  # hull point, coverage, thickness, hit
AGREEMENT_HINTS = 4  # and two for every depth


@dataclass(frozen=True)
class HullGuide:
    """The start of one scene; n pixels get Gaussians."""

    hints: Float[Tensor, "v c h w"]
    """Channels for the transformer, on its pixel grid."""
    rays: HullRays
    """Of the n pixels, on the grid of the whole pictures."""
    pixel: Float[Tensor, "n"]
    """World length of a pixel at the hull."""
    colour: Float[Tensor, "n 3"]
    coverage: Float[Tensor, "n"]


def hint_channels(config: HullConfig) -> int:
    """Channels of `HullGuide.hints`."""
    return HINTS + (AGREEMENT_HINTS + 2 * len(config.agreement_depths) if config.agreement else 0)


@torch.no_grad()
def look(views: Views, coarse: Views, config: HullConfig) -> HullGuide:
    """The start of a scene [V], from its pictures and their reduction to the transformer's pixel grid, in float32."""
    packed = PackedViews.of(views)
    rough = trace(packed, coarse.masks[:, 0] > min(COVERED, config.covered), config)
    wanted = views.masks[:, 0] > config.covered
    rays = _chosen(rough, wanted) if config.detail == 1 else sharpen(packed, rough, wanted, config)
    device, colours = views.images.device, uncomposited(views)
    chosen = tuple(rays.pixels.unbind(1))
    rays = rays.to(device)
    return HullGuide(
        hints=_hints(packed, rough, colours, coarse, config).to(device),
        rays=rays,
        pixel=rays.distance / views.cameras.focal.amax(dim=1)[rays.pixels[:, 0]],
        colour=colours.permute(0, 2, 3, 1)[chosen],
        coverage=views.masks[:, 0][chosen],
    )


def shrink(views: Views, factor: int) -> Views:
    """Pictures [..., V] reduced by a whole factor, by area."""
    if factor == 1:
        return views
    reduce = lambda x: torch.nn.functional.avg_pool2d(x.flatten(0, -4), factor).unflatten(0, x.shape[:-3])  # noqa: E731
    cameras = replace(
        views.cameras,
        focal=views.cameras.focal / factor,
        center=views.cameras.center / factor,
        height=views.cameras.height // factor,
        width=views.cameras.width // factor,
    )
    return Views(reduce(views.images), reduce(views.masks), cameras)


def uncomposited(views: Views) -> Float[Tensor, "v 3 h w"]:
    """Colours of views [V] without what shines through where coverage is partial.

    The background is the mean of each picture's bare pixels, white where there are none.
    """
    bare = (views.masks < BARE).to(views.images)
    count = bare.sum(dim=(2, 3))
    background = torch.where(count > 0, (views.images * bare).sum(dim=(2, 3)) / count.clamp_min(1), 1.0)
    weighted = views.images - (1 - views.masks) * background[:, :, None, None]
    return (weighted / views.masks.clamp_min(FAINT)).clamp(0, 1)


def _chosen(rays: HullRays, wanted: Bool[Tensor, "v h w"]) -> HullRays:
    """The rays of wanted pixels, which must be among them."""
    kept = wanted.cpu()[tuple(rays.pixels.unbind(1))]
    return rays[kept]


def _hints(
    packed: PackedViews, rays: HullRays, colours: Float[Tensor, "v 3 p q"], coarse: Views, config: HullConfig
) -> Float[Tensor, "v c h w"]:
    own = tuple(rays.pixels.unbind(1))
    coverage = coarse.masks[:, 0].cpu()[own]
    channels = [rays.points, coverage[:, None], rays.thickness[:, None], rays.hit[:, None].float()]
    if config.agreement:
        seen = uncomposited(coarse).cpu().permute(0, 2, 3, 1)[own]
        grid = (coarse.masks.shape[-2], coarse.masks.shape[-1])
        offsets = tuple(config.agreement_depths)
        channels.append(colour_agreement(packed, colours, seen, rays, grid=grid, offsets=offsets))
    return rays.raster(torch.cat(channels, dim=1), coarse.masks.cpu())
