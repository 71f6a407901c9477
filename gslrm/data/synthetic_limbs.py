"""The four legs of a mouse: where the paws stand, how the joints bend, and their skin."""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float

from gslrm.data.synthetic_pose import Pose, Shape
from gslrm.data.synthetic_surface import Surface, Tubes, sample_tubes, smooth, unit

Frame = Callable[[float], tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]]

LEG_NODES = 28
HIND_AT, FORE_AT = 0.17, 0.585  # fractions of the trunk where hips and shoulders are
HIND_BONES, FORE_BONES = (15.0, 16.0), (11.0, 12.5)  # mm: thigh and shin, upper arm and forearm
HIND_FOOT, FORE_FOOT = 15.5, 7.0  # mm from heel or wrist to the toes
ANKLE = 2.4  # mm above the floor
KNEE_CLEARANCE = 6.0  # mm above the floor: a thick knee must not sink into it
# radii along a leg, joint to joint, in mm: (lengthways, across); thigh and upper arm are flat against the trunk
HIND_RADII = np.array([[6.5, 4.0], [7.6, 4.2], [4.7, 3.2], [2.8, 2.3], [1.7, 1.6]])
FORE_RADII = np.array([[4.6, 3.2], [4.8, 3.2], [3.2, 2.6], [2.3, 2.1], [1.5, 1.4]])
TOES = 4


def limbs(frame: Frame, shape: Shape, pose: Pose, spacing: float) -> list[Surface]:
    """Skin of the legs and paws: left and right hind, left and right fore."""
    ankles, toes, joints, radii, rest = [], [], [], [], []
    for index in range(4):
        hind, sign = index < 2, (1.0, -1.0)[index % 2]
        plan = _hind if hind else _fore
        root, knee, ankle, toe = plan(frame, shape, pose, index, sign)
        joints.append(np.stack([root, 0.5 * (root + knee), knee, 0.5 * (knee + ankle), ankle]))
        radii.append((HIND_RADII if hind else FORE_RADII) * shape.length / 90)
        ankles.append(ankle)
        toes.append(toe)
        rest.append([(HIND_AT if hind else FORE_AT) * shape.length, sign * 14.0, -6.0])
    side = np.stack([frame(HIND_AT)[2]] * 2 + [frame(FORE_AT)[2]] * 2)
    legs = _legs(np.stack(joints), np.stack(radii), side, np.array(rest), spacing)
    return [legs, *_paws(np.stack(ankles), np.stack(toes), spacing)]


