"""Postures of a mouse: how its spine, head, limbs and tail are bent, drawn at given rates and within joint limits."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

SPINE_KNOTS = np.array([0.0, 0.25, 0.5, 0.75, 1.0])  # of the trunk, from the tail's root to the skull
TAIL_KNOTS = np.linspace(0, 1, 7)
# Pitch of the spine in degrees (0 level, 90 upright) at the knots, then of the head.
PITCH = {
    "walk": (24, 14, 0, -8, 4, -16),
    "turn": (26, 16, 0, -8, 2, -16),
    "stretch": (16, 6, -2, 2, 10, -6),
    "crouch": (56, 40, 4, -24, -16, -26),
    "sit": (72, 66, 54, 36, 12, -14),
    "groom": (80, 74, 52, 12, -40, -62),
    "curl": (64, 50, 8, -36, -48, -56),
    "rear": (58, 62, 66, 58, 42, 4),
    "tall": (66, 74, 82, 78, 58, 16),
}
RATES = {"walk": 0.24, "turn": 0.13, "stretch": 0.1, "crouch": 0.12, "sit": 0.1, "groom": 0.1, "curl": 0.06} | {
    "rear": 0.09,
    "tall": 0.06,
}
"""How often each posture is drawn. Of the real recordings' frames 7 % rear (rear and tall)."""
REARING = ("rear", "tall")
# mm between the floor and the lowest part of the trunk of a mouse 90 mm long
CLEARANCE = {"walk": 7, "turn": 6.5, "stretch": 5.5, "crouch": 2.5, "sit": 2, "groom": 1.5, "curl": 1.5} | {
    "rear": 7,
    "tall": 9,
}
# How much longer than at ease the trunk is; what it gains in length it loses in girth.
STRETCH = {"walk": 1.0, "turn": 1.0, "stretch": 1.12, "crouch": 0.93, "sit": 0.95, "groom": 0.9, "curl": 0.93} | {
    "rear": 1.08,
    "tall": 1.16,
}
HELD = {"sit": 0.7, "groom": 1.0, "rear": 1.0, "tall": 1.0, "crouch": 0.15, "curl": 0.3}  # share with forepaws raised
LIMITS = {  # degrees
    "pitch": (-60.0, 92.0),
    "yaw_bend": (-125.0, 125.0),  # of the skull end against the tail end
    "head_pitch": (-100.0, 62.0),
    "head_yaw": (-62.0, 62.0),
    "head_roll": (-32.0, 32.0),
    "roll": (-20.0, 20.0),
    "heel": (0.0, 78.0),
}


@dataclass(frozen=True)
class Pose:
    """A posture; angles in radians, lengths in mm, legs in the order left hind, right hind, left fore, right fore.

    `head_pitch` is against the horizon, `head_yaw` against the spine's end. The tail's angles are against straight
    backwards and the horizon. `stretch` is the trunk's length relative to that at ease. `heel` is how steeply the hind
    feet stand. `reach` is how far raised forepaws are held out, `paws_to_mouth` how near they are to the mouth, `droop`
    how far hands hang.
    """

    family: str
    pitch: Float[np.ndarray, "5"]
    yaw: Float[np.ndarray, "5"]
    roll: float
    head_pitch: float
    head_yaw: float
    head_roll: float
    tail_pitch: Float[np.ndarray, "7"]
    tail_yaw: Float[np.ndarray, "7"]
    clearance: float
    stretch: float
    stride: Float[np.ndarray, "4"]
    lift: Float[np.ndarray, "4"]
    splay: Float[np.ndarray, "4"]
    stance: Float[np.ndarray, "4"]
    heel: Float[np.ndarray, "2"]
    held: bool
    reach: Float[np.ndarray, "2"]
    paws_to_mouth: float
    droop: float

    def spine_angles(self, at: Float[np.ndarray, "k"]) -> tuple[np.ndarray, np.ndarray]:
        """Pitch and yaw of the spine at fractions of the trunk."""
        return smooth(SPINE_KNOTS, self.pitch, at), smooth(SPINE_KNOTS, self.yaw, at)

    def tail_angles(self, at: Float[np.ndarray, "k"]) -> tuple[np.ndarray, np.ndarray]:
        """Pitch and yaw of the tail at fractions of its length."""
        return smooth(TAIL_KNOTS, self.tail_pitch, at), smooth(TAIL_KNOTS, self.tail_yaw, at)


def smooth(knots: Float[np.ndarray, "m"], values: Float[np.ndarray, "m"], at: Float[np.ndarray, "k"]) -> np.ndarray:
    """Cubic Hermite interpolation with the slopes of the neighbouring knots (Catmull-Rom on uneven knots)."""
    slope = np.gradient(values, knots)
    index = np.clip(np.searchsorted(knots, at, side="right") - 1, 0, len(knots) - 2)
    gap = knots[index + 1] - knots[index]
    t = (at - knots[index]) / gap
    start, end = values[index], values[index + 1]
    bend = t * (1 - t) * ((1 - t) * (slope[index] * gap - (end - start)) + t * ((end - start) - slope[index + 1] * gap))
    return start + t * (end - start) + bend


