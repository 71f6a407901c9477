"""Surfaces of swept tubes, discs and balls, sampled evenly as oriented points."""

from dataclasses import dataclass, fields, replace

import numpy as np
from jaxtyping import Float

GOLDEN_TURN = 2 * np.pi * (1 - 1 / ((1 + 5**0.5) / 2))  # the angle that never lines samples up, whatever the radius
NODES = 72  # samples of a centre line; with 100 mm of body a node every 1.4 mm


@dataclass(frozen=True)
class Surface:
    """Points on a surface with outward normals; lengths in mm.

    `spacing` is the distance to the neighbouring points. `rest` places a point on the animal before it is posed, so
    that coat patterns do not slide over the skin. `pigment` says how much of a point is belly fur, bare skin and eye.
    """

    points: Float[np.ndarray, "n 3"]
    normals: Float[np.ndarray, "n 3"]
    spacing: Float[np.ndarray, "n"]
    rest: Float[np.ndarray, "n 3"]
    pigment: Float[np.ndarray, "n 3"]


@dataclass(frozen=True)
class Tubes:
    """A batch of tubes: frames along centre lines and the half-axes of an egg-shaped section.

    `side` x `up` is the direction of travel. `radii` are the half-axes towards +-side, up and down.
    """

    center: Float[np.ndarray, "t k 3"]
    side: Float[np.ndarray, "t k 3"]
    up: Float[np.ndarray, "t k 3"]
    radii: Float[np.ndarray, "t k 3"]

    @staticmethod
    def along(
        center: Float[np.ndarray, "t k 3"], toward_up: Float[np.ndarray, "#t 3"], radii: Float[np.ndarray, "#t k 3"]
    ) -> "Tubes":
        """Tubes whose `up` is as near as possible to a fixed direction that no centre line follows."""
        tangent = unit(np.gradient(center, axis=1))
        side = unit(np.cross(np.broadcast_to(toward_up[:, None], tangent.shape), tangent))
        return Tubes(center, side, np.cross(tangent, side), np.broadcast_to(radii, center.shape))

    def at(
        self, tube: np.ndarray, node: Float[np.ndarray, "n"], turn: Float[np.ndarray, "n"]
    ) -> Float[np.ndarray, "n 3"]:
        """Surface points at fractional nodes and angles `turn` (0 is `side`, pi / 2 is `up`)."""
        first = np.clip(node.astype(np.int64), 0, self.center.shape[1] - 2)
        share = (node - first)[:, None]
        mix = lambda values: values[tube, first] * (1 - share) + values[tube, first + 1] * share  # noqa: E731
        radii, cosine, sine = mix(self.radii), np.cos(turn)[:, None], np.sin(turn)[:, None]
        vertical = np.where(sine > 0, radii[:, 1:2], radii[:, 2:3])
        return mix(self.center) + mix(self.side) * radii[:, :1] * cosine + mix(self.up) * vertical * sine


@dataclass(frozen=True)
class TubeSamples:
    """Evenly spread points on tubes with their coordinates: tube number, fraction of the way, angle."""

    points: Float[np.ndarray, "n 3"]
    normals: Float[np.ndarray, "n 3"]
    spacing: Float[np.ndarray, "n"]
    tube: np.ndarray
    fraction: Float[np.ndarray, "n"]
    turn: Float[np.ndarray, "n"]

    def surface(self, rest: Float[np.ndarray, "n 3"], pigment: Float[np.ndarray, "n 3"]) -> Surface:
        """The samples as a surface with the given rest positions and pigments."""
        return Surface(self.points, self.normals, self.spacing, rest, pigment)


def unit(vector: Float[np.ndarray, "*batch 3"]) -> Float[np.ndarray, "*batch 3"]:
    """The vectors at length 1; zero stays zero."""
    return vector / np.maximum(np.linalg.norm(vector, axis=-1, keepdims=True), 1e-12)


