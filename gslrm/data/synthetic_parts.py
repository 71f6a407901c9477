"""The thin parts of a mouse: tail, paws with toes, ears, eyes, whiskers."""

import numpy as np

from gslrm.data.synthetic_field import Skin
from gslrm.data.synthetic_pose import Pose
from gslrm.data.synthetic_shape import Shape
from gslrm.data.synthetic_skeleton import Leg, Place, Skeleton, frames, unit
from gslrm.data.synthetic_tubes import ball, closed_skin, grid_faces, round_ends, tubes

TAIL_NODES, TAIL_SIDES = 56, 9
TOE_NODES, TOE_SIDES = 6, 6
TOES, FINGERS = 5, 4
EAR_RINGS, EAR_TURNS = 7, 22
WHISKERS = 9  # on each side
WHISKER_RADIUS = 0.09  # mm


def tail(skeleton: Skeleton, shape: Shape, pose: Pose) -> Skin:
    """A bare tapered tail; what would sink into the floor lies on it."""
    root = skeleton.spine.place(0.02)
    fraction = np.linspace(0, 1, TAIL_NODES)
    tilt, turn = pose.tail_angles(fraction)
    leave = np.exp(-fraction / 0.07)  # the root continues the spine
    pitch = tilt - leave * (np.arcsin(np.clip(root.forward[2], -1, 1)) + tilt[0]) * 0.75
    backwards = skeleton.spine.place(0.15).forward
    yaw = np.arctan2(backwards[1], backwards[0]) + np.pi + turn * (1 - leave)
    forward, _, _ = frames(pitch, yaw, 0 * pitch)
    length = shape.tail * shape.length
    center = root.center + np.cumsum(forward, axis=0) * length / TAIL_NODES
    taper = 0.32 + 1.6 * (1 - fraction) + 1.0 * np.exp(-fraction / 0.08)
    radius = taper * shape.tail_girth * np.sqrt(shape.length / 90)
    floor = radius + 0.3
    center[:, 2] = floor + 2 * np.logaddexp(0, (center[:, 2] - floor) / 2)
    radius = radius * round_ends(fraction * 0.98, 0.012)
    fur = np.clip(1 - fraction / 0.05, 0, 1)
    rest = np.stack([-fraction * length, 0 * fraction, 0 * fraction], axis=-1)
    up = unit(np.array([0.02, 0.03, 1.0]))
    return tubes(
        center[None], up[None], np.repeat(radius[:, None], 2, axis=1)[None],
        sides=TAIL_SIDES, rest=rest[None], bare=1 - 0.25 * fur[None],
    )  # fmt: skip


def paws(legs: tuple[Leg, ...], shape: Shape) -> list[Skin]:
    """Soles that widen towards the front, with splayed toes."""
    skins = []
    for leg in legs:
        ahead = leg.tip - leg.ankle
        length = float(np.linalg.norm(ahead))
        along = ahead / length
        above = -unit(leg.sole - (leg.sole @ along) * along)
        level = np.cross(above, along)
        girth = shape.length / 90 * (1.0 if leg.hind else 0.86) * (0.6 + 0.4 * shape.girth)
        at = np.linspace(0, 1, 9)
        palm = (0.72 if leg.hind else 0.62) * ahead
        line = leg.ankle - 0.08 * ahead + at[:, None] * palm
        wide = np.array([1.75 - 0.25 * at + 0.75 * at**2, 1.75 - 0.75 * at]).T * girth
        sole = tubes(
            line[None], above[None], (wide * round_ends(at, 0.16)[:, None])[None],
            sides=8, rest=np.repeat(line[None, :1] * 0, 9, axis=1), bare=np.ones((1, 9)),
        )  # fmt: skip
        skins += [sole, _toes(leg, along, above, level, girth)]
    return skins


def _toes(leg: Leg, along: np.ndarray, above: np.ndarray, level: np.ndarray, girth: float) -> Skin:
    count = TOES if leg.hind else FINGERS
    length = float(np.linalg.norm(leg.tip - leg.ankle))
    fan = np.linspace(-1, 1, count)
    middle = 1 - 0.3 * np.abs(fan) ** 1.5  # the outer toes are shorter
    at = np.linspace(0, 1, TOE_NODES)
    start = leg.ankle + (0.55 if leg.hind else 0.45) * length * along + (1.25 * girth * fan)[:, None] * level
    reach = (0.45 if leg.hind else 0.55) * length * middle
    spread = (0.4 if leg.hind else 0.45) * fan
    direction = unit(along + spread[:, None] * level)
    arch = 0.5 * girth * np.sin(np.pi * at)
    line = start[:, None] + (reach[:, None] * at)[..., None] * direction[:, None] + arch[:, None] * above
    thick = 0.62 * girth * (1.1 - 0.35 * at) * round_ends(at, 0.2)
    return tubes(
        line, above[None], np.broadcast_to(thick[None, :, None], (count, TOE_NODES, 2)),
        sides=TOE_SIDES, rest=0 * line, bare=np.ones((1, TOE_NODES)),
    )  # fmt: skip


