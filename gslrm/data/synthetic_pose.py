"""What varies between synthetic mice besides the coat: proportions, posture and gait."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from gslrm.data.synthetic_surface import smooth

# Pitch of the spine in degrees (0 level, 90 upright) at these fractions of the way from the tail's root to the nose.
SPINE_KNOTS = np.array([0.0, 0.2, 0.4, 0.58, 0.68, 0.78, 1.0])
SPINE_PITCH = {
    "walk": (34, 24, 2, -14, -2, -12, -16),
    "stretch": (20, 10, 0, 2, 14, 4, -6),
    "scrunch": (62, 42, 4, -22, -14, -22, -26),
    "groom": (76, 66, 40, 2, -30, -52, -62),
    "sit": (66, 60, 46, 28, 10, -12, -20),
    "rear": (52, 60, 68, 62, 44, 14, 2),
    "tall": (58, 72, 84, 80, 58, 26, 14),
}
# how often each posture is drawn, and the height of the lowest part of the trunk above the floor in mm
POSTURE_WEIGHT = {"walk": 0.28, "stretch": 0.1, "scrunch": 0.12, "groom": 0.1, "sit": 0.08, "rear": 0.18, "tall": 0.14}
CLEARANCE = {"walk": 6.5, "stretch": 5, "scrunch": 2.5, "groom": 1.5, "sit": 2, "rear": 6.5, "tall": 8}


@dataclass(frozen=True)
class Shape:
    """Proportions of an animal; lengths in mm, the others relative to an ordinary mouse."""

    length: float
    fatness: float
    tail: float
    ears: float
    limbs: float


@dataclass(frozen=True)
class Pose:
    """A posture; angles in radians, lengths in mm, fractions run from the root of the tail to the nose or the tip."""

    pitch: Float[np.ndarray, "7"]
    yaw: Float[np.ndarray, "7"]
    tail_pitch: Float[np.ndarray, "5"]
    tail_yaw: Float[np.ndarray, "5"]
    clearance: float
    stride: Float[np.ndarray, "4"]
    lift: Float[np.ndarray, "4"]
    splay: Float[np.ndarray, "4"]
    paws_to_mouth: float

    def spine_angles(self, at: Float[np.ndarray, "k"]) -> tuple[np.ndarray, np.ndarray]:
        """Pitch and yaw of the spine at fractions of its length."""
        return smooth(SPINE_KNOTS, self.pitch, at), smooth(SPINE_KNOTS, self.yaw, at)

    def tail_angles(self, at: Float[np.ndarray, "k"]) -> tuple[np.ndarray, np.ndarray]:
        """Pitch and yaw of the tail, relative to straight backwards, at fractions of its length."""
        knots = np.linspace(0, 1, len(self.tail_pitch))
        return smooth(knots, self.tail_pitch, at), smooth(knots, self.tail_yaw, at)


def sample_shape(rng: np.random.Generator) -> Shape:
    """Draw an animal between a slim juvenile and a fat adult."""
    return Shape(
        length=rng.uniform(74, 102),  # along the back; 70..100 mm from nose to rump once the spine is bent
        fatness=rng.uniform(0.8, 1.16),
        tail=rng.uniform(68, 98),
        ears=rng.uniform(0.85, 1.2),
        limbs=rng.uniform(0.92, 1.1),
    )


def sample_pose(rng: np.random.Generator) -> Pose:
    """Draw a posture: one of the table's, leaning towards another, with every joint moved a little."""
    names = list(SPINE_PITCH)
    main, other = rng.choice(names, size=2, p=[POSTURE_WEIGHT[name] for name in names])
    lean = rng.uniform(0, 0.35)
    blend = lambda table: (1 - lean) * np.asarray(table[main]) + lean * np.asarray(table[other])  # noqa: E731
    pitch = blend(SPINE_PITCH) + rng.normal(0, 4, len(SPINE_KNOTS))
    pitch[-2:] += rng.normal(0, 9)  # the head nods as a whole
    bend, head = np.clip(rng.normal(0, 26), -55, 55), rng.normal(0, 22)
    yaw = bend * (SPINE_KNOTS - 0.4) / 0.6 + head * np.clip((SPINE_KNOTS - 0.55) / 0.25, 0, 1)
    gait = rng.uniform(0, 2 * np.pi) + np.pi * np.array([0, 1, 1, 0])  # diagonal pairs move together
    speed = rng.uniform(0, 1) if main in ("walk", "stretch") else 0.15
    return Pose(
        pitch=np.deg2rad(pitch),
        yaw=np.deg2rad(yaw),
        tail_pitch=_tail_pitch(rng),
        tail_yaw=_tail_yaw(rng),
        clearance=float(blend(CLEARANCE)) * rng.uniform(0.7, 1.3),
        stride=9 * speed * np.sin(gait) + rng.normal(0, 1.2, 4),
        lift=4 * speed * np.maximum(np.cos(gait), 0),
        splay=rng.uniform(0.02, 0.4, 4),
        paws_to_mouth=rng.uniform(0.5, 1) if main == "groom" else rng.uniform(0, 0.45),
    )


def _tail_pitch(rng: np.random.Generator) -> Float[np.ndarray, "5"]:
    """From a root that hangs down to a level, a raised or a drooping tip; the floor stops what would sink into it."""
    raised = max(rng.normal(0, 22), -8)
    return np.deg2rad(np.array([-26, -16 + 0.5 * raised, raised, raised, 0.7 * raised]) + rng.normal(0, 6, 5))


def _tail_yaw(rng: np.random.Generator) -> Float[np.ndarray, "5"]:
    knots = np.linspace(0, 1, 5)
    swing, curl = rng.normal(0, 30), rng.normal(0, 70)
    wave = 25 * rng.uniform() * np.sin(2 * np.pi * (knots + rng.uniform()))
    return np.deg2rad(swing * np.minimum(2 * knots, 1) + curl * knots**2 + wave)
