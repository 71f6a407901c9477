"""How good one picture is: share of the foreground, clipping, sharpness, exposure."""

from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Float32

from gslrm.proof.silhouettes import FOREGROUND, Silhouette

LUMINANCE = (0.299, 0.587, 0.114)
SATURATED = 254 / 255
SMOOTHING = 1.0  # px: takes away the noise of single pixels, which would pass for detail
INNER = 4  # px from the outline: neither the edge nor its smoothed flanks
MIN_INNER = 50  # pixels from which figures of the inside mean something
MIN_SLOPE = 0.25 / 255  # per px: where nothing has any texture, sharpness cannot be told


@dataclass(frozen=True)
class Quality:
    """Figures of one view; exposures are luminance from 0 to 1, NaN where there is nothing to measure.

    `clipped` is the share of the outline that lies on the image's border. `sharpness` is the root mean square Laplacian
    over the root mean square gradient inside the mask (1/px): it knows neither contrast nor brightness, and falls like
    one over the width of the blur. `saturated` is the share of foreground pixels with a channel at its end.
    """

    share: float
    clipped: float
    sharpness: float
    exposure: float
    darkest: float
    brightest: float
    background: float
    saturated: float


def quality(image: np.ndarray, coverage: Float32[np.ndarray, "h w"], found: Silhouette | None) -> Quality:
    """Measure one view: image uint8 or float [H, W, 3] in RGB, its mask, and the mask's silhouette if it has one."""
    scale = np.float32(1 / 255) if image.dtype == np.uint8 else np.float32(1)
    mask = coverage > FOREGROUND
    background = _luminance(image[::4, ::4], scale)[~mask[::4, ::4]]
    if found is None:
        nothing = float("nan")
        return Quality(0.0, 0.0, nothing, nothing, nothing, nothing, _median(background), nothing)
    (left, top), (right, bottom) = found.box.astype(int)
    window = np.s_[max(top - 1, 0) : bottom + 2, max(left - 1, 0) : right + 2]
    pixels, inside = image[window][mask[window]], _luminance(image[window], scale)
    foreground = inside[mask[window]]
    darkest, exposure, brightest = np.quantile(foreground, [0.05, 0.5, 0.95])
    return Quality(
        share=float(mask.mean()),
        clipped=float(found.on_border.mean()),
        sharpness=_sharpness(inside, found.distance[window] > INNER),
        exposure=float(exposure),
        darkest=float(darkest),
        brightest=float(brightest),
        background=_median(background),
        saturated=float((pixels.max(axis=1) * scale >= SATURATED).mean()),
    )


def _luminance(image: np.ndarray, scale: np.float32) -> Float32[np.ndarray, "h w"]:
    return image.astype(np.float32) @ (scale * np.array(LUMINANCE, np.float32))


def _sharpness(luminance: Float32[np.ndarray, "h w"], inner: np.ndarray) -> float:
    if inner.sum() < MIN_INNER:
        return float("nan")
    smooth = cv2.GaussianBlur(luminance, (0, 0), SMOOTHING)
    squared = sum(cv2.Sobel(smooth, cv2.CV_32F, dx, 1 - dx, scale=1 / 8)[inner] ** 2 for dx in (1, 0))
    slope = float(np.sqrt(np.mean(squared)))
    curvature = float(np.sqrt(np.mean(cv2.Laplacian(smooth, cv2.CV_32F)[inner] ** 2)))
    return curvature / slope if slope > MIN_SLOPE else float("nan")


def _median(values: np.ndarray) -> float:
    return float(np.median(values)) if len(values) else float("nan")