def _hind(
    frame: Frame, shape: Shape, pose: Pose, index: int, sign: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Hip, knee, ankle and toe: a flat foot under the hip, further forward the more upright the trunk is."""
    center, forward, side, up, radii = frame(HIND_AT)
    root = center + sign * 0.5 * radii[0] * side - 0.15 * radii[2] * up
    ahead = unit(np.array([*frame(0.4)[1][:2], 0.0]))
    left = np.array([-ahead[1], ahead[0], 0.0])
    step = 1.0 + 6.0 * max(0.0, frame(0.4)[1][2]) + pose.stride[index]
    ankle = root + step * ahead + sign * 1.5 * left
    ankle[2] = ANKLE + pose.lift[index]
    length = HIND_FOOT * shape.limbs * shape.length / 90
    toe = ankle + length * unit(ahead + sign * pose.splay[index] * left)
    toe[2] = 1.3
    bones = np.array(HIND_BONES) * shape.limbs * shape.length / 90
    return root, _knee(root, ankle, bones, ahead + 0.25 * forward + 0.3 * sign * left), ankle, toe


def _fore(
    frame: Frame, shape: Shape, pose: Pose, index: int, sign: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Shoulder, elbow, wrist and toe: on the floor if it is within reach, else held before the chest or the mouth."""
    center, forward, side, up, radii = frame(FORE_AT)
    root = center + sign * 0.55 * radii[0] * side - 0.45 * radii[2] * up
    bones = np.array(FORE_BONES) * shape.limbs * shape.length / 90
    ahead = unit(np.array([*forward[:2], 0.0]) + 1e-6)
    stand = root + (3.0 + pose.stride[index]) * ahead - sign * 0.5 * side
    stand[2] = 1.8 + pose.lift[index]
    toe_ahead = ahead
    if np.linalg.norm(stand - root) > 1.02 * bones.sum() or forward[2] > 0.6:
        mouth = frame(0.93)[0] - frame(0.93)[4][2] * 1.6 * frame(0.93)[3]
        chest = root - 0.5 * bones.sum() * up + (0.25 * bones.sum() + 0.6 * pose.stride[index]) * forward
        chest = chest - sign * 1.5 * side - np.array([0, 0, 3.0])
        stand = (1 - pose.paws_to_mouth) * chest + pose.paws_to_mouth * (mouth + sign * 2.5 * side)
        toe_ahead = unit(unit(stand - root) + 0.4 * forward - np.array([0, 0, 0.5]))
    toe = stand + FORE_FOOT * shape.limbs * shape.length / 90 * toe_ahead
    toe[2] = max(toe[2] if toe_ahead is not ahead else 1.2, 1.2)
    return root, _knee(root, stand, bones, -forward + 0.35 * sign * side), stand, toe


def _knee(root: np.ndarray, end: np.ndarray, bones: np.ndarray, toward: np.ndarray) -> np.ndarray:
    """The middle joint of two bones that bends `toward`; a leg that is too short stretches instead of tearing off."""
    axis = end - root
    distance = np.linalg.norm(axis)
    axis = axis / distance
    first, second = bones * max(1.0, distance / bones.sum() * 1.001)
    along = np.clip((first**2 - second**2 + distance**2) / (2 * distance), -first, first)
    aside = unit(toward - (toward @ axis) * axis)
    knee = root + along * axis + np.sqrt(max(first**2 - along**2, 0)) * aside
    knee[2] = max(knee[2], KNEE_CLEARANCE)
    return knee


def _legs(
    joints: Float[np.ndarray, "4 5 3"],
    radii: Float[np.ndarray, "4 5 2"],
    side: Float[np.ndarray, "4 3"],
    rest: Float[np.ndarray, "4 3"],
    spacing: float,
) -> Surface:
    at = np.linspace(0, 1, LEG_NODES)
    knots = np.array([0, 0.27, 0.53, 0.78, 1.0])
    center = np.moveaxis(smooth(knots, np.moveaxis(joints, 0, 1), at), 0, 1)
    width = np.moveaxis(smooth(knots, np.moveaxis(radii, 0, 1), at), 0, 1)
    cap = np.sqrt(np.clip(1 - (1 - at / 0.15).clip(0) ** 2, 0.02, 1))[None, :, None]
    sections = width[..., [0, 1, 1]] * cap
    samples = sample_tubes(Tubes.along(center, side, sections), spacing * 1.25)
    skin = np.clip((samples.fraction - 0.86) / 0.12, 0, 1)
    belly = np.clip(-samples.normals[:, 2] - 0.3, 0, 0.6)
    place = rest[samples.tube] + np.stack([0 * skin, 0 * skin, -30 * samples.fraction], axis=-1)
    return samples.surface(place, np.stack([belly, skin, 0 * skin], axis=-1))


def _paws(ankles: Float[np.ndarray, "4 3"], toes: Float[np.ndarray, "4 3"], spacing: float) -> tuple[Surface, Surface]:
    """Soles that widen towards the front, with splayed toes."""
    up = np.array([0.0, 0.0, 1.0])
    at = np.linspace(0, 1, LEG_NODES)
    ahead = toes - ankles
    level = unit(np.cross(up, unit(ahead) + 1e-6))
    center = ankles[:, None] + at[None, :, None] * 0.7 * ahead[:, None]
    cap = np.sqrt(np.clip(1 - (1 - np.minimum(at, 1 - at) / 0.12).clip(0) ** 2, 0.03, 1))
    size = np.linalg.norm(ahead, axis=-1)[:, None] / 11
    sole = np.stack([(1.45 + 0.75 * at) * cap, 1.2 * cap, 1.1 * cap], axis=-1)[None] * size[..., None].clip(0.8, 1.2)
    root = ankles + 0.62 * ahead
    fan = np.linspace(-1, 1, TOES)[None, :, None] * level[:, None]
    tips = root[:, None] + 0.42 * ahead[:, None] + 0.2 * size[..., None] * 11 * fan
    roots = root[:, None] + 1.2 * fan
    fingers = (roots[:, :, None] + at[:, None] * (tips - roots)[:, :, None]).reshape(4 * TOES, LEG_NODES, 3)
    finger = np.repeat((0.72 * cap)[None, :, None], 3, axis=-1)
    lift = np.cross(unit(ahead), level)
    return (
        _bare(Tubes.along(center, lift, sole), spacing),
        _bare(Tubes.along(fingers, np.repeat(lift, TOES, axis=0), finger), 0.8 * spacing),
    )


def _bare(tubes: Tubes, spacing: float) -> Surface:
    samples = sample_tubes(tubes, spacing)
    skin = np.zeros_like(samples.points)
    skin[:, 1] = 1
    return samples.surface(np.zeros_like(skin), skin)
