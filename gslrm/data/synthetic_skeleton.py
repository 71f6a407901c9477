"""Where the bones of a posed mouse are: spine, head, four legs.

The animal's own frame: x forward, y left, z up, floor at z = 0, lengths in mm.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from gslrm.data.synthetic_pose import Pose
from gslrm.data.synthetic_shape import Shape

NODES = 48
SIGNS = (1.0, -1.0, 1.0, -1.0)  # left is +y
# Half-axes of the trunk's section (side, up, down) as shares of the animal's length, from the tail's root to the skull.
TRUNK_AT = np.array([0.0, 0.08, 0.18, 0.32, 0.48, 0.64, 0.78, 0.9, 1.0])
TRUNK_SIDE = np.array([0.05, 0.085, 0.132, 0.158, 0.155, 0.138, 0.12, 0.104, 0.095])
TRUNK_UP = np.array([0.045, 0.085, 0.128, 0.15, 0.146, 0.13, 0.115, 0.102, 0.094])
TRUNK_DOWN = np.array([0.045, 0.08, 0.125, 0.158, 0.16, 0.15, 0.132, 0.108, 0.09])
HIP_AT, SHOULDER_AT = 0.16, 0.8  # fractions of the trunk
THIGH, SHIN, FOOT = 0.165, 0.175, 0.185  # lengths as shares of the animal's
UPPER_ARM, FOREARM, HAND = 0.118, 0.13, 0.082
ANKLE, WRIST = 2.2, 1.9  # mm above the floor
KNEE_CLEARANCE = 5.0  # mm above the floor: a thick knee must not sink into it


@dataclass(frozen=True)
class Place:
    """A point with a frame; `radii` are the skin's half-axes there towards the side, up and down."""

    center: Float[np.ndarray, "3"]
    forward: Float[np.ndarray, "3"]
    side: Float[np.ndarray, "3"]
    up: Float[np.ndarray, "3"]
    radii: Float[np.ndarray, "3"]

    def at(self, forward: float, side: float, up: float) -> Float[np.ndarray, "3"]:
        """A point given in the frame."""
        return self.center + forward * self.forward + side * self.side + up * self.up

    def direction(self, forward: float, side: float, up: float) -> Float[np.ndarray, "3"]:
        """A direction given in the frame."""
        return forward * self.forward + side * self.side + up * self.up


@dataclass(frozen=True)
class Leg:
    """Joints of a leg; `tip` is the end of the longest toe, `sole` the direction that the sole faces."""

    hind: bool
    sign: float
    root: Float[np.ndarray, "3"]
    knee: Float[np.ndarray, "3"]
    ankle: Float[np.ndarray, "3"]
    tip: Float[np.ndarray, "3"]
    sole: Float[np.ndarray, "3"]


@dataclass(frozen=True)
class Spine:
    """Frames from the tail's root to the skull; `radii` are the skin's half-axes towards the side, up and down."""

    center: Float[np.ndarray, "k 3"]
    forward: Float[np.ndarray, "k 3"]
    side: Float[np.ndarray, "k 3"]
    up: Float[np.ndarray, "k 3"]
    radii: Float[np.ndarray, "k 3"]

    def place(self, fraction: float) -> Place:
        """The spine at a fraction of the way from the tail's root to the skull."""
        node = round(fraction * (len(self.center) - 1))
        return Place(self.center[node], self.forward[node], self.side[node], self.up[node], self.radii[node])

    def lowest(self) -> float:
        """Height of the lowest point of the trunk's skin."""
        sideways = self.side[:, 2] * self.radii[:, 0]
        below = self.up[:, 2] * np.where(self.up[:, 2] > 0, self.radii[:, 2], self.radii[:, 1])
        return float((self.center[:, 2] - np.hypot(sideways, below)).min())


@dataclass(frozen=True)
class Skeleton:
    """The spine, the head's frame, and the legs: left and right hind, left and right fore."""

    spine: Spine
    head: Place
    legs: tuple[Leg, ...]


def build_skeleton(shape: Shape, pose: Pose) -> Skeleton:
    """The bones of this animal in this pose, with the middle of its trunk above the origin."""
    spine = _spine(shape, pose)
    spine.center[:, 2] += pose.clearance * shape.length / 90 - spine.lowest()
    head = _above_floor(_head(spine, shape, pose))
    hind = [_hind(spine, shape, pose, index) for index in (0, 1)]
    fore = [_fore(spine, head, shape, pose, index) for index in (2, 3)]
    return Skeleton(spine, head, (*hind, *fore))


