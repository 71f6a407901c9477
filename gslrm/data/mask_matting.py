"""Soft edges of a mask, and colours freed from a background that is known pixel by pixel."""

import cv2
import numpy as np
from jaxtyping import Bool, Float, UInt8

BAND = 2.5  # pixels on both sides of the outline in which coverage may be partial
DEEP = 1.5  # pixels inside the outline from which coverage returns to 1
PLAIN_EDGE = 0.7  # pixels: blur of an outline that the picture does not show
COLOUR_REACH = 2.0  # pixels over which the object's colour is averaged
LIGHT_REACH = 3.0  # pixels over which the light on the background is averaged
NEAR = 12.0  # pixels from the outline within which that light is measured
CONTRAST = (4.0, 12.0)  # in standard deviations of the noise: from not trusting colours at all to trusting them fully


def soften(
    mask: Bool[np.ndarray, "h w"],
    image: UInt8[np.ndarray, "h w 3"],
    background: Float[np.ndarray, "h w 3"],
    noise: float,
) -> tuple[Float[np.ndarray, "h w"], Float[np.ndarray, "h w 3"]]:
    """Coverage in [0, 1] near the outline of a mask, and the background with its shadow there, in levels.

    On the outline a pixel is coverage * object + (1 - coverage) * background. The object's colour comes from just
    inside, the background's from the plate times the light just outside, so coverage follows; where the two colours are
    alike, a plain soft edge takes its place.
    """
    colour_seen = image.astype(np.float32)
    solid = mask.view(np.uint8)
    inside = cv2.distanceTransform(solid, cv2.DIST_L2, 5)
    outside = cv2.distanceTransform(1 - solid, cv2.DIST_L2, 5)
    colour, _ = _average(colour_seen, np.minimum(inside, BAND) ** 3, COLOUR_REACH)
    light = _dot(colour_seen, background) / (_dot(background, background) + 1)
    light, known = _average(light, ((outside > BAND) & (outside < NEAR)).astype(np.float32), LIGHT_REACH)
    light = np.where(known > 1e-3, np.clip(light, 0.2, 1.1), 1)
    shaded = background * light[..., None].astype(np.float32)
    axis = colour - shaded
    square = _dot(axis, axis)
    matte = np.clip(_dot(colour_seen - shaded, axis) / np.maximum(square, 1), 0, 1)
    low, high = CONTRAST
    trust = np.clip((np.sqrt(square / 3) / noise - low) / (high - low), 0, 1)
    plain = cv2.GaussianBlur(solid.astype(np.float32), (0, 0), PLAIN_EDGE)
    coverage = trust * matte + (1 - trust) * plain
    coverage = np.where(inside > DEEP, np.maximum(coverage, np.clip(inside - DEEP, 0, 1)), coverage)
    coverage = np.where((inside <= BAND) & (outside <= BAND), coverage, solid)
    return coverage.astype(np.float32), shaded


def _dot(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Scalar product of colours; numpy's sum over an axis of three is many times slower."""
    return np.einsum("hwc,hwc->hw", first, second)


def _average(values: np.ndarray, weight: np.ndarray, reach: float) -> tuple[np.ndarray, np.ndarray]:
    """Weighted mean over a Gaussian neighbourhood, and the weight found there."""
    found = cv2.GaussianBlur(weight, (0, 0), reach)
    shape = (*weight.shape, *[1] * (values.ndim - 2))
    total = cv2.GaussianBlur(values * weight.reshape(shape), (0, 0), reach)
    return total / np.maximum(found, 1e-6).reshape(shape), found


def premultiplied(
    image: UInt8[np.ndarray, "h w 3"],
    coverage: Float[np.ndarray, "h w"],
    background: Float[np.ndarray, "h w 3"] | UInt8[np.ndarray, "h w 3"],
) -> Float[np.ndarray, "h w 4"]:
    """Colours weighted by coverage, and the coverage, in [0, 1], with the known background taken out.

    Args:
        image: what the camera saw, levels of 255.
        coverage: share of each pixel that the object covers.
        background: what the camera would have seen without the object, levels of 255.
    """
    share = coverage[..., None]
    colour = (image - (1 - share) * background) / np.float32(255)
    return np.dstack([np.minimum(np.maximum(colour, 0), share), coverage]).astype(np.float32)
