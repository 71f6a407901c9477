"""Log odds that a pixel shows the object, from how it differs from the empty scene."""

from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from gslrm.compiled import kernel
from gslrm.data.mask_exposure import OPPONENT, Exposure

CERTAIN = 8.0  # log odds are clipped here: one pixel is never surer than that
UNSEEN_COLOUR = 6.0  # the object hardly ever has the background's colour here: no departure is strong evidence
SHARED_COLOUR = 4.0  # the object often has it: fur over a dark wall
NEGATIVE_OF_SHARED = 1.0  # there, looking like the background says little: fur is smooth over many pixels
CORRELATION = 0.6  # share of the squared departure that counts: codec noise is not independent between pixels
COARSE_NOISE = (0.4, 1.0)  # variance of luma and chroma after the wide filter, of that after the narrow one: codecs
# leave chroma in blocks that no filter averages
COARSE_RANGE = 1.6  # of a pixel's noise
COLOUR_CELLS = 32
FEWEST_CERTAIN = 50  # pixels from which the object's colours are learnt
DEEPEST_SHADOW = 0.5  # of the light: what is left in a shadow, where no shadow can be measured
DARKEST_UMBRA = 0.3
LIT = 120.0  # brightness of the background from which shadows are measured
SCALE_OF_DETECTION = 4


@dataclass(frozen=True)
class Evidence:
    """What one frame says within `box`.

    `odds` are log odds of object against background or shadow. `background` is the exposed plate in levels.
    """

    box: tuple[slice, slice]
    odds: Float[np.ndarray, "h w"]
    background: Float[np.ndarray, "h w 3"]


def edges(plate: UInt8[np.ndarray, "h w 3"]) -> Float[np.ndarray, "h w"]:
    """Brightness gradient of a plate in levels per pixel: where it is steep, the least vibration is a departure."""
    grey = cv2.GaussianBlur(cv2.cvtColor(plate, cv2.COLOR_RGB2GRAY).astype(np.float32), (0, 0), 1)
    return cv2.magnitude(*(cv2.Sobel(grey, cv2.CV_32F, 1 - k, k, scale=1 / 8) for k in (0, 1)))


