"""Colour errors of pictures: PSNR, SSIM, of whole images, of the foreground, of the object's box."""

import math
from collections.abc import Callable

import cv2
import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from gslrm.metrics.masks import foreground

MAX_PSNR = 100.0  # dB, of identical images: infinity could not be averaged
SSIM_WINDOW, SSIM_SIGMA = 11, 1.5  # pixels across, and standard deviation of the Gaussian
SSIM_CONSTANTS = (0.01, 0.03)  # K1 and K2 of the paper, for values up to 1
CROP_GROWTH = 0.1  # of the bounding box's sides, half of it on either side

Score = Callable[[Tensor, Tensor], Tensor]
Box = tuple[slice, slice]


def psnr(rendering: Float[Tensor, "*batch 3 h w"], target: Float[Tensor, "*batch 3 h w"]) -> Float[Tensor, "*batch"]:
    """Peak signal-to-noise ratio over all pixels in dB, at most `MAX_PSNR`."""
    error = _squared_error(rendering, target)
    return _decibels(error.sum(dim=(-3, -2, -1), dtype=torch.float64) / math.prod(target.shape[-3:]))


def psnr_foreground(
    rendering: Float[Tensor, "*batch 3 h w"],
    target: Float[Tensor, "*batch 3 h w"],
    mask: Float[Tensor, "*batch 1 h w"],
) -> Float[Tensor, "*batch"]:
    """PSNR over the mask's pixels.

    Raises:
        ValueError: a mask has no foreground.
    """
    inside = foreground(mask)
    error = (_squared_error(rendering, target) * inside).sum(dim=(-3, -2, -1), dtype=torch.float64)
    return _decibels(error / (3 * inside.sum(dim=(-3, -2, -1))))


def psnr_crop(
    rendering: Float[Tensor, "*batch 3 h w"],
    target: Float[Tensor, "*batch 3 h w"],
    mask: Float[Tensor, "*batch 1 h w"],
) -> Float[Tensor, "*batch"]:
    """PSNR inside the mask's bounding box grown by 10 %.

    Raises:
        ValueError: a mask has no foreground.
    """
    return _on_crops(psnr, rendering, target, mask)


def ssim(rendering: Float[Tensor, "*batch 3 h w"], target: Float[Tensor, "*batch 3 h w"]) -> Float[Tensor, "*batch"]:
    """Structural similarity (Wang et al. 2004), mean over the channels and the windows that lie inside the image.

    Always in float32: in half precision the variances cancel, and on white paper the result is wrong by factors. It is
    no loss: gradients do not pass.

    Raises:
        ValueError: the image is smaller than the window.
    """
    if min(target.shape[-2:]) < SSIM_WINDOW:
        raise ValueError(f"SSIM needs images of at least {SSIM_WINDOW} pixels, got {tuple(target.shape[-2:])}")
    images = [image.detach().cpu().float().reshape(-1, *image.shape[-3:]) for image in (rendering.clamp(0, 1), target)]
    values = [_ssim(rendered, truth) for rendered, truth in zip(*images, strict=True)]
    return torch.tensor(values, device=target.device).reshape(target.shape[:-3])


def ssim_crop(
    rendering: Float[Tensor, "*batch 3 h w"],
    target: Float[Tensor, "*batch 3 h w"],
    mask: Float[Tensor, "*batch 1 h w"],
) -> Float[Tensor, "*batch"]:
    """SSIM inside the mask's bounding box grown by 10 %, at least a window.

    Raises:
        ValueError: a mask has no foreground.
    """
    return _on_crops(ssim, rendering, target, mask)


def crop_box(mask: Float[Tensor, "1 h w"]) -> Box:
    """Rows and columns of the mask's bounding box grown by 10 %, at least a window of SSIM, inside the image.

    Raises:
        ValueError: the mask has no foreground.
    """
    rows, columns = _extent(foreground(mask)[0])
    return _grown(rows, mask.shape[-2]), _grown(columns, mask.shape[-1])


def _ssim(rendered: Float[Tensor, "3 h w"], truth: Float[Tensor, "3 h w"]) -> float:
    """SSIM of one image from the windows that hold a difference: all others score exactly 1.

    On white paper that is a tenth of the work.
    """
    differs = (rendered != truth).any(dim=0)
    if not differs.any():
        return 1.0
    height, width = differs.shape
    reach = SSIM_WINDOW - 1
    rows, columns = (
        slice(max(0, occupied.start - reach), min(size, occupied.stop + reach))
        for occupied, size in zip(_extent(differs), (height, width), strict=True)
    )
    x, y = (image[:, rows, columns].permute(1, 2, 0).contiguous().numpy() for image in (rendered, truth))
    shortfall = 1 - _window_scores(x, y)
    return 1 - float(shortfall.sum(dtype=np.float64)) / (3 * (height - reach) * (width - reach))


def _window_scores(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """SSIM of every window inside float32 images [h, w, 3]; OpenCV filters four times as fast as a convolution."""
    kernel = cv2.getGaussianKernel(SSIM_WINDOW, SSIM_SIGMA, cv2.CV_32F)
    inside = slice(SSIM_WINDOW // 2, -(SSIM_WINDOW // 2))
    blur = lambda image: cv2.sepFilter2D(image, -1, kernel, kernel)[inside, inside]  # noqa: E731
    mean_x, mean_y = blur(x), blur(y)
    product, squares = mean_x * mean_y, mean_x * mean_x + mean_y * mean_y
    covariance, variances = blur(x * y) - product, blur(x * x + y * y) - squares
    luminance, contrast = (np.float32(constant**2) for constant in SSIM_CONSTANTS)
    return (2 * product + luminance) / (squares + luminance) * (2 * covariance + contrast) / (variances + contrast)


def _extent(pixels: Tensor) -> Box:
    """Rows and columns from the first to the last set pixel [h, w]."""
    rows, columns = pixels.any(dim=1).nonzero()[:, 0], pixels.any(dim=0).nonzero()[:, 0]
    return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)


def _grown(occupied: slice, size: int) -> slice:
    length = occupied.stop - occupied.start
    margin = max(round(CROP_GROWTH / 2 * length), math.ceil((SSIM_WINDOW - length) / 2))
    start = max(0, min(occupied.start - margin, size - SSIM_WINDOW))
    return slice(start, min(size, max(occupied.stop + margin, SSIM_WINDOW)))


def _on_crops(score: Score, rendering: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """`score` of each image's crop; crops differ in size, so one at a time."""
    flat = zip(*(image.reshape(-1, *image.shape[-3:]) for image in (rendering, target, mask)), strict=True)
    values = []
    for image, truth, coverage in flat:
        rows, columns = crop_box(coverage)
        values.append(score(image[..., rows, columns], truth[..., rows, columns]))
    return torch.stack(values).reshape(target.shape[:-3])


def _squared_error(rendering: Tensor, target: Tensor) -> Tensor:
    """In float32 at least; what is summed of it must be summed in float64."""
    return (rendering.clamp(0, 1).float() - target.float()).square()


def _decibels(mean_squared_error: Tensor) -> Tensor:
    return -10 * mean_squared_error.clamp_min(10 ** (-MAX_PSNR / 10)).log10()
