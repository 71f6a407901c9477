"""The skin of a posed mouse: trunk with head, tail, limbs, ears, eyes.

Everything is built around the animal's own frame: x forward, y left, z up, floor at z = 0, lengths in mm.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from gslrm.data.synthetic_limbs import limbs
from gslrm.data.synthetic_pose import Pose, Shape
from gslrm.data.synthetic_surface import (
    NODES,
    Surface,
    Tubes,
    join,
    sample_ball,
    sample_disc,
    sample_tubes,
    smooth,
    unit,
)

# Half-axes of the trunk's section (side, up, down) as shares of its length: a pear with a pointed head.
TRUNK_KNOTS = np.array([0, 0.02, 0.06, 0.14, 0.24, 0.36, 0.48, 0.58, 0.66, 0.72, 0.79, 0.85, 0.91, 0.955, 0.985, 1.0])
TRUNK_SIDE = np.array(
    [0.02, 0.05, 0.085, 0.135, 0.17, 0.178, 0.16, 0.138, 0.114, 0.106, 0.108, 0.09, 0.062, 0.044, 0.026, 0.002]
)
TRUNK_UP = np.array(
    [0.02, 0.048, 0.085, 0.13, 0.16, 0.165, 0.15, 0.132, 0.112, 0.1, 0.094, 0.082, 0.06, 0.04, 0.024, 0.002]
)
TRUNK_DOWN = np.array(
    [0.02, 0.045, 0.08, 0.125, 0.165, 0.182, 0.168, 0.148, 0.118, 0.1, 0.092, 0.076, 0.052, 0.036, 0.022, 0.002]
)
FAT_WEIGHT = np.array([0, 0.2, 0.6, 1, 1, 1, 1, 0.9, 0.6, 0.4, 0.2, 0.1, 0, 0, 0, 0])  # a fat mouse has no fat nose

TRUNK_SPACING, TAIL_SPACING, FINE_SPACING = 1.35, 0.85, 0.78  # mm; thin parts need finer splats to keep their width


@dataclass(frozen=True)
class Trunk:
    """The posed trunk and the places on it where other parts attach."""

    tubes: Tubes
    length: float

    def frame(self, fraction: float) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Centre, forward, side, up and half-axes at a fraction of the way from tail to nose."""
        node = round(fraction * (NODES - 1))
        side, up = self.tubes.side[0, node], self.tubes.up[0, node]
        return self.tubes.center[0, node], np.cross(side, up), side, up, self.tubes.radii[0, node]

    def lowest(self) -> float:
        """Height of the lowest point of the skin."""
        tubes = self.tubes
        sideways = tubes.side[0, :, 2] * tubes.radii[0, :, 0]
        below = tubes.up[0, :, 2] * np.where(tubes.up[0, :, 2] > 0, tubes.radii[0, :, 2], tubes.radii[0, :, 1])
        return float((tubes.center[0, :, 2] - np.hypot(sideways, below)).min())


def build_mouse(shape: Shape, pose: Pose) -> Surface:
    """The skin of a mouse of this shape in this pose, with the middle of its trunk above the origin."""
    trunk = _trunk(shape, pose)
    parts = [_trunk_surface(trunk), _tail(trunk, shape, pose), *limbs(trunk.frame, shape, pose, FINE_SPACING)]
    for sign in (1.0, -1.0):
        parts += [*_ear(trunk, shape, sign), _eye(trunk, sign)]
    return join(parts)


