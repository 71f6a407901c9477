"""Smooth random fields on the body: lattices of random values, interpolated."""

from functools import lru_cache

import numpy as np
from jaxtyping import Float

from gslrm.compiled import kernel

NODES = 32  # of the lattice's side; it repeats after as many half wavelengths


def noise(
    points: Float[np.ndarray, "v 3"], *, seed: int, octave: int, wavelength: float, stretch: float = 1.0
) -> Float[np.ndarray, "v 1"]:
    """Smooth noise of about unit variance.

    Args:
        points: where, in mm.
        seed: which field.
        octave: a further number of the field.
        wavelength: in mm, across; along x waves are `1 / stretch` times as long.
        stretch: less than 1 draws the field out along the body, as fur lies.
    """
    rng = np.random.default_rng([seed, octave])
    turn, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    scale = np.array([stretch, 1, 1]) / (0.5 * wavelength)
    places = (points * scale) @ turn + rng.uniform(0, NODES, 3)
    values = np.empty(len(points))
    _interpolate(np.ascontiguousarray(places), _lattice(seed), values)
    return 1.7 * values[:, None]  # between nodes the variance is less than at them


@lru_cache(maxsize=2)
def _lattice(seed: int) -> Float[np.ndarray, "n n n"]:
    """The values that all fields of a seed share; each turns and shifts them differently."""
    return np.random.default_rng(seed).standard_normal((NODES,) * 3)


@kernel
def _interpolate(places, nodes, values):
    """Smoothly interpolated values of a lattice that repeats."""
    size = len(nodes)
    for place in range(len(places)):
        x, y, z = places[place, 0], places[place, 1], places[place, 2]
        ix, iy, iz = int(np.floor(x)), int(np.floor(y)), int(np.floor(z))
        tx, ty, tz = x - ix, y - iy, z - iz
        tx, ty, tz = tx * tx * (3 - 2 * tx), ty * ty * (3 - 2 * ty), tz * tz * (3 - 2 * tz)
        total = 0.0
        for corner in range(8):
            cx, cy, cz = corner & 1, corner >> 1 & 1, corner >> 2
            weight = (tx if cx else 1 - tx) * (ty if cy else 1 - ty) * (tz if cz else 1 - tz)
            total += weight * nodes[(ix + cx) % size, (iy + cy) % size, (iz + cz) % size]
        values[place] = total
