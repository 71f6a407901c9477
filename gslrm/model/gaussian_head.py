"""Raw channels of a network to activated Gaussians.

Log-scales, opacity logits and unnormalised quaternions live only here and in the PLY code. Channel order per Gaussian:
position 3, harmonics 3 (degree + 1)^2 (coefficient-major, RGB fastest), scale 3, rotation 4, opacity 1.
"""

import torch
from einops import rearrange, repeat
from jaxtyping import Float, Shaped
from torch import Tensor

from gslrm.cameras import Cameras, nearest_to_origin
from gslrm.config import GaussiansConfig, ModelConfig
from gslrm.harmonics import coefficient_count
from gslrm.types import Gaussians

CLIP_LIMIT = 1.0  # world units
CLASSIC_RANGE, CLASSIC_DISTANCE = 1.5, 2.7  # world units: published depth of the moment embedding without limits


def channel_count(degree: int) -> int:
    """Raw channels per Gaussian."""
    return 3 + 3 * coefficient_count(degree) + 3 + 4 + 1


def activate(means: Float[Tensor, "b n 3"], raw: Float[Tensor, "b n c"], config: GaussiansConfig) -> Gaussians:
    """Activated Gaussians at given positions; the position channels of `raw` are not looked at."""
    coefficients = coefficient_count(config.sh_degree)
    _, features, scaling, rotation, opacity = raw.split([3, 3 * coefficients, 3, 4, 1], dim=-1)
    scales = (scaling + config.scale_bias).clamp_max(config.scale_max).exp()
    if config.scaling_modifier is not None:
        scales = scales * config.scaling_modifier
    return Gaussians(
        means=means,
        scales=scales,
        rotations=torch.nn.functional.normalize(rotation, dim=-1),
        opacities=torch.sigmoid(opacity[..., 0] + config.opacity_bias),
        harmonics=rearrange(features, "b n (k c) -> b n k c", c=3),
    )


def pixel_means(
    raw_xyz: Float[Tensor, "b v h w 3"],
    cameras: Cameras,
    config: ModelConfig,
    anchor: Float[Tensor, "b v h w"] | None = None,
) -> Float[Tensor, "b v h w 3"]:
    """Positions of pixel Gaussians from their three raw channels, in raster order.

    With `hard_pixelalign` the channels' mean is a depth logit, and the Gaussian lies on its pixel's ray at a distance
    measured along the unit ray (not z-depth), from `anchor` if one is given.
    """
    if not config.hard_pixelalign:
        return raw_xyz
    origin, direction = cameras.rays()
    share = torch.sigmoid(raw_xyz.mean(dim=-1) + config.depth_preact_bias)
    if anchor is None:
        distance = _distance(share, origin, direction, config)
    else:
        distance = anchor + config.depth_range * (2 * share - 1)
    means = origin + distance[..., None] * direction
    return means.clamp(-CLIP_LIMIT, CLIP_LIMIT) if config.clip_xyz else means


def _distance(
    share: Float[Tensor, "b v h w"],
    origin: Float[Tensor, "b v h w 3"],
    direction: Float[Tensor, "b v h w 3"],
    config: ModelConfig,
) -> Float[Tensor, "b v h w"]:
    signed = 2 * share - 1
    if config.use_custom_plucker or config.use_aug_plucker:
        return config.depth_range * signed + nearest_to_origin(origin, direction)[0]
    if config.depth_min > 0 and config.depth_max > 0:
        return config.depth_min + share * (config.depth_max - config.depth_min)
    if config.depth_reference_origin:
        return config.depth_range * signed + origin.norm(dim=-1)
    return CLASSIC_RANGE * signed + CLASSIC_DISTANCE


def raster_from_patches(
    pixels: Float[Tensor, "b n c"], *, views: int, height: int, width: int, patch: int
) -> Float[Tensor, "b v h w c"]:
    """Pixel values in the network's order (view, patch row, patch column, row, column) as images."""
    return rearrange(
        pixels,
        "b (v py px r c) a -> b v (py r) (px c) a",
        v=views, py=height // patch, px=width // patch, r=patch, c=patch,
    )  # fmt: skip


def patches_from_raster(images: Shaped[Tensor, "b v h w c"], *, patch: int) -> Shaped[Tensor, "b n c"]:
    """Inverse of `raster_from_patches`."""
    return rearrange(images, "b v (py r) (px c) a -> b (v py px r c) a", r=patch, c=patch)


def embed_rays(cameras: Cameras, config: ModelConfig) -> Float[Tensor, "b v c h w"]:
    """The ray channels of the input: 6, or 9 with `use_aug_plucker`, in float32.

    custom: direction, point nearest the origin; aug: moment, direction, nearest point; neither: moment, direction.
    """
    origin, direction = cameras.rays()
    moment = torch.linalg.cross(origin, direction)
    nearest = nearest_to_origin(origin, direction)[1]
    if config.use_custom_plucker:
        parts = [direction, nearest]
    elif config.use_aug_plucker:
        parts = [moment, direction, nearest]
    else:
        parts = [moment, direction]
    return rearrange(torch.cat(parts, dim=-1), "b v h w c -> b v c h w")


def global_gaussians(raw: Float[Tensor, "b n c"], config: GaussiansConfig) -> Gaussians:
    """Gaussians of the learned global tokens: the position channels are the position."""
    return activate(raw[..., :3], raw, config)


def pixel_gaussians(
    raw: Float[Tensor, "b l c"],
    cameras: Cameras,
    config: ModelConfig,
    anchor: Float[Tensor, "b v h w"] | None = None,
) -> Gaussians:
    """Gaussians of the image tokens, in patch order: token, row in patch, column in patch.

    Args:
        raw: head output per token, [B, tokens, patch * patch * channels].
        cameras: the input views' cameras [B, V], float32.
        config: decoding variant.
        anchor: distances along the rays from which depth is measured, instead of the variant's own.
    """
    patch = config.image_tokenizer.patch_size
    pixels = rearrange(raw, "b l (p a) -> b (l p) a", p=patch * patch)
    raster = raster_from_patches(
        pixels[..., :3],
        views=cameras.focal.shape[1], height=cameras.height, width=cameras.width, patch=patch,
    )  # fmt: skip
    means = patches_from_raster(pixel_means(raster, cameras, config, anchor), patch=patch)
    return activate(means, pixels, config.gaussians)


def patchify(images: Float[Tensor, "b v c h w"], *, patch: int) -> Float[Tensor, "b l e"]:
    """Tokens in the order view, patch row, patch column; inside a patch row, column, channel."""
    return rearrange(images, "b v c (py r) (px q) -> b (v py px) (r q c)", r=patch, q=patch)


def expand_batch(tokens: Float[Tensor, "n d"], batch: int) -> Float[Tensor, "b n d"]:
    """Learned tokens for every sample of a batch."""
    return repeat(tokens, "n d -> b n d", b=batch)