def changed_box(
    departure: Float[np.ndarray, "h w 3"],
    plate: UInt8[np.ndarray, "h w 3"],
    gradient: Float[np.ndarray, "h w"],
    exposure: Exposure,
    *,
    margin: int = 24,
) -> tuple[slice, slice] | None:
    """The box around all that is neither the empty scene nor a shadow on it, judged on blocks of 4 x 4 pixels."""
    height, width = plate.shape[:2]
    size = (max(width // SCALE_OF_DETECTION, 1), max(height // SCALE_OF_DETECTION, 1))
    coarse = [cv2.resize(array, size, interpolation=cv2.INTER_AREA) for array in (departure, plate, gradient)]
    likeness = np.zeros(coarse[2].shape, np.float32)
    misfit, _ = _misfit(coarse[0], exposure.expected(coarse[1]), coarse[2], likeness, exposure)
    hot = (misfit > 2 * (UNSEEN_COLOUR + 1)).astype(np.uint8)
    _, _, parts, _ = cv2.connectedComponentsWithStats(hot, connectivity=8)
    parts = parts[1:][parts[1:, cv2.CC_STAT_AREA] >= 4]
    if not len(parts):
        return None
    low = SCALE_OF_DETECTION * parts[:, :2].min(axis=0) - margin
    high = SCALE_OF_DETECTION * (parts[:, :2] + parts[:, 2:4]).max(axis=0) + margin
    return slice(max(low[1], 0), min(high[1], height)), slice(max(low[0], 0), min(high[0], width))


def weigh(
    departure: Float[np.ndarray, "h w 3"],
    plate: UInt8[np.ndarray, "h w 3"],
    gradient: Float[np.ndarray, "h w"],
    exposure: Exposure,
    box: tuple[slice, slice],
) -> Evidence:
    """Log odds within a box.

    The departure is judged at two widths; the wider filter sees fur over a wall of nearly its colour. Colours that are
    certainly the object's are learnt in passing: where the background has such a colour a small departure suffices and
    none says little, and what has such a colour is less likely a shadow.
    """
    departure, gradient = np.ascontiguousarray(departure[box]), np.ascontiguousarray(gradient[box])
    background = exposure.expected(np.ascontiguousarray(plate[box]))
    nothing = np.zeros(gradient.shape, np.float32)
    misfit, light = _misfit(departure, background, gradient, nothing, exposure)
    seen = background + departure
    certain = misfit > 2 * (UNSEEN_COLOUR + CERTAIN)
    deepest = _deepest_shadow(light, background, misfit, certain)
    shared, likeness = nothing, nothing
    if certain.sum() >= FEWEST_CERTAIN:
        colours = _colours(seen[certain])
        shared, likeness = _look_up(colours, background), _look_up(colours, seen)
    averaged = cv2.bilateralFilter(departure, 11, COARSE_RANGE * exposure.pixel_noise, 4)
    narrow, _ = _misfit(departure, background, gradient, likeness, exposure, deepest=deepest)
    wide, _ = _misfit(averaged, background, gradient, likeness, exposure, deepest=deepest, variance=COARSE_NOISE)
    threshold = UNSEEN_COLOUR + (SHARED_COLOUR - UNSEEN_COLOUR) * shared
    lowest = UNSEEN_COLOUR + (NEGATIVE_OF_SHARED - UNSEEN_COLOUR) * shared
    odds = np.clip(np.maximum(narrow, wide) / 2 - threshold, -lowest, CERTAIN)
    return Evidence(box, odds.astype(np.float32), background)


def _colours(certain: np.ndarray) -> np.ndarray:
    """How often [32, 32, 32] each colour occurs, of the most frequent, smoothed to the neighbouring cells."""
    cells = (np.clip(certain, 0, 255) * (COLOUR_CELLS / 256)).astype(np.intp)
    flat = np.ravel_multi_index(tuple(cells.T), (COLOUR_CELLS,) * 3)
    count = np.bincount(flat, minlength=COLOUR_CELLS**3).reshape((COLOUR_CELLS,) * 3)
    for axis in range(3):
        padded = np.pad(count, [(1, 1) if k == axis else (0, 0) for k in range(3)])
        before, middle, after = (np.take(padded, range(k, k + COLOUR_CELLS), axis=axis) for k in range(3))
        count = before + 2 * middle + after
    return count / count.max()


def _look_up(colours: np.ndarray, picture: np.ndarray) -> np.ndarray:
    """1 where a colour has a tenth of the frequency of the most frequent, less where it is rarer."""
    cells = (np.clip(picture, 0, 255) * (COLOUR_CELLS / 256)).astype(np.intp)
    found = colours.reshape(-1)[(cells[..., 0] * COLOUR_CELLS + cells[..., 1]) * COLOUR_CELLS + cells[..., 2]]
    return np.minimum(10 * found, 1)


def _deepest_shadow(light: np.ndarray, background: np.ndarray, misfit: np.ndarray, certain: np.ndarray) -> float:
    """Share of the light that is left in this frame's umbra, where the background is bright and no outline near."""
    clear = cv2.dilate(certain.astype(np.uint8), np.ones((7, 7), np.uint8)) == 0
    shadow = light[clear & (background.mean(axis=2) > LIT) & (light < 0.9) & (misfit < 2 * UNSEEN_COLOUR)]
    if len(shadow) < 200:
        return DEEPEST_SHADOW
    return max(float(np.percentile(shadow, 3)) - 0.03, DARKEST_UMBRA)


def _misfit(
    departure: np.ndarray,
    background: np.ndarray,
    gradient: np.ndarray,
    likeness: np.ndarray,
    exposure: Exposure,
    *,
    deepest: float = DEEPEST_SHADOW,
    variance: tuple[float, float] = (1.0, 1.0),
) -> tuple[np.ndarray, np.ndarray]:
    """Squared departure in standard deviations from the better of two explanations, and the light a shadow leaves."""
    tables = np.stack([exposure.luma_noise, exposure.chroma_noise]) ** 2 * np.array(variance, np.float32)[:, None]
    misfit, light = np.empty_like(gradient), np.empty_like(gradient)
    _misfit_kernel(departure, background, gradient, likeness, tables, OPPONENT, np.float32(deepest), misfit, light)
    return np.float32(CORRELATION) * misfit, light


VIBRATION = np.float32(0.15)  # pixels
CHROMA_OF_SHADOW = np.float32(0.012)  # of the brightness: skylight in a shadow has a slightly other colour
SHADOW_COST = np.float32(3.0)  # a shadow is rarer than no change
UNLIT_COST = np.float32(4.0)  # where the background is dark there is little light to take
UNLIT = np.float32(60.0)
LIKENESS_COST = np.float32(10.0)
DEEP_COST = np.float32(100.0)  # per unit of light below the deepest shadow


@kernel
def _misfit_kernel(departure, background, gradient, likeness, tables, opponent, deepest, misfit, light):
    height, width = gradient.shape
    third, one, zero = np.float32(1 / 3), np.float32(1), np.float32(0)
    for y in range(height):
        for x in range(width):
            d0, d1, d2 = departure[y, x, 0], departure[y, x, 1], departure[y, x, 2]
            b0, b1, b2 = background[y, x, 0], background[y, x, 1], background[y, x, 2]
            brightness = (b0 + b1 + b2) * third
            level = min(int(brightness), 255)
            shake = VIBRATION * VIBRATION * gradient[y, x] * gradient[y, x]
            luma_variance = tables[0, level] + np.float32(3) * shake
            chroma_variance = tables[1, level] + np.float32(0.1) * shake
            luma = opponent[0, 0] * d0 + opponent[0, 1] * d1 + opponent[0, 2] * d2
            red = opponent[1, 0] * d0 + opponent[1, 1] * d1 + opponent[1, 2] * d2
            green = opponent[2, 0] * d0 + opponent[2, 1] * d1 + opponent[2, 2] * d2
            best = luma * luma / luma_variance + (red * red + green * green) / chroma_variance
            left = one + (d0 * b0 + d1 * b1 + d2 * b2) / (b0 * b0 + b1 * b1 + b2 * b2 + one)
            left = max(min(left, one), np.float32(DARKEST_UMBRA))
            if left < one:
                taken = one - left
                d0, d1, d2 = d0 + taken * b0, d1 + taken * b1, d2 + taken * b2
                luma = opponent[0, 0] * d0 + opponent[0, 1] * d1 + opponent[0, 2] * d2
                red = opponent[1, 0] * d0 + opponent[1, 1] * d1 + opponent[1, 2] * d2
                green = opponent[2, 0] * d0 + opponent[2, 1] * d1 + opponent[2, 2] * d2
                tint = CHROMA_OF_SHADOW * brightness
                unlit = UNLIT / max(brightness, one)
                cost = SHADOW_COST + UNLIT_COST * unlit * unlit + LIKENESS_COST * likeness[y, x]
                cost += DEEP_COST * max(deepest - left, zero)
                shaded = luma * luma / (luma_variance + tint * tint)
                shaded += (red * red + green * green) / (chroma_variance + tint * tint)
                best = min(best, shaded + cost)
            misfit[y, x] = best
            light[y, x] = left
