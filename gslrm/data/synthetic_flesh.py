"""Ellipsoids around a skeleton: trunk, head and the haired part of the legs."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from gslrm.data.synthetic_field import Blobs
from gslrm.data.synthetic_shape import Shape
from gslrm.data.synthetic_skeleton import HIP_AT, SHOULDER_AT, Leg, Place, Skeleton, unit

TRUNK_BLOBS = np.linspace(0.02, 1.0, 13)
TRUNK_SOFTNESS = 2.2  # mm
OVERLAP = 1.15  # log of how many neighbouring ellipsoids cover a place of the trunk's skin: they swell by so much
# centre, half-axes and softness (all shares of the head's length) of the head's parts; y is mirrored where not 0
HEAD = {
    "cranium": ((0.26, 0.0, 0.02), (0.34, 0.265, 0.26), 0.05),
    "face": ((0.52, 0.0, -0.03), (0.29, 0.195, 0.19), 0.05),
    "muzzle": ((0.72, 0.0, -0.075), (0.22, 0.12, 0.12), 0.035),
    "nose": ((0.9, 0.0, -0.085), (0.085, 0.055, 0.055), 0.03),
    "cheek": ((0.4, 0.13, -0.12), (0.22, 0.13, 0.15), 0.05),
    "whiskers": ((0.76, 0.06, -0.11), (0.12, 0.07, 0.07), 0.03),
    "jaw": ((0.56, 0.0, -0.2), (0.24, 0.09, 0.07), 0.035),
    "ear root": ((0.12, 0.19, 0.16), (0.1, 0.09, 0.09), 0.03),
    "brow": ((0.52, 0.1, 0.07), (0.14, 0.08, 0.06), 0.03),
    "nape": ((0.0, 0.0, -0.02), (0.3, 0.27, 0.27), 0.06),
}
# Radii of legs from the root to the ankle or wrist as shares of the animal's length: fore and aft, sideways.
HIND = np.array([[0.085, 0.055], [0.1, 0.062], [0.072, 0.05], [0.046, 0.036], [0.027, 0.024], [0.0205, 0.0195]])
FORE = np.array([[0.066, 0.046], [0.058, 0.042], [0.043, 0.036], [0.032, 0.029], [0.0235, 0.022], [0.0195, 0.0185]])
PER_BONE = 4
FLOOR = 0.6  # mm: what ellipsoids gain where they melt into each other


@dataclass
class _Parts:
    """Ellipsoids gathered one by one."""

    center: list[np.ndarray]
    axes: list[np.ndarray]
    radii: list[np.ndarray]
    rest: list[np.ndarray]
    softness: list[float]
    bare: list[float]

    def add(
        self,
        center: np.ndarray,
        axes: np.ndarray,
        radii: np.ndarray,
        *,
        rest: np.ndarray,
        softness: float,
        bare: float = 0.0,
    ) -> None:
        self.center.append(center)
        self.axes.append(axes)
        self.radii.append(radii)
        self.rest.append(rest)
        self.softness.append(softness)
        self.bare.append(bare)


def flesh_of(skeleton: Skeleton, shape: Shape) -> Blobs:
    """The ellipsoids that make the skin of everything but tail, paws, ears and eyes."""
    parts = _Parts([], [], [], [], [], [])
    _trunk(parts, skeleton, shape)
    _head(parts, skeleton.head, shape)
    for leg in skeleton.legs:
        _leg(parts, leg, shape)
    count = len(parts.center)
    radii = np.array(parts.radii)
    radii[:, 1:] *= shape.lumps[:count, None]
    center, axes = np.array(parts.center), np.array(parts.axes)
    lowest = center[:, 2] - np.linalg.norm(axes[:, :, 2] * radii, axis=1)
    center[:, 2] += np.maximum(FLOOR - lowest, 0)  # flesh that would sink into the floor is pushed up by it
    return Blobs(
        center, axes, radii, np.array(parts.rest),
        np.array(parts.softness), np.array(parts.bare),
    )  # fmt: skip


def _trunk(parts: _Parts, skeleton: Skeleton, shape: Shape) -> None:
    reach = 0.9 * (TRUNK_BLOBS[1] - TRUNK_BLOBS[0]) * shape.trunk
    for fraction in TRUNK_BLOBS:
        place = skeleton.spine.place(float(fraction))
        side, above, below = place.radii - OVERLAP * TRUNK_SOFTNESS * min(1.0, place.radii[0] / 9)
        radii = np.array([reach + 0.35 * side, side, 0.5 * (above + below)])
        shift = 0.5 * (above - below)
        parts.add(
            place.at(0.0, 0.0, shift),
            np.stack([place.forward, place.side, place.up]),
            radii,
            rest=np.array([fraction * shape.trunk, 0, shift]),
            softness=TRUNK_SOFTNESS * min(1.0, place.radii[0] / 9),
            bare=0.75 * float(np.clip(1 - fraction / (0.13 * shape.socks), 0, 1)),  # the skin of the tail's root
        )


def _head(parts: _Parts, head: Place, shape: Shape) -> None:
    size = head.radii[0]
    width = 0.86 + 0.14 * shape.girth
    axes = np.stack([head.forward, head.side, head.up])
    for name, (center, radii, softness) in HEAD.items():
        forward, side, up = center
        forward = 0.5 + (forward - 0.5) * shape.snout if forward > 0.5 else forward
        for sign in (1.0, -1.0) if side else (1.0,):
            at = size * np.array([forward, sign * side * width, up])
            parts.add(
                head.at(*at),
                axes,
                size * np.array([radii[0], radii[1] * width, radii[2]]),
                rest=np.array([shape.trunk, 0, 0]) + at,
                softness=size * softness,
                bare=1.0 if name == "nose" else 0.0,
            )


def _leg(parts: _Parts, leg: Leg, shape: Shape) -> None:
    table = (HIND if leg.hind else FORE) * shape.length * (0.55 + 0.45 * shape.girth)
    start = np.array([(HIP_AT if leg.hind else SHOULDER_AT) * shape.trunk, leg.sign * 16.0, 2.0])
    bones = [(leg.root, leg.knee, 0.0), (leg.knee, leg.ankle, 1.0)]
    # a plane for the whole leg, so that thighs stay flat against the trunk
    normal = unit(np.cross(leg.knee - leg.root, leg.ankle - leg.knee) + 1e-6 * np.array([1.0, 2.0, 3.0]))
    travelled = 0.0
    for begin, end, bone in bones:
        length = float(np.linalg.norm(end - begin))
        along = (end - begin) / length
        across = unit(normal - (normal @ along) * along)
        axes = np.stack([along, across, np.cross(along, across)])
        for share in (np.arange(PER_BONE) + 0.5) / PER_BONE:
            at = (bone + share) * (len(table) - 1) / 2
            deep, wide = (np.interp(at, np.arange(len(table)), column) for column in table.T)
            slim = float(np.clip(deep / 6, 0.25, 1))
            parts.add(
                begin + share * length * along,
                axes,
                np.array([length / PER_BONE * 0.75 + 0.3 * wide, wide - 0.35 * slim, deep - 0.35 * slim]),
                rest=start + [travelled + share * length, 0, 0],
                softness=1.5 * slim,
                bare=float(np.clip((bone + share - 1 - 0.85 * shape.socks) / 0.25, 0, 1)),
            )
        travelled += length


def paleness(rest: Float[np.ndarray, "v 3"], shape: Shape) -> Float[np.ndarray, "v"]:
    """How much of the skin at rest positions is underside: throat, chest, belly."""
    along = np.clip(rest[:, 0] / shape.trunk, 0, 1)
    deep = shape.length * np.interp(along, [0, 0.2, 0.5, 0.8, 1.0, 1.01], [0.05, 0.12, 0.15, 0.13, 0.09, 0.07])
    return np.clip((-rest[:, 2] / deep - 0.45) / 0.4, 0, 1) * (np.abs(rest[:, 1]) < 15.5)
