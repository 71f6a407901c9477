"""Scores of rendered views against ground truth: pure functions, one number per image.

Images `[*, 3, h, w]` are RGB in [0, 1]; renderings are clamped to it, as a file of them would be. Masks and alphas
`[*, 1, h, w]` are coverages, and a pixel is foreground where they exceed 0.5.

What to trust (measured on mice that fill 5 % of the image): `psnr` says nothing, white paper scores 15 to 18 dB;
`psnr_foreground` hides wrong silhouettes; `psnr_crop`, `mask_iou` of the rendered alpha and `ssim_crop` are the ones
to compare, at cameras that were not given.
"""

import math
from collections.abc import Callable, Mapping, Sequence

import torch
from jaxtyping import Bool, Float, Int
from pytorch_msssim import ssim as windowed_ssim
from torch import Tensor

from gslrm.cameras import Cameras
from gslrm.types import Rendering, Views

MAX_PSNR = 100.0  # dB, of identical images: infinity could not be averaged
SSIM_WINDOW = 11  # pixels, Gaussian with a standard deviation of 1.5
CROP_GROWTH = 0.1  # of the bounding box's sides, half of it on either side
FOREGROUND = 0.5
COLOUR_THRESHOLD = 0.1  # mean absolute distance to the background; ground truth of mice on white scores an IoU of .978

Score = Callable[[Tensor, Tensor], Tensor]


def psnr(rendering: Float[Tensor, "*batch 3 h w"], target: Float[Tensor, "*batch 3 h w"]) -> Float[Tensor, "*batch"]:
    """Peak signal-to-noise ratio over all pixels in dB, at most `MAX_PSNR`."""
    return _decibels(_squared_error(rendering, target).mean(dim=(-3, -2, -1)))


def psnr_foreground(
    rendering: Float[Tensor, "*batch 3 h w"],
    target: Float[Tensor, "*batch 3 h w"],
    mask: Float[Tensor, "*batch 1 h w"],
) -> Float[Tensor, "*batch"]:
    """PSNR over the mask's pixels.

    Raises:
        ValueError: a mask has no foreground.
    """
    inside = _foreground(mask).double()
    error = (_squared_error(rendering, target) * inside).sum(dim=(-3, -2, -1))
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

    Always in float32: in half precision the variances cancel, and on white paper the result is wrong by factors.

    Raises:
        ValueError: the image is smaller than the window.
    """
    if min(target.shape[-2:]) < SSIM_WINDOW:
        raise ValueError(f"SSIM needs images of at least {SSIM_WINDOW} pixels, got {tuple(target.shape[-2:])}")
    images = [image.float().reshape(-1, *image.shape[-3:]) for image in (rendering, target)]
    with torch.autocast(target.device.type, enabled=False):
        values = windowed_ssim(images[0].clamp(0, 1), images[1], data_range=1.0, size_average=False)
    return values.reshape(target.shape[:-3])


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


def mask_iou(alpha: Float[Tensor, "*batch 1 h w"], mask: Float[Tensor, "*batch 1 h w"]) -> Float[Tensor, "*batch"]:
    """Intersection over union of the rendered silhouette (alpha above 0.5) and the mask.

    Raises:
        ValueError: a mask has no foreground.
    """
    return _iou(alpha > FOREGROUND, _foreground(mask))


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
    return _iou(distance > threshold, _foreground(mask))


def has_foreground(mask: Float[Tensor, "*batch 1 h w"]) -> Bool[Tensor, "*batch"]:
    """Whether each mask has a foreground pixel; the scores that take a mask are undefined without."""
    return (mask > FOREGROUND).flatten(-3).any(dim=-1)


def score_view(
    rgb: Float[Tensor, "3 h w"],
    alpha: Float[Tensor, "1 h w"],
    target: Float[Tensor, "3 h w"],
    mask: Float[Tensor, "1 h w"],
) -> dict[str, float]:
    """All scores of one view; those of the foreground are left out where the animal is not in the picture."""
    scores = {"psnr": psnr(rgb, target), "ssim": ssim(rgb, target)}
    if has_foreground(mask):
        scores |= {
            "psnr_fg": psnr_foreground(rgb, target, mask),
            "psnr_crop": psnr_crop(rgb, target, mask),
            "ssim_crop": ssim_crop(rgb, target, mask),
            "mask_iou": mask_iou(alpha, mask),
        }
    return {name: score.item() for name, score in scores.items()}


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


def white_baseline(target: Views) -> Rendering:
    """The rendering of nothing on white paper: what every method has to beat."""
    empty = torch.zeros_like(target.masks)
    return Rendering(torch.ones_like(target.images), empty, empty)


def nearest_input_view(target: Cameras, inputs: Cameras, center: Float[Tensor, "3"]) -> Int[Tensor, "*batch t"]:
    """For every target camera `[*, t]` the index of the input camera `[*, v]` that sees `center` most alike.

    Copying that input view is the baseline of a method without any 3D.
    """
    toward_target = torch.nn.functional.normalize(target.position - center, dim=-1)
    toward_input = torch.nn.functional.normalize(inputs.position - center, dim=-1)
    return (toward_target @ toward_input.mT).argmax(dim=-1)


def crop_box(mask: Float[Tensor, "1 h w"]) -> tuple[slice, slice]:
    """Rows and columns of the mask's bounding box grown by 10 %, at least a window of SSIM, inside the image.

    Raises:
        ValueError: the mask has no foreground.
    """
    inside = _foreground(mask)[0]
    rows, columns = inside.any(dim=1).nonzero()[:, 0], inside.any(dim=0).nonzero()[:, 0]
    return _grown(rows, inside.shape[0]), _grown(columns, inside.shape[1])


def _grown(occupied: Int[Tensor, " n"], size: int) -> slice:
    first, stop = int(occupied[0]), int(occupied[-1]) + 1
    margin = max(round(CROP_GROWTH / 2 * (stop - first)), math.ceil((SSIM_WINDOW - (stop - first)) / 2))
    start = max(0, min(first - margin, size - SSIM_WINDOW))
    return slice(start, min(size, max(stop + margin, SSIM_WINDOW)))


def _on_crops(score: Score, rendering: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """`score` of each image's crop; crops differ in size, so one at a time."""
    flat = zip(*(image.reshape(-1, *image.shape[-3:]) for image in (rendering, target, mask)), strict=True)
    values = []
    for image, truth, coverage in flat:
        rows, columns = crop_box(coverage)
        values.append(score(image[..., rows, columns], truth[..., rows, columns]))
    return torch.stack(values).reshape(target.shape[:-3])


def _foreground(mask: Tensor) -> Tensor:
    if not has_foreground(mask).all():
        empty = (~has_foreground(mask)).flatten().nonzero()[:, 0].tolist()
        raise ValueError(f"no pixel of the mask exceeds {FOREGROUND} (images {empty}); ask has_foreground() first")
    return mask > FOREGROUND


def _squared_error(rendering: Tensor, target: Tensor) -> Tensor:
    return (rendering.double().clamp(0, 1) - target.double()).square()


def _decibels(mean_squared_error: Tensor) -> Tensor:
    return -10 * mean_squared_error.clamp_min(10 ** (-MAX_PSNR / 10)).log10()


def _iou(predicted: Tensor, truth: Tensor) -> Tensor:
    intersection = (predicted & truth).flatten(-3).sum(dim=-1).double()
    return intersection / (predicted | truth).flatten(-3).sum(dim=-1)