def _trunk(shape: Shape, pose: Pose) -> Trunk:
    fraction = np.linspace(0, 1, NODES)
    pitch, yaw = pose.spine_angles(fraction)
    frames = _frames(pitch, yaw)
    center = np.cumsum(frames[0], axis=0) * shape.length / NODES
    center[:, :2] -= center[NODES // 3, :2]
    profile = np.stack([TRUNK_SIDE, TRUNK_UP, TRUNK_DOWN], axis=-1)
    fat = 1 + (shape.fatness - 1) * FAT_WEIGHT[:, None]
    radii = np.maximum(smooth(TRUNK_KNOTS, profile * fat, fraction), 0.001) * shape.length
    trunk = Trunk(Tubes(center[None], frames[1][None], frames[2][None], radii[None]), shape.length)
    center[:, 2] += pose.clearance - trunk.lowest()
    return trunk


def _frames(pitch: Float[np.ndarray, "k"], yaw: Float[np.ndarray, "k"]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Forward, side and up of a line with these angles; unlike a cross product with z, they never degenerate."""
    forward = np.stack([np.cos(pitch) * np.cos(yaw), np.cos(pitch) * np.sin(yaw), np.sin(pitch)], axis=-1)
    side = np.stack([-np.sin(yaw), np.cos(yaw), np.zeros_like(yaw)], axis=-1)
    return forward, side, np.cross(forward, side)


def _trunk_surface(trunk: Trunk) -> Surface:
    samples = sample_tubes(trunk.tubes, TRUNK_SPACING)
    cosine, sine = np.cos(samples.turn), np.sin(samples.turn)
    girth = np.interp(samples.fraction, TRUNK_KNOTS, TRUNK_SIDE) * trunk.length
    rest = np.stack([samples.fraction * trunk.length, girth * cosine, girth * sine], axis=-1)
    belly = np.clip((-sine - 0.25) / 0.5, 0, 1)
    skin = np.clip((samples.fraction - 0.975) / 0.012, 0, 1)  # the nose
    skin = np.maximum(skin, 0.9 * np.clip((0.03 - samples.fraction) / 0.03, 0, 1))  # into the tail
    return samples.surface(rest, np.stack([belly, skin, np.zeros_like(skin)], axis=-1))


def _tail(trunk: Trunk, shape: Shape, pose: Pose) -> Surface:
    root, forward, *_ = trunk.frame(0.015)
    fraction = np.linspace(0, 1, NODES)
    tilt, turn = pose.tail_angles(fraction)
    leave = np.exp(-fraction / 0.07)  # the root continues the spine
    pitch = tilt - leave * (np.arcsin(forward[2]) + tilt[0]) * 0.7
    yaw = np.arctan2(forward[1], forward[0]) + np.pi + turn
    frames = _frames(pitch, yaw)
    center = root + np.cumsum(frames[0], axis=0) * shape.tail / NODES
    radius = (0.55 + 1.9 * (1 - fraction) ** 1.2 + 1.4 * np.exp(-fraction / 0.05)) * np.sqrt(
        np.clip((1 - fraction) / 0.015, 0.01, 1)
    )
    floor = radius + 0.2
    center[:, 2] = floor + 2 * np.logaddexp(0, (center[:, 2] - floor) / 2)  # what would sink into the floor lies on it
    tubes = Tubes(center[None], frames[1][None], frames[2][None], np.repeat(radius[:, None], 3, axis=1)[None])
    samples = sample_tubes(tubes, TAIL_SPACING)
    fur = np.clip(1 - samples.fraction / 0.08, 0, 1)
    rest = np.stack([-samples.fraction * shape.tail, np.cos(samples.turn), np.sin(samples.turn)], axis=-1)
    return samples.surface(rest, np.stack([np.zeros_like(fur), 1 - 0.6 * fur, np.zeros_like(fur)], axis=-1))


def _ear(trunk: Trunk, shape: Shape, sign: float) -> list[Surface]:
    """A cupped disc: bare inside, thinly haired outside."""
    center, forward, side, up, radii = trunk.frame(0.735)
    outward = sign * side
    root = center + 0.72 * radii[1] * up + 0.62 * radii[0] * outward
    along = unit(0.8 * up + 0.62 * outward - 0.35 * forward)
    facing = 0.75 * forward + 0.6 * outward + 0.15 * up
    facing = unit(facing - (facing @ along) * along)
    across = np.cross(along, facing)
    size = 0.078 * trunk.length * shape.ears
    disc = sample_disc(size, FINE_SPACING)
    width = 0.92 * disc[:, 1] * (0.82 + 0.18 * disc[:, 0])
    bowl = 0.3 * (disc**2).sum(axis=-1) - 0.3
    middle = root + 0.78 * size * along
    surfaces = []
    for face, skin in ((1.0, 0.92), (-1.0, 0.45)):
        depth = bowl * size + 0.3 * face
        points = middle + size * (disc[:, :1] * along + width[:, None] * across) + depth[:, None] * facing
        normals = face * unit(facing - 0.6 * (disc[:, :1] * along + disc[:, 1:] * across))
        rest = np.broadcast_to([0.735 * trunk.length, sign * 9.0, 9.0], points.shape)
        rim = skin - 0.25 * (disc**2).sum(axis=-1) ** 2 * (face > 0)
        pigment = np.stack([np.zeros_like(rim), rim, np.zeros_like(rim)], axis=-1)
        surfaces.append(Surface(points, normals, np.full(len(points), FINE_SPACING), rest, pigment))
    return surfaces


def _eye(trunk: Trunk, sign: float) -> Surface:
    center, _, side, up, radii = trunk.frame(0.868)
    radius = 0.0165 * trunk.length
    angle = np.deg2rad(32)
    toward = sign * np.cos(angle) * radii[0] * side + np.sin(angle) * radii[1] * up
    points, normals = sample_ball(center + toward * 0.93, radius, 0.55)
    pigment = np.broadcast_to([0.0, 0.0, 1.0], points.shape)
    return Surface(points, normals, np.full(len(points), 0.55), np.zeros_like(points), pigment)
