"""Scores of renderings and of Gaussians against ground truth: pure functions, one number per image.

Images `[*, 3, h, w]` are RGB in [0, 1]; renderings are clamped to it, as a file of them would be. Masks and alphas
`[*, 1, h, w]` are coverages, and a pixel is foreground where they exceed 0.5.

What to trust (measured on mice that fill 5 % of the image): `psnr` says nothing, white paper scores 15 to 18 dB;
`psnr_foreground` hides wrong silhouettes; `psnr_crop`, `mask_iou` of the rendered alpha and `ssim_crop` are the ones
to compare, at cameras that were not given.
"""

from gslrm.metrics.depth import depth_error, depth_within
from gslrm.metrics.geometry import background_sighting, floater_share, gaussian_statistics, outside_hull, surface_scores
from gslrm.metrics.images import MAX_PSNR, SSIM_WINDOW, crop_box, psnr, psnr_crop, psnr_foreground, ssim, ssim_crop
from gslrm.metrics.masks import (
    COLOUR_THRESHOLD,
    FOREGROUND,
    colour_mask_iou,
    has_foreground,
    mask_iou,
    mask_precision,
    mask_recall,
)
from gslrm.metrics.trivial import nearest_input_view, white_baseline
from gslrm.metrics.views import average, score, score_depth, score_view

__all__ = [
    "COLOUR_THRESHOLD",
    "FOREGROUND",
    "MAX_PSNR",
    "SSIM_WINDOW",
    "average",
    "background_sighting",
    "colour_mask_iou",
    "crop_box",
    "depth_error",
    "depth_within",
    "floater_share",
    "gaussian_statistics",
    "has_foreground",
    "mask_iou",
    "mask_precision",
    "mask_recall",
    "nearest_input_view",
    "outside_hull",
    "psnr",
    "psnr_crop",
    "psnr_foreground",
    "score",
    "score_depth",
    "score_view",
    "ssim",
    "ssim_crop",
    "surface_scores",
    "white_baseline",
]
