"""Rendered depth against true depth, along the optical axis in world units."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from gslrm.metrics.masks import FOREGROUND

TOLERANCE = 0.02  # of the true depth


def has_depth(alpha: Float[Tensor, "*batch 1 h w"], truth: Float[Tensor, "*batch 1 h w"]) -> Bool[Tensor, "*batch"]:
    """Whether any pixel has both a true depth (above 0) and a rendered surface (alpha above 0.5)."""
    return ((truth > 0) & (alpha > FOREGROUND)).flatten(-3).any(dim=-1)


def depth_error(
    depth: Float[Tensor, "*batch 1 h w"],
    alpha: Float[Tensor, "*batch 1 h w"],
    truth: Float[Tensor, "*batch 1 h w"],
) -> Float[Tensor, "*batch"]:
    """Median absolute error in world units over the pixels that have a true depth and a rendered surface.

    The median, because expected depth at silhouettes mixes what lies in front with what lies behind.

    Raises:
        ValueError: an image has no such pixel.
    """
    if not has_depth(alpha, truth).all():
        raise ValueError("an image has no pixel with both a true depth and a rendered surface; ask has_depth() first")
    flat = zip(*(image.reshape(-1, *image.shape[-2:]) for image in (depth, alpha, truth)), strict=True)
    errors = [(found - true).abs()[(true > 0) & (shown > FOREGROUND)].quantile(0.5) for found, shown, true in flat]
    return torch.stack(errors).reshape(truth.shape[:-3])


def depth_within(
    depth: Float[Tensor, "*batch 1 h w"],
    alpha: Float[Tensor, "*batch 1 h w"],
    truth: Float[Tensor, "*batch 1 h w"],
    share: float = TOLERANCE,
) -> Float[Tensor, "*batch"]:
    """Share of the pixels with a true depth whose rendered surface lies within `share` of it; a hole counts as a miss.

    Raises:
        ValueError: an image has no true depth.
    """
    true = truth > 0
    total = true.flatten(-3).sum(dim=-1, dtype=torch.float64)
    if not total.all():
        raise ValueError("an image has no true depth, so that no share of it can be right")
    right = true & (alpha > FOREGROUND) & ((depth - truth).abs() <= share * truth)
    return right.flatten(-3).sum(dim=-1, dtype=torch.float64) / total
