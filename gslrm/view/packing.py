"""Gaussians in 17 bytes each before compression, for pages that carry them inside.

Positions are fixed point in the box of all centres with steps a fraction of the Gaussians' size, scales logarithms in
8 bits, rotations the three smaller components of the quaternion in 10 bits each, colours with opacity a byte per
channel. Along a Morton curve neighbours are alike, so positions are stored as differences (a as 2 a, below 0 as
-2 a - 1); bytes of equal meaning lie together; gzip does the rest.
"""

import base64
import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from gslrm import harmonics as sh
from gslrm.export.scene import one_scene, spatial_order
from gslrm.types import Gaussians

DRAWN = 1 / 255  # opacity below which no renderer draws anything
SCALE_LEVELS, TURN_LEVELS, COLOUR_LEVELS = 255, 1023, 255
STEPS, LONGEST = 4, 32767  # position steps per scale of a small Gaussian; along the longest side of the box
SMALL = 0.1  # share of the scales below that of a small Gaussian
BYTES = 17  # per Gaussian before compression
GZIP = 31  # zlib's window bits for a gzip header, which browsers inflate
MIN_SCALE = 1e-12  # keeps the logarithm of 0 finite


@dataclass(frozen=True)
class Packed:
    """One moment's Gaussians as a page holds them: ranges, and the bytes behind them."""

    header: dict[str, Any]
    content: bytes

    @property
    def text(self) -> str:
        """The bytes as base64."""
        return base64.b64encode(self.content).decode("ascii")


def pack(gaussians: Gaussians) -> Packed:
    """Pack Gaussians `[n]`; those that are never drawn are left out, view-dependent colour is dropped.

    Raises:
        ValueError: the Gaussians are batched or hold NaN or infinity.
    """
    gaussians = one_scene(gaussians, "a page")
    gaussians = gaussians[gaussians.opacities >= DRAWN]
    gaussians = gaussians[spatial_order(gaussians.means)]
    steps, low, step = _steps(gaussians)
    scales, scale_range = _levels(gaussians.scales.double().clamp_min(MIN_SCALE).log().numpy(), SCALE_LEVELS)
    colour = sh.rgb_from_degree_0(gaussians.harmonics[:, 0].double()).clamp_min(0).numpy()
    brightest = max(1.0, float(colour.max(initial=0)))
    rgb = np.rint(colour / brightest * COLOUR_LEVELS).astype(np.uint8)
    opacity = np.rint(gaussians.opacities.double().numpy() * COLOUR_LEVELS).astype(np.uint8)
    columns = [
        *_planes(_differences(steps), 2),
        *_planes(scales.astype(np.uint8), 1),
        *_planes(_turns(gaussians.rotations.double().numpy())[:, None], 4),
        *_planes(rgb, 1),
        opacity.tobytes(),
    ]
    header = {"count": len(steps), "low": low, "step": step, "scales": scale_range, "brightest": brightest}
    compressor = zlib.compressobj(9, zlib.DEFLATED, GZIP)
    return Packed(header, compressor.compress(b"".join(columns)) + compressor.flush())


def unpack(packed: Packed) -> Gaussians:
    """The Gaussians of a page, as its script reads them: degree 0, in float32."""
    header, count = packed.header, packed.header["count"]
    content = np.frombuffer(zlib.decompress(packed.content, GZIP), np.uint8).reshape(BYTES, count)
    planes = content[:6].reshape(3, 2, count).astype(np.int64)
    signed = planes[:, 0] | planes[:, 1] << 8
    positions = np.cumsum(np.where(signed & 1, -(signed + 1) // 2, signed // 2), axis=1).T
    first, last = header["scales"]
    word = sum(content[9 + byte].astype(np.uint32) << np.uint32(8 * byte) for byte in range(4))
    colour = content[13:16].T / COLOUR_LEVELS * header["brightest"]
    as_tensor = lambda values: torch.from_numpy(np.ascontiguousarray(values)).float()  # noqa: E731
    return Gaussians(
        means=as_tensor(np.array(header["low"]) + header["step"] * positions),
        scales=as_tensor(np.exp(first + (last - first) * content[6:9].T / SCALE_LEVELS)),
        rotations=as_tensor(_quaternions(np.asarray(word))),
        opacities=as_tensor(content[16] / COLOUR_LEVELS),
        harmonics=sh.degree_0_from_rgb(as_tensor(colour))[:, None],
    )


def _steps(gaussians: Gaussians) -> tuple[np.ndarray, list[float], float]:
    """Positions as whole steps from the lowest corner of their box, that corner, and the step in world units."""
    means = gaussians.means.double().numpy()
    if not len(means):
        return means.astype(np.int64), [0.0, 0.0, 0.0], 1.0
    low, high = means.min(axis=0), means.max(axis=0)
    fine = float(np.quantile(gaussians.scales.double().numpy(), SMALL)) / STEPS
    step = max(fine, float((high - low).max()) / LONGEST, MIN_SCALE)
    return np.rint((means - low) / step).astype(np.int64), low.tolist(), step


def _levels(values: np.ndarray, highest: int) -> tuple[np.ndarray, list[float]]:
    """Values as whole numbers from 0 to `highest`, and the range they cover."""
    if not values.size:
        return values, [0.0, 0.0]
    low, high = float(values.min()), float(values.max())
    return np.rint((values - low) / max(high - low, 1e-30) * highest), [low, high]


def _differences(values: np.ndarray) -> np.ndarray:
    """Every row minus the one before, small either way as a small uint16."""
    steps = np.diff(values, axis=0, prepend=np.zeros((1, values.shape[1]), values.dtype))
    return np.where(steps < 0, -2 * steps - 1, 2 * steps).astype(np.uint16)


def _planes(values: np.ndarray, size: int) -> list[bytes]:
    """Bytes of equal significance together, column by column, the lowest first."""
    columns = [values[:, index] for index in range(values.shape[1])]
    return [((column >> (8 * byte)) & 255).astype(np.uint8).tobytes() for column in columns for byte in range(size)]


def _turns(quaternions: np.ndarray) -> np.ndarray:
    """Uint32 per quaternion: which component is the largest (2 bits), the others from 10 bits each, its sign undone."""
    largest = np.abs(quaternions).argmax(axis=1)
    rows = np.arange(len(quaternions))
    signed = quaternions * np.where(quaternions[rows, largest] < 0, -1.0, 1.0)[:, None]
    word = largest.astype(np.uint32) << np.uint32(30)
    for place in range(3):
        component = signed[rows, (largest + 1 + place) % 4]
        level = np.rint((component * np.sqrt(0.5) + 0.5) * TURN_LEVELS).clip(0, TURN_LEVELS).astype(np.uint32)
        word |= level << np.uint32(10 * place)
    return word


def _quaternions(word: np.ndarray) -> np.ndarray:
    largest = (word >> 30).astype(np.int64)
    quaternions = np.zeros((len(word), 4))
    rows = np.arange(len(word))
    for place in range(3):
        level = (word >> np.uint32(10 * place)) & TURN_LEVELS
        quaternions[rows, (largest + 1 + place) % 4] = (level / TURN_LEVELS - 0.5) / np.sqrt(0.5)
    quaternions[rows, largest] = np.sqrt(np.maximum(1 - np.square(quaternions).sum(axis=1), 0))
    return quaternions
