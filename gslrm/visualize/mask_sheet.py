"""One sample's masks as training sees them: a row per view, from the picture to its edge at close range."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from gslrm import metrics
from gslrm.visualize.colours import mask_overlay
from gslrm.visualize.sheet import Column, Picture, fit, sheet

HEADINGS = ("image", "mask", "overlay", "boundary")
CLOSE_MARGIN = 0.12  # of the mask's box: what is shown around it at close range


def mask_sheet(
    images: Float[Tensor, "v 3 h w"], masks: Float[Tensor, "v 1 h w"], names: Sequence[str], title: str = ""
) -> Picture:
    """Image, mask, overlay with contour, and the mask's boundary at close range on the untinted image.

    Images are RGB in [0, 1], masks coverage in [0, 1]. The foreground's share of each picture stands below its name.
    """
    images, masks = images.detach().cpu().float(), masks.detach().cpu().float()
    rows = {}
    for image, mask, name in zip(images, masks, names, strict=True):
        share = (mask > metrics.FOREGROUND).float().mean().item()
        large_image, large_mask = fit(image[None]), fit(mask[None])
        overlay = mask_overlay(large_image, large_mask, large_mask)
        close = _close_up(image, mask, size=large_image.shape[-1])
        rows[f"{name}\n{share:.2%}"] = torch.cat([large_image, large_mask.expand_as(large_image), overlay, close])
    return sheet(rows, [Column(f"{title}\n{heading}" if title else heading) for heading in HEADINGS])


def _close_up(image: Float[Tensor, "3 h w"], mask: Float[Tensor, "1 h w"], size: int) -> Float[Tensor, "1 3 s s"]:
    """The square around the mask with its contour; pixels stay visible, the contour is where coverage crosses 0.5."""
    left, top, side = _square_around(mask[0])
    window = (slice(None), slice(top, top + side), slice(left, left + side))
    pixels = torch.nn.functional.interpolate(image[window][None], (size, size), mode="nearest")
    coverage = torch.nn.functional.interpolate(mask[window][None], (size, size), mode="bilinear", align_corners=False)
    return mask_overlay(pixels, torch.zeros_like(coverage), coverage)


def _square_around(mask: Float[Tensor, "h w"]) -> tuple[int, int, int]:
    """Left, top and side of the square inside the picture around the mask's box; the largest one if it is empty."""
    largest = min(mask.shape)
    row, column = torch.nonzero(mask > metrics.FOREGROUND, as_tuple=True)
    if not len(row):
        return 0, 0, largest
    extent = max(int(row.max() - row.min()), int(column.max() - column.min())) + 1
    side = min(largest, round(extent * (1 + 2 * CLOSE_MARGIN)) + 2)
    corner = [int(axis.max() + axis.min() + 1 - side) // 2 for axis in (column, row)]
    left, top = (min(max(0, c), limit - side) for c, limit in zip(corner, (mask.shape[1], mask.shape[0]), strict=True))
    return left, top, side
