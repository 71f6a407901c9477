"""Marks that a wrong preparation leaves in pictures and camera files; harmless alone, telling where views disagree."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from gslrm.proof.pinholes import Pinholes
from gslrm.proof.silhouettes import Silhouette

CENTRED = 0.006  # image widths (3 px of 512): how well a script centres what it centres, tails cut by the frame aside
EQUAL_AREAS = 0.06  # relative spread; equal within a rounding to whole pixels and some ragged edge
EQUAL_DISTANCES = 1e-3  # relative spread
SAME_INTRINSICS = 1e-6  # relative spread: not measured but typed


@dataclass(frozen=True)
class Telltales:
    """Which marks are there."""

    boxes_centred: bool
    masses_centred: bool
    equal_areas: bool
    equal_distances: bool
    invented_intrinsics: bool
    """All views have the same square pixels and the principal point exactly in the middle."""


def telltales(silhouettes: Sequence[Silhouette], cameras: Pinholes) -> Telltales:
    """Look for all marks."""
    middle = cameras.size / 2
    boxes = np.stack([found.box.mean(axis=0) for found in silhouettes])
    areas = np.array([found.area for found in silhouettes])
    masses = np.stack([found.mass for found in silhouettes])
    distance = np.linalg.norm(cameras.position, axis=1)
    square = np.abs(cameras.focal[:, 0] / cameras.focal[:, 1] - 1).max() < SAME_INTRINSICS
    return Telltales(
        boxes_centred=_are_at(boxes, middle, cameras),
        masses_centred=_are_at(masses, middle, cameras),
        equal_areas=_spread(areas) < EQUAL_AREAS,
        equal_distances=_spread(distance) < EQUAL_DISTANCES,
        invented_intrinsics=bool(square)
        and _spread(cameras.focal[:, 0]) < SAME_INTRINSICS
        and bool(np.abs(cameras.center - middle).max() < SAME_INTRINSICS * cameras.size.max()),
    )


def _are_at(points: np.ndarray, middle: np.ndarray, cameras: Pinholes) -> bool:
    """Whether most points are in the middle; a mask with a cut tail may be off."""
    off = np.abs(points - middle).max(axis=1) / cameras.size.max(axis=1)
    return bool(np.quantile(off, 0.7) < CENTRED)


def _spread(values: np.ndarray) -> float:
    """Relative spread without the extreme sixth of the values."""
    middle = np.median(values)
    return float(np.quantile(np.abs(values - middle), 0.84) / max(abs(float(middle)), 1e-12))
