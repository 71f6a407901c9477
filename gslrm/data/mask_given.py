"""Masks that somebody else made: pictures or mask videos, white backgrounds."""

import cv2
import numpy as np
from jaxtyping import Float, UInt8, UInt16

from gslrm.data.masks import mask_from_white

AWAY = 3  # pixels from the outline from which a mask that was hard shows nothing but its codec's ringing
FAR = 12  # pixels from the outline from which it shows nothing at all
PEAKS = 0.01  # of the inexact pixels: ringing has crests, a feathered edge only falls
SMOOTHING = 0.7  # pixels: edge of a mask that was hard
BLACK = 16  # levels: undistortion and padding leave black, video black is 16
DARKEST_PAPER = 128  # below, a threshold no longer means white


def threshold_given(grey: UInt8[np.ndarray, "h w"] | UInt16[np.ndarray, "h w"]) -> Float[np.ndarray, "h w"]:
    """Coverage from a grey mask of any range.

    A mask from a lossy video rings around its outline: it is thresholded half-way and gets a soft edge of about a
    pixel. Any other mask is soft on purpose and kept as it is. Masks of 0 and 1, and 8-bit values in 16 bits, are
    understood too.
    """
    value = grey.astype(np.float32) / np.float32(_full_scale(grey))
    return soft_edge(value > 0.5) if _rings(value) else value


def _full_scale(grey: np.ndarray) -> int:
    highest = int(grey.max(initial=0))
    if highest == 1:  # either a mask of 0 and 1, or a codec's noise on black, which nowhere fills a square
        kernel = np.ones((3, 3), np.uint8)
        return 1 if cv2.erode((grey > 0).astype(np.uint8), kernel).any() else 255
    return 255 if highest <= 255 else 65535


def _rings(value: np.ndarray) -> bool:
    """Whether values off the outline are neither exact nor fall steadily away from it."""
    solid = (value > 0.5).astype(np.uint8)
    distance = cv2.distanceTransform(solid, cv2.DIST_L2, 5) + cv2.distanceTransform(1 - solid, cv2.DIST_L2, 5)
    error = np.abs(value - solid)
    far = error[distance >= FAR]
    if len(far) and np.median(far) > 0:
        return True  # the range of video, or a codec's noise everywhere
    around = np.ones((3, 3), np.uint8)
    around[1, 1] = 0
    off = (distance >= AWAY) & (error > 0)
    peaks = off & (error > cv2.dilate(error, around))
    return bool(peaks.sum() > PEAKS * off.sum())


def soft_edge(mask: np.ndarray) -> Float[np.ndarray, "h w"]:
    """A boolean [H, W] mask with an edge of about a pixel; pixels away from the outline stay exactly 0 or 1."""
    blurred = cv2.GaussianBlur(mask.astype(np.float32), (3, 3), SMOOTHING)
    return np.clip(blurred, 0, 1)


def from_white(image: UInt8[np.ndarray, "h w 3"], threshold: int = 250) -> Float[np.ndarray, "h w"]:
    """Coverage of what is not white: hard 0 or 1, with black undistortion borders left out.

    Black that is connected to the picture's border is taken for the border of an undistorted picture unless an object
    that is not black joins it: black fur that leaves the picture stays with the animal.

    Raises:
        ValueError: `threshold` (of 255) is too dark to mean white.
    """
    if not DARKEST_PAPER <= threshold <= 255:
        raise ValueError(f"a threshold of {threshold} does not mean white; use 128 to 255")
    coverage = mask_from_white(image.astype(np.float32) / 255, threshold)
    coverage[black_border(image)] = 0
    return coverage


def black_border(image: UInt8[np.ndarray, "h w 3"]) -> np.ndarray:
    """Boolean [H, W]: black that undistortion or padding has left along the picture's border.

    Such black is uniform and reaches from the border inwards; a black animal at the border has texture.
    """
    dark = (image.max(axis=2) <= BLACK).astype(np.uint8)
    count, labels, parts, _ = cv2.connectedComponentsWithStats(dark, connectivity=4)
    height, width = dark.shape
    left, top, wide, high, _ = parts.T
    touching = (left == 0) | (top == 0) | (left + wide == width) | (top + high == height)
    level = image.max(axis=2).astype(np.float64).reshape(-1)
    size = np.maximum(np.bincount(labels.reshape(-1), minlength=count), 1)
    mean = np.bincount(labels.reshape(-1), level, minlength=count) / size
    spread = np.sqrt(np.maximum(np.bincount(labels.reshape(-1), level**2, minlength=count) / size - mean**2, 0))
    border = touching & (spread <= 2.0)
    border[0] = False
    return border[labels]
