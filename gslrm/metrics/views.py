"""All scores of one view, and their means."""

import math
from collections.abc import Callable, Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from gslrm.metrics.depth import depth_error, depth_within, has_depth
from gslrm.metrics.images import psnr, psnr_crop, psnr_foreground, ssim, ssim_crop
from gslrm.metrics.masks import colour_mask_iou, has_foreground, mask_iou, mask_precision, mask_recall
from gslrm.types import Rendering, Views

Perceptual = Callable[[Tensor, Tensor], Tensor]


def score_view(
    rgb: Float[Tensor, "3 h w"],
    alpha: Float[Tensor, "1 h w"],
    target: Float[Tensor, "3 h w"],
    mask: Float[Tensor, "1 h w"],
    *,
    background: Float[Tensor, "3"] | None = None,
    perceptual: Perceptual | None = None,
) -> dict[str, float]:
    """All scores of one view; those of the foreground are left out where the animal is not in the picture.

    Args:
        rgb: rendered colours.
        alpha: rendered coverage.
        target: true colours.
        mask: true coverage.
        background: colour behind both, for the silhouette guessed from colour; white if none.
        perceptual: distance of two batches of pictures such as LPIPS, scored as `lpips`.
    """
    scores = {"psnr": psnr(rgb, target), "ssim": ssim(rgb, target)}
    if perceptual is not None:
        scores["lpips"] = perceptual(rgb[None].clamp(0, 1), target[None])
    if has_foreground(mask):
        scores |= {
            "psnr_fg": psnr_foreground(rgb, target, mask),
            "psnr_crop": psnr_crop(rgb, target, mask),
            "ssim_crop": ssim_crop(rgb, target, mask),
            "mask_iou": mask_iou(alpha, mask),
            "mask_precision": mask_precision(alpha, mask),
            "mask_recall": mask_recall(alpha, mask),
            "mask_iou_colour": colour_mask_iou(rgb, mask, torch.ones(3) if background is None else background),
        }
    return {name: score.item() for name, score in scores.items()}


def score_depth(rendering: Rendering, truth: Float[Tensor, "*batch 1 h w"]) -> dict[str, float]:
    """Depth scores of one rendered view `[1]` against a true depth; none where the truth has no surface.

    `depth_error` is left out where the rendering has no surface to compare; `depth_within` is 0 there.
    """
    if not (truth > 0).any():
        return {}
    scores = {"depth_within": depth_within(rendering.depth, rendering.alpha, truth)}
    if has_depth(rendering.alpha, truth).all():
        scores["depth_error"] = depth_error(rendering.depth, rendering.alpha, truth)
    return {name: score.item() for name, score in scores.items()}


def score(
    rendering: Rendering,
    truth: Views,
    depth: Float[Tensor, "1 1 h w"] | None = None,
    *,
    perceptual: Perceptual | None = None,
) -> dict[str, float]:
    """All scores of one view [1] on white, those of depth where a true depth is known."""
    images = (rendering.rgb[0], rendering.alpha[0], truth.images[0], truth.masks[0])
    scores = score_view(*images, perceptual=perceptual)
    return scores if depth is None else scores | score_depth(rendering, depth)


def average(scores: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Mean of every score over the views (or samples) that have it.

    Raises:
        ValueError: there is nothing to average.
    """
    if not scores:
        raise ValueError("no scores to average")
    names = dict.fromkeys(name for score in scores for name in score)  # in order of appearance
    values = {name: [score[name] for score in scores if name in score] for name in names}
    return {name: math.fsum(value) / len(value) for name, value in values.items()}