def with_rearing(share: float) -> dict[str, float]:
    """The usual rates, with this share of rearing postures and the others in their usual proportions."""
    usual = sum(RATES[name] for name in REARING)
    return {
        name: rate * (share / usual if name in REARING else (1 - share) / (1 - usual)) for name, rate in RATES.items()
    }


def sample_pose(rng: np.random.Generator, rates: Mapping[str, float] = RATES) -> Pose:
    """Draw a posture: one of the table's, leaning towards another, with every joint moved a little."""
    names = list(PITCH)
    weights = np.array([rates.get(name, 0.0) for name in names])
    family = str(rng.choice(names, p=weights / weights.sum()))
    friends = [name for name in names if (name in REARING) == (family in REARING)]
    other, lean = str(rng.choice(friends)), rng.uniform(0, 0.4)
    pitch = (1 - lean) * np.array(PITCH[family], float) + lean * np.array(PITCH[other], float)
    pitch = pitch + rng.normal(0, 5, 6) + rng.normal(0, 10) * np.array([0, 0, 0, 0, 0.6, 1])
    turning = {"turn": 62.0, "curl": 75.0}.get(family, 20.0)
    bend = rng.normal(0, turning) if family not in ("turn", "curl") else turning * rng.choice([-1, 1])
    bend = _limited("yaw_bend", bend * rng.uniform(0.6, 1.3))
    yaw = bend * (SPINE_KNOTS - 0.5) + rng.normal(0, 4, 5)
    gait = rng.uniform(0, 2 * np.pi) + np.pi * np.array([0, 1, 1, 0])  # diagonal pairs move together
    speed = rng.uniform(0, 1) if family in ("walk", "turn", "stretch") else 0.15
    held = rng.uniform() < HELD.get(family, 0.04)
    tiptoe = rng.uniform() < (0.5 if family in REARING else 0.12)
    return Pose(
        family=family,
        pitch=np.deg2rad(np.clip(pitch[:5], *LIMITS["pitch"])),
        yaw=np.deg2rad(yaw),
        roll=np.deg2rad(_limited("roll", rng.normal(0, 5))),
        head_pitch=np.deg2rad(_limited("head_pitch", pitch[5] + rng.normal(0, 8))),
        head_yaw=np.deg2rad(_limited("head_yaw", 0.25 * bend + rng.normal(0, 18))),
        head_roll=np.deg2rad(_limited("head_roll", rng.normal(0, 9))),
        tail_pitch=_tail_pitch(rng),
        tail_yaw=_tail_yaw(rng),
        clearance=((1 - lean) * CLEARANCE[family] + lean * CLEARANCE[other]) * rng.uniform(0.6, 1.4) + 6 * tiptoe,
        stretch=STRETCH[family] * rng.uniform(0.94, 1.07),
        stride=10 * speed * np.sin(gait) + rng.normal(0, 1.5, 4),
        lift=4 * speed * np.maximum(np.cos(gait), 0),
        splay=rng.uniform(0.0, 0.5, 4),
        stance=rng.uniform(-0.5, 4.0, 4),
        heel=np.deg2rad(np.clip(rng.uniform(15, 70) * tiptoe + np.abs(rng.normal(0, 6, 2)), *LIMITS["heel"])),
        held=bool(held),
        reach=rng.uniform(0.45, 0.95, 2),
        paws_to_mouth=rng.uniform(0.6, 1) if family == "groom" else rng.uniform(0, 0.5),
        droop=rng.uniform(0, 0.9),
    )


def _limited(joint: str, degrees: float) -> float:
    return float(np.clip(degrees, *LIMITS[joint]))


def _tail_pitch(rng: np.random.Generator) -> Float[np.ndarray, "7"]:
    """From a root that hangs down to a level, a raised or a drooping tip; the floor stops what would sink into it."""
    raised = max(rng.normal(4, 26), -12)
    curve = raised * np.array([0, 0.3, 0.7, 1, 1, 1, 0.8]) + np.array([-24, -16, -8, -3, 0, 0, 0])
    return np.deg2rad(curve + rng.normal(0, 8, 7) * _kinky(rng))


def _tail_yaw(rng: np.random.Generator) -> Float[np.ndarray, "7"]:
    swing, curl = rng.normal(0, 26), rng.normal(0, 75)
    wave = 30 * rng.uniform() * np.sin(2 * np.pi * (TAIL_KNOTS + rng.uniform()))
    curve = swing * np.minimum(3 * TAIL_KNOTS, 1) + curl * TAIL_KNOTS**2 + wave * np.minimum(3 * TAIL_KNOTS, 1)
    return np.deg2rad(curve + rng.normal(0, 10, 7) * _kinky(rng))


def _kinky(rng: np.random.Generator) -> float:
    return float(rng.choice([0.6, 2.2], p=[0.8, 0.2]))
