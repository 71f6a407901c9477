"""What cameras and mask makers do to exact pictures: each effect by a switch of its own, all off at first."""

from dataclasses import dataclass, fields
from typing import Literal

import cv2
import numpy as np
from jaxtyping import Float, UInt

from gslrm.data.synthetic_raster import Pictures

DEPTH_PER_MM = 100
CUT_SHARE = 0.35  # of the views that lose a part of the animal
MOST_CUT = 0.09  # of the silhouette, at most


@dataclass(frozen=True)
class Sensor:
    """Switches; what is on is drawn anew for every view, and nothing else changes by it.

    `exposure`, `noise`, `blur` and `compression` change the colours only, `masks` the masks only. `cut` takes away what
    lies beyond a line that is parallel to the picture's border, from colours, masks and depth alike, as the border
    of a narrower picture would.
    """

    exposure: bool = False
    noise: bool = False
    blur: bool = False
    compression: bool = False
    cut: bool = False
    masks: Literal["exact", "soft", "ragged"] = "exact"


@dataclass(frozen=True)
class Recording:
    """Files' contents: 8-bit pictures on white, 8-bit coverage, 16-bit depth in hundredths of a millimetre."""

    images: UInt[np.ndarray, "v h w 3"]
    masks: UInt[np.ndarray, "v h w"]
    depths: UInt[np.ndarray, "v h w"]


def record(pictures: Pictures, sensor: Sensor, *, seed: tuple[int, ...], views: int) -> Recording:
    """What is stored of exact pictures.

    Args:
        pictures: of all views, depth in mm.
        sensor: what happens to the first `views` of them; the others stay exact.
        seed: decides every effect, each by itself.
        views: how many of the views a real camera is meant to have taken.
    """
    shape = pictures.coverage.shape
    stored = Recording(
        np.empty((*shape, 3), np.uint8), np.empty(shape, np.uint8), np.empty(shape, np.uint16)
    )  # fmt: skip
    for view in range(len(pictures.coverage)):
        colour, coverage, depth = pictures.colour[view], pictures.coverage[view], pictures.depth[view]
        mask = coverage
        draw: dict[str, np.random.Generator] = {}
        if view < views:
            draw = {f.name: np.random.default_rng([*seed, view, place]) for place, f in enumerate(fields(sensor))}
            if sensor.cut:
                kept = _kept(coverage, draw["cut"])
                colour, coverage, depth = colour * kept[..., None], coverage * kept, depth * kept
            colour = _photographed(colour, coverage, sensor, draw)
            mask = _drawn(coverage, sensor.masks, draw["masks"])
        image = colour + (1 - coverage[..., None])
        stored.images[view] = _eight_bits(_developed(image, sensor, draw) if draw else image)
        stored.masks[view] = _eight_bits(mask)
        stored.depths[view] = np.minimum(DEPTH_PER_MM * depth + 0.5, 65535)
    return stored


def _eight_bits(values: Float[np.ndarray, "..."]) -> UInt[np.ndarray, "..."]:
    """Numbers from 0 to 1 as bytes."""
    return (255 * values + 0.5).astype(np.uint8)


def _photographed(
    colour: Float[np.ndarray, "h w 3"],
    coverage: Float[np.ndarray, "h w"],
    sensor: Sensor,
    draw: dict[str, np.random.Generator],
) -> Float[np.ndarray, "h w 3"]:
    """Premultiplied colours as this camera exposes them, with its noise."""
    covered = coverage[..., None]
    if sensor.exposure:
        rng = draw["exposure"]
        gain = np.exp(rng.normal(0, 0.16)) * np.exp(rng.normal(0, 0.035, 3))
        straight = colour / np.maximum(covered, 1e-6)
        straight = rng.uniform(0, 0.03) + gain * straight ** np.exp(rng.normal(0, 0.1))
        colour = np.minimum(straight, 1) * covered
    if sensor.noise:
        rng = draw["noise"]
        read, shot = rng.uniform(0.002, 0.012), rng.uniform(0, 6e-4)
        spread = np.sqrt(read**2 + shot * colour)
        colour = np.clip(colour + covered * spread * rng.standard_normal(colour.shape), 0, covered)
    return colour.astype(np.float32)


def _developed(
    image: Float[np.ndarray, "h w 3"], sensor: Sensor, draw: dict[str, np.random.Generator]
) -> Float[np.ndarray, "h w 3"]:
    """The picture on white, out of focus or moved, then compressed."""
    if sensor.blur:
        rng = draw["blur"]
        sigma = rng.uniform(0.5, 1.3, 2) * image.shape[1] / 256
        image = cv2.GaussianBlur(image, (0, 0), float(sigma[0]), sigmaY=float(sigma[1]))
        image = np.clip(image, 0, 1)
    if sensor.compression:
        quality = int(draw["compression"].integers(40, 94))
        _, packed = cv2.imencode(".jpg", _eight_bits(image), [cv2.IMWRITE_JPEG_QUALITY, quality])
        image = np.asarray(cv2.imdecode(packed, cv2.IMREAD_COLOR), np.float32) / 255
    return image


def _drawn(
    coverage: Float[np.ndarray, "h w"], kind: Literal["exact", "soft", "ragged"], rng: np.random.Generator
) -> Float[np.ndarray, "h w"]:
    """The mask as a person or a network draws it."""
    unit = coverage.shape[1] / 256
    if kind == "soft":
        return cv2.GaussianBlur(coverage, (0, 0), rng.uniform(0.4, 1.2) * unit)
    if kind == "ragged":
        inside = (coverage > 0.5).astype(np.uint8)
        away = [cv2.distanceTransform(part, cv2.DIST_L2, 5) - 0.5 for part in (inside, 1 - inside)]
        wander = cv2.GaussianBlur(rng.standard_normal(coverage.shape).astype(np.float32), (0, 0), 4 * unit)
        wander *= rng.uniform(0.3, 1.0) * unit / wander.std()
        level = np.where(inside > 0, away[0], -away[1]) + wander + rng.uniform(-0.6, 0.6) * unit
        return (level > 0).astype(np.float32)
    return coverage


def _kept(coverage: Float[np.ndarray, "h w"], rng: np.random.Generator) -> Float[np.ndarray, "h w"]:
    """1 on this side of the line, 0 beyond it; mostly 1 everywhere."""
    share, side, hit = rng.uniform(0.01, MOST_CUT), int(rng.integers(4)), rng.uniform() < CUT_SHARE
    kept = np.ones_like(coverage)
    if not hit or not coverage.any():
        return kept
    along = coverage.sum(axis=side % 2)
    along = along if side < 2 else along[::-1]
    line = int(np.searchsorted(np.cumsum(along), share * along.sum()))
    window: list[slice] = [slice(None), slice(None)]
    window[1 - side % 2] = slice(0, line) if side < 2 else slice(len(along) - line, None)
    kept[tuple(window)] = 0
    return kept