def smooth(knots: Float[np.ndarray, "m"], values: Float[np.ndarray, "m *d"], at: Float[np.ndarray, "k"]) -> np.ndarray:
    """Cubic Hermite interpolation with the slopes of the neighbouring knots (Catmull-Rom on uneven knots)."""
    slope = np.gradient(values, knots, axis=0)
    index = np.clip(np.searchsorted(knots, at, side="right") - 1, 0, len(knots) - 2)
    expand = (...,) + (None,) * (values.ndim - 1)
    gap = (knots[index + 1] - knots[index])[expand]
    t = ((at - knots[index]) / (knots[index + 1] - knots[index]))[expand]
    start, end = values[index], values[index + 1]
    bend = t * (1 - t) * ((1 - t) * (slope[index] * gap - (end - start)) + t * ((end - start) - slope[index + 1] * gap))
    return start + t * (end - start) + bend


def sample_tubes(tubes: Tubes, spacing: float) -> TubeSamples:
    """Points about `spacing` apart on all tubes, in golden-angle spirals."""
    area = _cell_areas(tubes)
    per_tube = area.sum(axis=1)
    counts = np.ceil(per_tube / spacing**2).astype(np.int64)
    tube = np.repeat(np.arange(len(counts)), counts)
    order = np.arange(len(tube)) - np.repeat(np.cumsum(counts) - counts, counts)
    ends = np.cumsum(area)  # one rising ladder over the cells of all tubes inverts every tube's area at once
    wanted = (np.cumsum(per_tube) - per_tube)[tube] + (order + 0.5) / counts[tube] * per_tube[tube]
    cell = np.minimum(np.searchsorted(ends, wanted), area.size - 1)
    node = cell % area.shape[1] + 1 - np.clip((ends[cell] - wanted) / area.ravel()[cell], 0, 1)
    turn = order * GOLDEN_TURN

    step = 0.5
    last = area.shape[1]
    before, after = np.maximum(node - step, 0), np.minimum(node + step, last)
    along = (tubes.at(tube, after, turn) - tubes.at(tube, before, turn)) / (after - before)[:, None]
    around = (tubes.at(tube, node, turn + 0.1) - tubes.at(tube, node, turn - 0.1)) / 0.2
    normal = np.cross(around, along)
    stretch = np.linalg.norm(normal, axis=-1)
    share = 2 * np.pi * per_tube[tube] / (counts[tube] * area.ravel()[cell])
    local = np.clip(np.sqrt(stretch * share), 0.6 * spacing, 1.7 * spacing)
    return TubeSamples(tubes.at(tube, node, turn), unit(normal), local, tube, node / last, turn)


def sample_ball(center: Float[np.ndarray, "3"], radius: float, spacing: float) -> tuple[np.ndarray, np.ndarray]:
    """Points and normals of a Fibonacci sphere."""
    count = int(np.ceil(4 * np.pi * radius**2 / spacing**2))
    order = np.arange(count)
    height = 1 - (2 * order + 1) / count
    ring = np.sqrt(1 - height**2)
    normals = np.stack([ring * np.cos(order * GOLDEN_TURN), ring * np.sin(order * GOLDEN_TURN), height], axis=-1)
    return center + radius * normals, normals


def sample_disc(radius: float, spacing: float) -> Float[np.ndarray, "n 2"]:
    """Points of the unit disc, `spacing` apart once it is scaled to `radius` (sunflower)."""
    count = int(np.ceil(np.pi * radius**2 / spacing**2))
    order = np.arange(count)
    rim = round(2.5 * np.sqrt(count))  # these close the edge, which the spiral alone leaves ragged
    reach = np.sqrt(np.minimum((order + 0.5) / (count - 0.5 * rim), 1))
    return np.stack([reach * np.cos(order * GOLDEN_TURN), reach * np.sin(order * GOLDEN_TURN)], axis=-1)


def join(surfaces: list[Surface]) -> Surface:
    """One surface of many."""
    return Surface(
        **{f.name: np.concatenate([getattr(surface, f.name) for surface in surfaces]) for f in fields(Surface)}
    )


def rotate_about_z(surface: Surface, angle: float) -> Surface:
    """The surface after a turn on the floor."""
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    return replace(surface, points=surface.points @ turn.T, normals=surface.normals @ turn.T)


def _cell_areas(tubes: Tubes) -> Float[np.ndarray, "t cells"]:
    radius = tubes.radii.mean(axis=-1)
    mean = 0.5 * (radius[:, 1:] + radius[:, :-1])
    length = np.linalg.norm(np.diff(tubes.center, axis=1), axis=-1)
    return 2 * np.pi * mean * np.hypot(length, np.diff(radius, axis=1)) + 1e-9
