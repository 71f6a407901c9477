"""Epipolar tangency of silhouettes: two views of one object share the planes through both centres that touch it.

A plane through the centres of two cameras that just touches the object is seen edge-on by both, as a tangent line of
each silhouette (Cipolla, Astrom and Giblin 1995, frontier points). With right cameras and right masks the two lines are
the same plane, whatever the object's shape. Their difference needs no reconstruction and costs microseconds; in pixels
it is about 0.1 for exact masks.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from jaxtyping import Bool, Float, Int

from gslrm.proof.pinholes import Pinholes
from gslrm.proof.silhouettes import Silhouette

WIDEST = 2.6  # radians: silhouettes that span more of the planes about a baseline hold its epipole and have no tangent
FARTHEST = 1.0  # image widths: errors are capped here, since a line may be anywhere once cameras are absurd


@dataclass(frozen=True)
class Rims:
    """Convex rims of all silhouettes, padded to one length by repeating their first point."""

    pixel: Float[np.ndarray, "v r 2"]
    on_border: Bool[np.ndarray, "v r"]

    @staticmethod
    def of(silhouettes: Sequence[Silhouette]) -> "Rims":
        """Rims of silhouettes, one per view."""
        length = max(len(found.rim) for found in silhouettes)
        index = [np.where(np.arange(length) < len(found.rim), np.arange(length), 0) for found in silhouettes]
        pairs = list(zip(silhouettes, index, strict=True))
        return Rims(
            np.stack([found.rim[rows] for found, rows in pairs]),
            np.stack([found.rim_on_border[rows] for found, rows in pairs]),
        )


@dataclass(frozen=True)
class Tangents:
    """Tangent planes of pairs of views: the pair, the error in pixels, and what would change it.

    A shift of view `first` by a small (x, y) changes `error` by `first_normal` . (x, y), of `second` by
    `second_normal`. `outward` is the sign of an error that lets view `first` reach beyond `second`. Planes whose
    tangent point is cut by the frame, or that do not exist, are not `usable`.
    """

    first: Int[np.ndarray, "n"]
    second: Int[np.ndarray, "n"]
    error: Float[np.ndarray, "n"]
    first_normal: Float[np.ndarray, "n 2"]
    second_normal: Float[np.ndarray, "n 2"]
    outward: Float[np.ndarray, "n"]
    usable: Bool[np.ndarray, "n"]

    @property
    def median(self) -> float:
        """Median error in pixels over all planes of all pairs; NaN if there are none."""
        return _median(self.error[self.usable])

    def by_view(self, views: int) -> list[float]:
        """Median error in pixels of the planes that each view takes part in."""
        return [_median(self.error[self.usable & self.joins(view)]) for view in range(views)]

    def without_view(self, views: int) -> list[float]:
        """Median error in pixels of the planes that each view does not take part in."""
        return [_median(self.error[self.usable & ~self.joins(view)]) for view in range(views)]

    def swing(self, views: int) -> list[float]:
        """For each view the pixels by which it reaches beyond the others on one side and falls short on the other.

        A camera that is off does both; a mask that lacks a tail only falls short, one that is too wide only reaches
        beyond. It is the lesser of the upper quartile of the outward errors and the negative of the lower one, at
        least 0; NaN for a view without planes.
        """
        result = []
        for view in range(views):
            rows = self.usable & self.joins(view)
            reach = (self.error * self.outward * np.where(self.first == view, 1.0, -1.0))[rows]
            low, high = np.quantile(reach, [0.25, 0.75]) if len(reach) else (np.nan, np.nan)
            result.append(float(np.maximum(np.minimum(high, -low), 0)))
        return result

    def joins(self, view: int) -> Bool[np.ndarray, "n"]:
        """Which planes a view takes part in."""
        return (self.first == view) | (self.second == view)


def tangents(rims: Rims, cameras: Pinholes) -> Tangents:
    """Compare the two extreme tangent planes of every pair of views."""
    pair = np.array(list(combinations(range(len(cameras)), 2))).T
    ray = np.stack([cameras.directions(view, pixel) for view, pixel in enumerate(rims.pixel)])
    across, along, sound = _plane_axes(ray.mean(axis=1), cameras.position, pair)
    angle = np.stack([_angles(ray[views], across, along) for views in pair])  # [2, pairs, rim]
    sound &= (np.ptp(angle, axis=-1) < WIDEST).all(axis=0)
    touch = np.stack([angle.argmin(axis=-1), angle.argmax(axis=-1)], axis=-1)  # [2, pairs, 2]
    extreme = np.take_along_axis(angle, touch, axis=-1)
    distance, normal, cut = [], [], []
    for own in (0, 1):
        sine, cosine = np.sin(extreme[1 - own])[..., None], np.cos(extreme[1 - own])[..., None]
        plane = cosine * along[:, None] - sine * across[:, None]
        rows = pair[own][:, None]
        away, line = _line_distance(cameras, rows, plane, rims.pixel[rows, touch[own]])
        distance.append(away)
        normal.append(line)
        cut.append(rims.on_border[rows, touch[own]])
    farthest = FARTHEST * cameras.size[:, 0].mean()
    error = np.clip(0.5 * (distance[0] - distance[1]), -farthest, farthest)
    return Tangents(
        first=np.repeat(pair[0], 2),
        second=np.repeat(pair[1], 2),
        error=error.ravel(),
        first_normal=normal[0].reshape(-1, 2),
        second_normal=-normal[1].reshape(-1, 2),
        outward=np.tile([-1.0, 1.0], pair.shape[1]),
        usable=(sound[:, None] & ~cut[0] & ~cut[1] & np.isfinite(error)).ravel(),
    )


def _plane_axes(
    middle: Float[np.ndarray, "v 3"], position: Float[np.ndarray, "v 3"], pair: Int[np.ndarray, "2 n"]
) -> tuple[Float[np.ndarray, "n 3"], Float[np.ndarray, "n 3"], Bool[np.ndarray, "n"]]:
    """Two axes perpendicular to each baseline, the first towards the object, and whether they exist."""
    with np.errstate(invalid="ignore", divide="ignore"):
        baseline = position[pair[1]] - position[pair[0]]
        baseline = baseline / np.linalg.norm(baseline, axis=1, keepdims=True)
        toward = middle[pair[0]] + middle[pair[1]]
        across = toward - baseline * (baseline * toward).sum(axis=1, keepdims=True)
        length = np.linalg.norm(across, axis=1, keepdims=True)
        across = across / length
    sound = np.isfinite(across).all(axis=1) & (length[:, 0] > 1e-3)
    across = np.where(sound[:, None], across, 0.0)
    return across, np.cross(np.where(sound[:, None], baseline, 0.0), across), sound


def _angles(ray: np.ndarray, across: np.ndarray, along: np.ndarray) -> Float[np.ndarray, "p r"]:
    """Angle about the baseline of the planes through each pair's baseline and rays."""
    return np.arctan2(np.einsum("prc,pc->pr", ray, along), np.einsum("prc,pc->pr", ray, across))


def _line_distance(
    cameras: Pinholes, view: np.ndarray, plane: Float[np.ndarray, "p 2 3"], pixel: Float[np.ndarray, "p 2 2"]
) -> tuple[Float[np.ndarray, "p 2"], Float[np.ndarray, "p 2 2"]]:
    """Signed distance in pixels of points to the lines where planes through the camera meet its image; unit normals."""
    normal_camera = np.einsum("pkij,pkj->pki", cameras.rotation[view], plane)
    gradient = normal_camera[..., :2] / cameras.focal[view]
    offset = normal_camera[..., 2] - (gradient * cameras.center[view]).sum(axis=-1)
    with np.errstate(invalid="ignore", divide="ignore"):
        length = np.linalg.norm(gradient, axis=-1)
        return ((gradient * pixel).sum(axis=-1) + offset) / length, gradient / length[..., None]


def _median(error: np.ndarray) -> float:
    return float(np.median(np.abs(error))) if len(error) else float("nan")
