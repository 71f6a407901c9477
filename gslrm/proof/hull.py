"""Visual-hull consistency: how far each outline pixel's ray misses what the other silhouettes leave of space.

With right cameras every foreground ray of one view meets the intersection of all other silhouettes' cones (Laurentini
1994), at the object. The distance in pixels by which the nearest point of a ray misses the worst of the other
silhouettes is 0 then, and grows with any error of cameras or masks, in whatever direction.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Bool, Float, Float32, Int

from gslrm.proof.pinholes import NEAR, Pinholes, triangulate
from gslrm.proof.silhouettes import Silhouette

OUTLINE_SAMPLES = 120  # per view
COARSE, FINE = 96, 12  # points per ray, then between the neighbours of the best
REACH = 1.5  # object radii searched on either side of the object's middle
FARTHEST = 0.25  # image widths: misses are capped here
UNKNOWN = 1e3  # slack where the frame cuts the object and nothing is known


@dataclass(frozen=True)
class HullMiss:
    """For each view: outline pixels, how far their rays miss the other silhouettes, and which one is to blame.

    `miss` is 0 where the ray meets the hull, in pixels of the view that denies it most. `blamed` is the view without
    which the ray misses least, `spared` by how much it still does. `on_body` marks outline that is no tail or other
    thin matter.
    """

    pixel: tuple[Float[np.ndarray, "_ 2"], ...]
    on_body: tuple[Bool[np.ndarray, " _"], ...]
    miss: tuple[Float[np.ndarray, " _"], ...]
    blamed: tuple[Int[np.ndarray, " _"], ...]
    spared: tuple[Float[np.ndarray, " _"], ...]

    @property
    def mean(self) -> float:
        """Mean miss in pixels over the bodies' outlines of all views; a tail cut off in one mask leaves it as it is."""
        return _mean(np.concatenate(self._body()))

    def by_view(self) -> list[float]:
        """Mean miss in pixels of each view's own rays, of its body only."""
        return [_mean(miss) for miss in self._body()]

    def lacking(self, tolerance: float) -> list[float]:
        """For each view, the share of all other outlines that misses this view's mask alone, by `tolerance` px."""
        views = range(len(self.miss))
        return [
            _share([self._misses_only(other, view, tolerance) for other in views if other != view]) for view in views
        ]

    def excess(self, tolerance: float) -> list[float]:
        """For each view, the share of its outline that at least two other views deny, by `tolerance` px."""
        return [_share([spared > tolerance]) for spared in self.spared]

    def _misses_only(self, view: int, mask: int, tolerance: float) -> np.ndarray:
        return (self.blamed[view] == mask) & (self.miss[view] > tolerance) & (self.spared[view] < tolerance)

    def _body(self) -> list[np.ndarray]:
        return [miss[body] for miss, body in zip(self.miss, self.on_body, strict=True)]


def hull_miss(silhouettes: Sequence[Silhouette], cameras: Pinholes, *, samples: int = OUTLINE_SAMPLES) -> HullMiss:
    """Measure every view's outline against all other silhouettes.

    Args:
        silhouettes: one per view, at least two.
        cameras: the views' cameras.
        samples: outline pixels taken per view, evenly along the outline.
    """
    pixels, bodies = zip(*(_sample(found, samples) for found in silhouettes), strict=True)
    middle, radius = _search_range(silhouettes, cameras)
    farthest = FARTHEST * float(cameras.size[:, 0].mean())
    results = [
        _view_miss(view, pixel, silhouettes, cameras, middle=middle, radius=radius, farthest=farthest)
        for view, pixel in enumerate(pixels)
    ]
    miss, blamed, spared = (tuple(column) for column in zip(*results, strict=True))
    return HullMiss(tuple(pixels), tuple(bodies), miss, blamed, spared)


