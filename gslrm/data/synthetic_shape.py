"""What differs between animals besides the coat: size and proportions."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

LUMPS = 64  # more than there are parts whose girth varies by itself


@dataclass(frozen=True)
class Shape:
    """Proportions of an animal; lengths in mm, the others relative to an ordinary mouse of that length.

    `length` runs along the spine from the tail's root to the nose, of which `head` is a share. `tail` is relative to
    `length`, `ear` is an ear's height as a share of it; `ear_tilt` are the radians by which ears lean outwards,
    `ear_point` says how pointed and `ear_cup` how deep they are. `socks` says how far up the legs are bare. `lumps` are
    factors of the girth of single parts: no two bodies, and no two modellers' bodies, swell at the same places.
    `folds` is the height in mm of larger and of smaller unevenness of the coat, drawn by `seed`.
    """

    length: float
    girth: float
    hips: float
    chest: float
    head: float
    snout: float
    ear: float
    ear_tilt: float
    ear_point: float
    ear_cup: float
    tail: float
    tail_girth: float
    limbs: float
    feet: float
    eyes: float
    socks: float
    lumps: Float[np.ndarray, "n"]
    folds: Float[np.ndarray, "2"]
    seed: int

    @property
    def trunk(self) -> float:
        """Length of the spine from the tail's root to the skull."""
        return self.length * (1 - self.head)


def sample_shape(rng: np.random.Generator) -> Shape:
    """Draw an animal by its age and its weight for that age, then every proportion by itself."""
    age, weight = rng.uniform(), np.clip(rng.normal(0, 1), -2, 2)
    size = 74 + 26 * age**0.7
    young = 1 - age
    return Shape(
        length=float(size * rng.uniform(0.94, 1.07)),
        girth=float(np.clip(0.98 + 0.05 * age + 0.1 * weight + rng.normal(0, 0.05), 0.74, 1.34)),
        hips=rng.uniform(0.88, 1.14),
        chest=rng.uniform(0.88, 1.14),
        head=float(0.332 + 0.03 * young + rng.uniform(-0.022, 0.025)),
        snout=rng.uniform(0.84, 1.16),
        ear=float(rng.uniform(0.135, 0.215) * (1 + 0.1 * young)),
        ear_tilt=rng.uniform(0.45, 1.35),
        ear_point=rng.uniform(-0.15, 0.5),
        ear_cup=rng.uniform(0.05, 0.3),
        tail=float(np.clip(rng.normal(0.98, 0.11), 0.72, 1.3)),
        tail_girth=float(np.exp(rng.uniform(np.log(0.78), np.log(1.85)))),
        limbs=rng.uniform(0.9, 1.14),
        feet=rng.uniform(0.88, 1.34),
        eyes=rng.uniform(0.82, 1.2),
        socks=rng.uniform(0.55, 1.0),
        lumps=np.exp(rng.normal(0, rng.uniform(0.01, 0.06), LUMPS)),
        folds=np.array([0.6, 0.1]) * rng.uniform(0, 1, 2),
        seed=int(rng.integers(2**31)),
    )