def unit(vector: Float[np.ndarray, "*batch 3"]) -> Float[np.ndarray, "*batch 3"]:
    """The vectors at length 1; zero stays zero."""
    return vector / np.maximum(np.sqrt((vector * vector).sum(axis=-1, keepdims=True)), 1e-12)


def frames(
    pitch: Float[np.ndarray, "*k"], yaw: Float[np.ndarray, "*k"], roll: Float[np.ndarray, "*k"]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Forward, side and up for these angles; unlike a cross product with z, they never degenerate."""
    forward = np.stack([np.cos(pitch) * np.cos(yaw), np.cos(pitch) * np.sin(yaw), np.sin(pitch)], axis=-1)
    level = np.stack([-np.sin(yaw), np.cos(yaw), np.zeros_like(yaw)], axis=-1)
    above = np.cross(forward, level)
    cosine, sine = np.cos(roll)[..., None], np.sin(roll)[..., None]
    return forward, level * cosine + above * sine, above * cosine - level * sine


def _spine(shape: Shape, pose: Pose) -> Spine:
    fraction = np.linspace(0, 1, NODES)
    pitch, yaw = pose.spine_angles(fraction)
    forward, side, up = frames(pitch, yaw, np.full(NODES, pose.roll))
    center = np.cumsum(forward, axis=0) * pose.stretch * shape.trunk / NODES
    center[:, :2] -= center[NODES // 2, :2]
    profile = np.stack([TRUNK_SIDE, TRUNK_UP, TRUNK_DOWN], axis=-1)
    local = np.interp(TRUNK_AT, [0, 0.25, 0.55, 0.9, 1], [1, shape.hips, 1, shape.chest, 1])
    fat = np.interp(TRUNK_AT, [0, 0.2, 0.7, 1], [0.5, 1, 1, 0.5])
    profile = profile * (local * (1 + (shape.girth - 1) * fat))[:, None] * shape.length / np.sqrt(pose.stretch)
    radii = np.stack([np.interp(fraction, TRUNK_AT, column) for column in profile.T], axis=-1)
    return Spine(center, forward, side, up, radii)


def _head(spine: Spine, shape: Shape, pose: Pose) -> Place:
    """The skull's frame; its origin is where the spine ends, its length unit the head's."""
    forward = spine.forward[-1]
    yaw = np.arctan2(forward[1], forward[0]) if np.hypot(forward[0], forward[1]) > 0.2 else pose.yaw[-1]
    axes = frames(np.array(pose.head_pitch), np.array(yaw + pose.head_yaw), np.array(pose.head_roll))
    return Place(spine.center[-1], *axes, radii=np.full(3, shape.head * shape.length))


def _above_floor(head: Place) -> Place:
    """The head nodded up as far as its nose and chin would else sink into the floor."""
    size, height = head.radii[0], head.center[2] - 1.0
    pitch = np.arcsin(np.clip(head.forward[2], -1, 1))
    nod = np.linspace(pitch, max(pitch, 0.5), 24)
    nose = 0.95 * np.sin(nod) - 0.16 * np.cos(nod)
    chin = 0.56 * np.sin(nod) - 0.29 * np.cos(nod)
    clear = np.minimum(nose, chin) * size + height > 0
    wanted = nod[int(np.argmax(clear))] if clear.any() else nod[-1]
    cosine, sine = np.cos(wanted - pitch), np.sin(wanted - pitch)
    axis = unit(np.cross(np.array([0.0, 0.0, 1.0]), head.forward) + 1e-9 * head.side)
    turn = lambda v: v * cosine - np.cross(axis, v) * sine + axis * (axis @ v) * (1 - cosine)  # noqa: E731
    return Place(head.center, turn(head.forward), turn(head.side), turn(head.up), head.radii)


def _hind(spine: Spine, shape: Shape, pose: Pose, index: int) -> Leg:
    """Toes on the floor under the hip, further forward the more upright the trunk; the heel may be raised."""
    hip, sign = spine.place(HIP_AT), SIGNS[index]
    root = hip.at(0.0, sign * 0.55 * hip.radii[0], -0.2 * hip.radii[2])
    middle = spine.place(0.45).forward
    ahead = unit(np.array([middle[0], middle[1], 0.0]) + 1e-9)
    left = np.array([-ahead[1], ahead[0], 0.0])
    foot = FOOT * shape.feet * shape.length
    heel = pose.heel[index]
    step = 0.02 * shape.length + 0.08 * shape.length * max(0.0, middle[2]) + pose.stride[index]
    ankle = root + step * ahead + sign * pose.stance[index] * left
    ankle[2] = ANKLE + pose.lift[index] + foot * np.sin(heel)
    toward = unit(ahead + sign * pose.splay[index] * left)
    tip = ankle + foot * np.cos(heel) * toward
    tip[2] = 1.1 + pose.lift[index]
    bones = np.array([THIGH, SHIN]) * shape.limbs * shape.length
    knee = _bend(root, ankle, bones, ahead + 0.25 * hip.forward + 0.3 * sign * left)
    return Leg(True, sign, root, knee, ankle, tip, np.cross(np.cross(toward, [0, 0, -1.0]), unit(tip - ankle)))


def _fore(spine: Spine, head: Place, shape: Shape, pose: Pose, index: int) -> Leg:
    """On the floor if that is within reach and wanted, else held before the chest or the mouth."""
    shoulder, sign = spine.place(SHOULDER_AT), SIGNS[index]
    root = shoulder.at(0.0, sign * 0.6 * shoulder.radii[0], -0.45 * shoulder.radii[2])
    bones = np.array([UPPER_ARM, FOREARM]) * shape.limbs * shape.length
    ahead = unit(np.array([*shoulder.forward[:2], 0.0]) + 1e-9)
    left = np.array([-ahead[1], ahead[0], 0.0])
    hand = HAND * shape.feet * shape.length
    wrist = root + (0.03 * shape.length + pose.stride[index]) * ahead + sign * (pose.stance[index] - 1.0) * left
    wrist[2] = WRIST + pose.lift[index]
    if np.linalg.norm(wrist - root) < 1.03 * bones.sum() and shoulder.forward[2] < 0.62 and not pose.held:
        tip = wrist + hand * unit(ahead + 0.4 * sign * pose.splay[index] * left)
        tip[2] = 0.9 + pose.lift[index]
        sole = np.array([0.0, 0.0, -1.0])
    else:
        unit_head = head.radii[0]
        mouth = head.at(0.8 * unit_head, sign * 0.1 * unit_head, -0.26 * unit_head)
        reach = bones.sum() * pose.reach[index - 2]
        chest = root + reach * unit(shoulder.direction(0.75, -0.1 * sign, -0.62)) - np.array([0, 0, 0.2 * reach])
        wrist = (1 - pose.paws_to_mouth) * chest + pose.paws_to_mouth * mouth
        wrist = root + (wrist - root) * min(1.0, 0.97 * bones.sum() / np.linalg.norm(wrist - root))
        tip = wrist + hand * unit(unit(wrist - root) + 0.5 * shoulder.forward - np.array([0, 0, pose.droop]))
        if tip[2] < 1.2 or wrist[2] < 1.9:
            lift = max(1.2 - tip[2], 1.9 - wrist[2])
            wrist, tip = wrist + [0, 0, lift], tip + [0, 0, lift]
        sole = unit(shoulder.direction(0.2, -0.5 * sign, -1.0))
    elbow = _bend(root, wrist, bones, -shoulder.forward + 0.35 * sign * shoulder.side)
    return Leg(False, sign, root, elbow, wrist, tip, sole)


def _bend(root: np.ndarray, end: np.ndarray, bones: np.ndarray, toward: np.ndarray) -> np.ndarray:
    """The middle joint of two bones that bends `toward`; a leg that is too short stretches instead of tearing off."""
    axis = end - root
    distance = float(np.linalg.norm(axis))
    axis = axis / distance
    first, second = bones * max(1.0, distance / bones.sum() * 1.001)
    along = float(np.clip((first**2 - second**2 + distance**2) / (2 * distance), -first, first))
    aside = unit(toward - (toward @ axis) * axis)
    knee = root + along * axis + np.sqrt(max(first**2 - along**2, 0)) * aside
    knee[2] = max(knee[2], KNEE_CLEARANCE)
    return knee