def _view_miss(
    view: int,
    pixel: Float[np.ndarray, "n 2"],
    silhouettes: Sequence[Silhouette],
    cameras: Pinholes,
    *,
    middle: Float[np.ndarray, "3"],
    radius: float,
    farthest: float,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    others = [other for other in range(len(cameras)) if other != view]
    if not len(pixel):
        return np.zeros(0), np.zeros(0, int), np.zeros(0)
    direction = cameras.directions(view, pixel)
    start = direction @ (middle - cameras.position[view])
    distance = start[:, None] + np.linspace(-radius, radius, COARSE)
    slack = _slack(view, direction, distance, silhouettes, cameras, others, farthest)
    blamed, spared = _blame(slack)
    step = 2 * radius / (COARSE - 1)
    nearest = np.take_along_axis(distance, _best(slack)[:, None], axis=1)
    slack = _slack(view, direction, nearest + np.linspace(-step, step, FINE), silhouettes, cameras, others, farthest)
    miss = np.maximum(-slack.min(axis=0).max(axis=1), 0).astype(np.float64)
    return miss, np.array(others)[blamed], np.minimum(spared, miss)


def _blame(slack: Float32[np.ndarray, "o n t"]) -> tuple[Int[np.ndarray, "n"], Float[np.ndarray, "n"]]:
    """For each ray the silhouette (row of `slack`) without which it misses least, and by how much it then does."""
    if len(slack) == 1:
        return np.zeros(slack.shape[1], int), np.zeros(slack.shape[1])
    worst = slack.argmin(axis=0)
    lowest, second = np.partition(slack, 1, axis=0)[:2]
    without = np.stack([np.where(worst == row, second, lowest).max(axis=1) for row in range(len(slack))])
    return without.argmax(axis=0), np.maximum(-without.max(axis=0), 0).astype(np.float64)


def _best(slack: Float32[np.ndarray, "o n t"]) -> Int[np.ndarray, "n"]:
    """Index along each ray of the point that the worst view likes most."""
    return slack.min(axis=0).argmax(axis=1)


def _slack(
    view: int,
    direction: Float[np.ndarray, "n 3"],
    distance: Float[np.ndarray, "n t"],
    silhouettes: Sequence[Silhouette],
    cameras: Pinholes,
    others: list[int],
    farthest: float,
) -> Float32[np.ndarray, "o n t"]:
    """Signed distance in pixels, positive inside, of points along rays to each other silhouette."""
    point = cameras.position[view] + distance[..., None] * direction[:, None]
    return np.stack([_look_up(silhouettes[other], *cameras.project(other, point), farthest) for other in others])


def _look_up(
    found: Silhouette, pixel: Float[np.ndarray, "n t 2"], depth: Float[np.ndarray, "n t"], farthest: float
) -> Float32[np.ndarray, "n t"]:
    """The distance field at pixels; beyond the frame it goes on falling, unless the frame cuts the object."""
    height, width = found.distance.shape
    x, y = (pixel[..., axis].astype(np.float32) - np.float32(0.5) for axis in (0, 1))
    x_inside, y_inside = np.clip(x, 0, width - 1), np.clip(y, 0, height - 1)
    value = cv2.remap(found.distance, x_inside, y_inside, cv2.INTER_LINEAR)
    beyond = np.hypot(x - x_inside, y - y_inside)
    value = np.where(beyond > 0.5, UNKNOWN, value) if found.is_cut else value - beyond
    return np.where(depth > NEAR, np.maximum(value, -farthest), -farthest).astype(np.float32)


def _sample(found: Silhouette, count: int) -> tuple[Float[np.ndarray, "n 2"], Bool[np.ndarray, "n"]]:
    free = np.flatnonzero(~found.on_border)
    index = free[np.linspace(0, len(free) - 1, min(count, len(free))).round().astype(int)]
    return found.outline[index], found.on_body[index]


def _share(hits: list[np.ndarray]) -> float:
    joined = np.concatenate(hits) if hits else np.zeros(0)
    return float(joined.mean()) if len(joined) else 0.0


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if len(values) else float("nan")


def _search_range(silhouettes: Sequence[Silhouette], cameras: Pinholes) -> tuple[Float[np.ndarray, "3"], float]:
    """Where along the rays to look: about the point where the rays through the outlines' middles meet."""
    middles = [found.box.mean(axis=0) for found in silhouettes]
    direction = np.stack([cameras.directions(view, middle) for view, middle in enumerate(middles)])
    point = triangulate(cameras.position, direction)
    if not np.isfinite(point).all():
        point = cameras.position.mean(axis=0)
    radii = []
    for view, found in enumerate(silhouettes):
        ray = cameras.directions(view, found.rim)
        radii.append(np.linalg.norm(np.cross(point - cameras.position[view], ray), axis=1).max())
    return point, REACH * float(np.median(radii))
