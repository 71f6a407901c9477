"""Figures that tell a good mask from a bad one, and evidence that a moment shows no, half or two animals."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Float, UInt8

SOLID = 0.5  # coverage at which a pixel counts as the object's
PART_SHARE = 0.002  # parts below this share of the largest are specks
SOFT = (0.05, 0.95)  # coverage between these is an edge
ACROSS = 3.0  # pixels: distance of the two points whose difference is the contrast across the outline
SECOND_ANIMAL = 0.25  # share of the largest part from which a second one may be another animal


@dataclass(frozen=True)
class MaskQuality:
    """Figures of one mask.

    Attributes:
        foreground: share of the picture that the object covers.
        parts: connected parts without specks.
        largest, second: their shares of the whole mask's area.
        border: share of the outline that lies on the picture's border: a cut-off animal.
        holes: number of enclosed holes, without specks, and `hole_share` of the mask's area that they have.
        contrast: mean difference of brightness across the outline, in levels of 255.
        contrast_ratio: that over the mean difference along the outline; about 1 where the outline follows nothing that
            is in the picture, and NaN without an outline inside the picture.
        softness: mean width of the soft edge in pixels; 0 for a hard mask.
    """

    foreground: float
    parts: int
    largest: float
    second: float
    border: float
    holes: int
    hole_share: float
    contrast: float
    contrast_ratio: float
    softness: float

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to see."""
        return self.parts == 0


@dataclass(frozen=True)
class AnimalCount:
    """In how many views there is nothing, a second large part, or an object cut by the border."""

    empty: int
    several: int
    cut_off: int


def mask_quality(coverage: Float[np.ndarray, "h w"], image: UInt8[np.ndarray, "h w 3"]) -> MaskQuality:
    """Figures of one mask: coverage in [0, 1] over a uint8 RGB picture."""
    solid = (coverage > SOLID).astype(np.uint8)
    area = float(solid.sum())
    if not area:
        return MaskQuality(0.0, 0, 0.0, 0.0, 0.0, 0, 0.0, float("nan"), float("nan"), 0.0)
    sizes = _parts(solid, connectivity=8)
    holes = _holes(solid)
    points, inner = _outline(solid)
    across, along = _contrast(coverage, image, points[inner])
    edge = float(((coverage > SOFT[0]) & (coverage < SOFT[1])).sum())
    return MaskQuality(
        foreground=float(coverage.mean()),
        parts=len(sizes),
        largest=float(sizes[0] / area),
        second=float(sizes[1] / area) if len(sizes) > 1 else 0.0,
        border=float(1 - inner.mean()),
        holes=len(holes),
        hole_share=float(holes.sum() / area),
        contrast=across,
        contrast_ratio=across / along if along > 0 else float("nan"),
        softness=edge / len(points),
    )


def count_animals(qualities: Sequence[MaskQuality], *, border: float = 0.02) -> AnimalCount:
    """What the views of one moment say together.

    Args:
        qualities: one per view.
        border: share of the outline on the picture's border from which the object counts as cut off.
    """
    seen = [quality for quality in qualities if not quality.is_empty]
    return AnimalCount(
        empty=len(qualities) - len(seen),
        several=sum(quality.second >= SECOND_ANIMAL * quality.largest for quality in seen),
        cut_off=sum(quality.border >= border for quality in seen),
    )


def _parts(solid: np.ndarray, *, connectivity: int) -> np.ndarray:
    """Areas of connected parts, the largest first, without specks."""
    _, _, parts, _ = cv2.connectedComponentsWithStats(solid, connectivity=connectivity)
    areas = np.sort(parts[1:, cv2.CC_STAT_AREA])[::-1]
    return areas[areas >= PART_SHARE * areas[:1].max(initial=0)]


def _holes(solid: np.ndarray) -> np.ndarray:
    """Areas of background parts that do not touch the border, without specks."""
    padded = np.pad(1 - solid, 1, constant_values=1)  # so that all that touches the border is one part, the first
    _, labels, parts, _ = cv2.connectedComponentsWithStats(padded, connectivity=4)
    areas = np.delete(parts[:, cv2.CC_STAT_AREA], [0, labels[0, 0]])
    return areas[areas >= PART_SHARE * solid.sum()]


def _outline(solid: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Outermost pixels [n, 2] (row, column) of the mask, and which of them are not on the border."""
    height, width = solid.shape
    framed = np.pad(solid, 1)
    points = np.argwhere(solid & ~cv2.erode(framed, np.ones((3, 3), np.uint8))[1:-1, 1:-1].astype(bool))
    rows, columns = points.T
    return points, (rows > 0) & (rows < height - 1) & (columns > 0) & (columns < width - 1)


def _contrast(coverage: np.ndarray, image: np.ndarray, points: np.ndarray) -> tuple[float, float]:
    """Mean absolute difference of brightness across and along the outline, between points ACROSS pixels apart."""
    if not len(points):
        return float("nan"), float("nan")
    grey = cv2.GaussianBlur(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32), (0, 0), 0.7)
    smooth = cv2.GaussianBlur(coverage, (0, 0), 1.5)
    slope = np.stack([cv2.Sobel(smooth, cv2.CV_32F, 0, 1), cv2.Sobel(smooth, cv2.CV_32F, 1, 0)], axis=-1)
    normal = slope[tuple(points.T)]
    normal = normal / np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-6)
    tangent = normal[:, ::-1] * [1, -1]
    return tuple(_difference(grey, points, direction) for direction in (normal, tangent))  # type: ignore[return-value]


def _difference(grey: np.ndarray, points: np.ndarray, direction: np.ndarray) -> float:
    limit = np.array(grey.shape) - 1
    ends = [np.clip(np.rint(points + side * ACROSS / 2 * direction).astype(int), 0, limit) for side in (-1, 1)]
    before, after = (grey[tuple(end.T)] for end in ends)
    return float(np.abs(after - before).mean())