def ear(head: Place, shape: Shape, sign: float) -> Skin:
    """A thin cupped shell: bare inside, thinly haired outside."""
    size, height = head.radii[0], shape.ear * shape.length
    root = head.at(0.1 * size, sign * 0.2 * size, 0.16 * size)
    tilt = shape.ear_tilt
    along = unit(head.direction(-0.3, sign * np.sin(tilt), np.cos(tilt)))
    facing = head.direction(0.85, sign * 0.45, 0.1)
    facing = unit(facing - (facing @ along) * along)
    across = np.cross(along, facing)
    turn = 2 * np.pi * np.arange(EAR_TURNS) / EAR_TURNS
    ring = np.linspace(0.04, 1, EAR_RINGS)[:, None]
    up, wide = ring * np.cos(turn), ring * np.sin(turn)
    narrowing = 0.25 * np.clip(-up, 0, 1) + shape.ear_point * np.clip(up, 0, 1) ** 2
    width = 0.46 * wide * (0.8 + 0.2 * np.clip(up + 0.4, -1, 1)) * (1 - narrowing)
    bowl = shape.ear_cup * (wide**2 + 0.4 * up**2 - 0.5)
    middle = root + 0.42 * height * along
    skins = []
    for face, bare in ((1.0, 0.95), (-1.0, 0.5)):
        thick = 0.32 * face * (1 - ring**4)
        depth = bowl * height + thick
        points = middle + height * (
            0.52 * up[..., None] * along + width[..., None] * across
        ) + depth[..., None] * facing  # fmt: skip
        vertices = np.concatenate([points.reshape(-1, 3), points[:1].mean(axis=1)])
        # rings run outwards and turn from `along` to `across`: seen from `facing` this is to the left
        faces = _ear_faces() if face < 0 else _ear_faces()[:, ::-1]
        rest = np.broadcast_to(np.array([shape.trunk + 0.1 * size, sign * 9.0, 9.0]), vertices.shape)
        pigment = np.zeros_like(vertices)
        pigment[:, 0] = bare
        skins.append((vertices, faces, rest, pigment))
    offset = len(skins[0][0])
    return closed_skin(
        np.concatenate([skins[0][0], skins[1][0]]),
        np.concatenate([skins[0][1], skins[1][1] + offset]),
        np.concatenate([skins[0][2], skins[1][2]]),
        np.concatenate([skins[0][3], skins[1][3]]),
    )


def _ear_faces() -> np.ndarray:
    """Triangles [f, 3] of rings of vertices, with a last one that closes the innermost ring."""
    turns = np.arange(EAR_TURNS)
    fan = np.stack([turns, np.roll(turns, -1), np.full(EAR_TURNS, EAR_RINGS * EAR_TURNS)], axis=-1)
    return np.concatenate([grid_faces(EAR_RINGS, EAR_TURNS), fan[:, ::-1]])


def eye(head: Place, shape: Shape, sign: float) -> list[Skin]:
    """A bead that stands out by half, with a highlight."""
    size = head.radii[0]
    width = 0.86 + 0.14 * shape.girth
    outward = unit(head.direction(0.25, sign, 0.35))
    center = head.at(0.56 * size, sign * 0.165 * width * size, 0.055 * size)
    radius = 0.062 * size * shape.eyes
    glint = unit(head.direction(0.45, sign, 0.75))
    highlight = ball(center + 0.86 * radius * glint, 0.24 * radius, glint, rows=5)
    highlight.pigment[:, 2] = 2
    return [ball(center, radius, outward), highlight]


def whiskers(head: Place, shape: Shape, rng: np.random.Generator) -> Skin:
    """Fine long hairs to both sides of the muzzle."""
    size, at = head.radii[0], np.linspace(0, 1, 8)
    lines = []
    for sign in (1.0, -1.0):
        for _ in range(WHISKERS):
            start = head.at(
                rng.uniform(0.7, 0.84) * size, sign * rng.uniform(0.08, 0.11) * size, rng.uniform(-0.16, -0.08) * size
            )
            toward = unit(head.direction(rng.uniform(-0.7, 0.5), sign, rng.uniform(-0.45, 0.35)))
            sag = head.direction(rng.uniform(-0.2, 0), 0.0, rng.uniform(-0.15, 0.05))
            length = rng.uniform(0.45, 0.95) * size
            lines.append(start + length * (at[:, None] * toward + at[:, None] ** 2 * sag))
    line = np.array(lines)
    radius = WHISKER_RADIUS * (1.05 - at)
    up = unit(head.direction(0.9, 0.0, 0.5))
    return tubes(
        line, up[None], np.broadcast_to(radius[None, :, None], (*line.shape[:2], 2)),
        sides=3, rest=0 * line, bare=np.full((1, 8), 0.3),
    )  # fmt: skip
