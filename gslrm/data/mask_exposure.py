"""How an empty scene looks in one frame: exposure against the plate, sensor noise, what has departed from it."""

from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Float, UInt8

COARSE = 8  # blocks of this many pixels are averaged before exposures are compared
FIT_ROUNDS = 15
OFFSET_SPREAD = 5.0  # levels of 255: black levels rarely move more, so a scene without contrast leaves them alone
SATURATED = 250
NOISE_BINS = 8
NOISE_STRIDE = 4
LEAST_LUMA_NOISE = 1.0  # levels; quantisation and codecs leave this much even without a sensor
LEAST_CHROMA_NOISE = 1.0
NORMAL_FROM_MAD = 1.4826
RANGE_OF_NOISE = 4.0  # differences above this are edges of an object, which denoising must keep
OPPONENT = (np.array([[1, 1, 1], [1, 0, -1], [1, -2, 1]]) / np.sqrt([[3], [2], [6]])).astype(np.float32)
"""Orthonormal luma and two chroma axes: sensor and codec noise is several times larger in the first."""


@dataclass(frozen=True)
class Exposure:
    """What a frame shows where nothing has changed: `gain` * plate + `offset`, clipped, in levels of 255, per channel.

    `luma_noise` and `chroma_noise` [256] are standard deviations of the denoised departure at each brightness.
    `pixel_noise` is that of one pixel of one channel before denoising.
    """

    gain: Float[np.ndarray, "3"]
    offset: Float[np.ndarray, "3"]
    pixel_noise: float
    luma_noise: Float[np.ndarray, "256"]
    chroma_noise: Float[np.ndarray, "256"]

    def expected(self, plate: UInt8[np.ndarray, "h w 3"]) -> Float[np.ndarray, "h w 3"]:
        """The plate under this exposure, float32 in levels."""
        levels = np.arange(256, dtype=np.float32)[:, None]
        table = np.clip(levels * self.gain + self.offset, 0, 255).astype(np.float32)
        return cv2.merge([cv2.LUT(np.ascontiguousarray(plate[..., k]), table[:, k]) for k in range(3)])


def compare(
    image: UInt8[np.ndarray, "h w 3"], plate: UInt8[np.ndarray, "h w 3"]
) -> tuple[Exposure, Float[np.ndarray, "h w 3"]]:
    """The exposure of a frame and its denoised departure from the exposed plate, in levels.

    An object, its shadow and specks may cover up to about a third of the picture. Denoising is bilateral: it averages
    only differences within a few standard deviations of the noise, so outlines stay where they are.
    """
    gain, offset = _exposure(image, plate)
    plain = Exposure(gain, offset, 0.0, np.zeros(256, np.float32), np.zeros(256, np.float32))
    expected = plain.expected(plate)
    departure = cv2.subtract(image, expected, dtype=cv2.CV_32F)
    thin = (slice(None, None, NOISE_STRIDE), slice(None, None, NOISE_STRIDE))
    noise = max(float(_spread(departure[thin].reshape(-1, 3)).mean()), LEAST_LUMA_NOISE)
    denoised = cv2.bilateralFilter(departure, 5, RANGE_OF_NOISE * noise, 2)
    luma, chroma = _noise_tables(denoised[thin] @ OPPONENT.T, expected[thin].mean(axis=2))
    return Exposure(gain, offset, noise, luma, chroma), denoised


def _exposure(image: np.ndarray, plate: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Gain and offset of each channel by reweighted least squares (Geman and McClure's weights)."""
    size = (max(image.shape[1] // COARSE, 1), max(image.shape[0] // COARSE, 1))
    seen, known = (
        cv2.resize(picture, size, interpolation=cv2.INTER_AREA).reshape(-1, 3).astype(np.float64)
        for picture in (image, plate)
    )
    fits = [_line(known[:, k], seen[:, k]) for k in range(3)]
    gain, offset = np.array(fits, np.float32).T
    return gain, offset


def _line(known: np.ndarray, seen: np.ndarray) -> tuple[float, float]:
    clear = (known < SATURATED) & (seen < SATURATED)
    if clear.sum() < 2:
        return 1.0, 0.0
    known, seen = known[clear], seen[clear]
    bright = known >= np.median(known)
    gain, offset = float(np.median(seen[bright] / np.maximum(known[bright], 1.0))), 0.0
    for _ in range(FIT_ROUNDS):
        residual = seen - gain * known - offset
        scale = max(NORMAL_FROM_MAD * float(np.median(np.abs(residual))), 0.3)
        weight = (1 + (residual / (2 * scale)) ** 2) ** -2.0
        tether = 0.01 * weight.sum() * (scale / OFFSET_SPREAD) ** 2
        cross, weighted = (weight * known).sum(), (weight * known * known).sum() + 1e-9
        right = np.array([(weight * known * seen).sum(), (weight * seen).sum()])
        gain, offset = np.linalg.solve([[weighted, cross], [cross, weight.sum() + tether + 1e-9]], right)
    return float(gain), float(offset)


def _noise_tables(opponent: np.ndarray, brightness: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Luma and chroma noise [256] at each brightness, from bins that hold equally many pixels."""
    edges = np.quantile(brightness, np.linspace(0, 1, NOISE_BINS + 1))
    centres, spreads = [], []
    for low, high in zip(edges[:-1], edges[1:], strict=True):
        chosen = (brightness >= low) & (brightness <= high)
        centres.append(brightness[chosen].mean())
        spreads.append(_spread(opponent[chosen]))
    levels, spread = np.arange(256), np.array(spreads)
    luma = np.interp(levels, centres, spread[:, 0])
    chroma = np.interp(levels, centres, spread[:, 1:].max(axis=1))
    return (
        np.maximum(luma, LEAST_LUMA_NOISE).astype(np.float32),
        np.maximum(chroma, LEAST_CHROMA_NOISE).astype(np.float32),
    )


def _spread(values: np.ndarray) -> np.ndarray:
    """Standard deviation of each column, from the median deviation: an object in the picture does not matter."""
    return NORMAL_FROM_MAD * np.median(np.abs(values - np.median(values, axis=0)), axis=0)
