"""Silhouettes against masks: overlap, precision, recall."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

FOREGROUND = 0.5
COLOUR_THRESHOLD = 0.1  # mean absolute distance to the background; ground truth of mice on white scores an IoU of .978


def has_foreground(mask: Float[Tensor, "*batch 1 h w"]) -> Bool[Tensor, "*batch"]:
    """Whether each mask has a foreground pixel; the scores that take a mask are undefined without."""
    return (mask > FOREGROUND).flatten(-3).any(dim=-1)


def foreground(mask: Float[Tensor, "*batch 1 h w"]) -> Bool[Tensor, "*batch 1 h w"]:
    """The mask's pixels.

    Raises:
        ValueError: a mask has no foreground.
    """
    present = has_foreground(mask)
    if not present.all():
        empty = (~present).flatten().nonzero()[:, 0].tolist()
        raise ValueError(f"no pixel of the mask exceeds {FOREGROUND} (images {empty}); ask has_foreground() first")
    return mask > FOREGROUND


def mask_iou(alpha: Float[Tensor, "*batch 1 h w"], mask: Float[Tensor, "*batch 1 h w"]) -> Float[Tensor, "*batch"]:
    """Intersection over union of the rendered silhouette (alpha above 0.5) and the mask.

    Raises:
        ValueError: a mask has no foreground.
    """
    return _iou(alpha > FOREGROUND, foreground(mask))


def mask_precision(
    alpha: Float[Tensor, "*batch 1 h w"], mask: Float[Tensor, "*batch 1 h w"]
) -> Float[Tensor, "*batch"]:
    """Share of the rendered silhouette (alpha above 0.5) that lies in the mask; 0 of an empty rendering.

    Raises:
        ValueError: a mask has no foreground.
    """
    predicted = alpha > FOREGROUND
    return _count(predicted & foreground(mask)) / _count(predicted).clamp_min(1)


def mask_recall(alpha: Float[Tensor, "*batch 1 h w"], mask: Float[Tensor, "*batch 1 h w"]) -> Float[Tensor, "*batch"]:
    """Share of the mask that the rendered silhouette (alpha above 0.5) covers.

    Raises:
        ValueError: a mask has no foreground.
    """
    truth = foreground(mask)
    return _count((alpha > FOREGROUND) & truth) / _count(truth)


def colour_mask_iou(
    rendering: Float[Tensor, "*batch 3 h w"],
    mask: Float[Tensor, "*batch 1 h w"],
    background: Float[Tensor, "*#batch 3"],
    threshold: float = COLOUR_THRESHOLD,
) -> Float[Tensor, "*batch"]:
    """`mask_iou` with a silhouette guessed from colour: mean absolute distance to the background above `threshold`.

    For renderings without alpha only: the guess loses pale fur even on ground truth.

    Raises:
        ValueError: a mask has no foreground.
    """
    distance = (rendering - background[..., None, None]).abs().mean(dim=-3, keepdim=True)
    return _iou(distance > threshold, foreground(mask))


def _iou(predicted: Tensor, truth: Tensor) -> Tensor:
    return _count(predicted & truth) / _count(predicted | truth)


def _count(pixels: Tensor) -> Tensor:
    return pixels.flatten(-3).sum(dim=-1, dtype=torch.float64)
