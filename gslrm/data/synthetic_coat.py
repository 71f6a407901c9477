"""Coats: colours of fur, skin and eyes with a texture that is anchored to the body."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from gslrm.data.synthetic_field import Skin
from gslrm.data.synthetic_noise import noise

STREAK = 0.24  # waves along the body per wave across: fur lies backwards
PATCH = 30.0  # mm, wavelength of white spots
HIGHLIGHT = (0.93, 0.93, 0.95)


@dataclass(frozen=True)
class Pigments:
    """Colours of a kind of coat, RGB as displayed under light of strength 1; `weight` says how often it is drawn."""

    back: tuple[float, float, float]
    belly: tuple[float, float, float]
    weight: float
    tips: tuple[float, float, float] | None = None
    """Of the banded hairs that show between the others; none where hairs have one colour."""
    eye: tuple[float, float, float] = (0.025, 0.022, 0.024)
    skin: tuple[float, float, float] = (0.76, 0.56, 0.535)
    spotted: bool = False


BLACK = (0.115, 0.108, 0.106)
WHITE = (0.84, 0.82, 0.79)
COATS = {
    "black": Pigments(BLACK, (0.15, 0.142, 0.138), 0.22),
    "grey": Pigments((0.2, 0.192, 0.19), (0.27, 0.26, 0.255), 0.12),
    "agouti": Pigments((0.235, 0.195, 0.165), (0.42, 0.37, 0.31), 0.2, tips=(0.37, 0.29, 0.205)),
    "brown": Pigments((0.3, 0.205, 0.13), (0.42, 0.32, 0.23), 0.16),
    "cream": Pigments((0.68, 0.56, 0.42), (0.76, 0.68, 0.57), 0.06),
    "silver": Pigments((0.46, 0.45, 0.445), (0.6, 0.59, 0.58), 0.07, tips=(0.68, 0.67, 0.66)),
    "spotted": Pigments(BLACK, WHITE, 0.09, spotted=True),
    "albino": Pigments(WHITE, (0.87, 0.85, 0.83), 0.08, eye=(0.46, 0.07, 0.09), skin=(0.86, 0.64, 0.62)),
}


@dataclass(frozen=True)
class Coat:
    """One animal's colours; `contrast` is the standard deviation of log brightness of four sizes of streaks."""

    name: str
    back: Float[np.ndarray, "3"]
    belly: Float[np.ndarray, "3"]
    tips: Float[np.ndarray, "3"]
    skin: Float[np.ndarray, "3"]
    eye: Float[np.ndarray, "3"]
    contrast: Float[np.ndarray, "4"]
    ticking: float
    spots: float
    """Level of noise above which fur is white; far above it where there are none."""
    seed: int

    @property
    def grain(self) -> float:
        """Contrast of the finest streaks, which pictures draw themselves."""
        return float(self.contrast[3])


CONTRAST = np.array([0.08, 0.13, 0.22, 0.28])  # of dark fur; shadows between pale hairs are fainter
WAVELENGTH = (24.0, 6.0, 2.6, 0.8)  # mm across the fur of the four sizes of streaks


def sample_coat(rng: np.random.Generator, names: Sequence[str] = tuple(COATS)) -> Coat:
    """Draw one of the named coats, and how this animal differs from others of it."""
    weights = np.array([COATS[name].weight for name in names])
    name = str(names[int(rng.choice(len(names), p=weights / weights.sum()))])
    kind = COATS[name]
    base = COATS[str(rng.choice(["black", "grey", "agouti", "brown"]))] if kind.spotted else kind
    shade = np.exp(rng.normal(0, 0.16)) * np.exp(rng.normal(0, 0.02, 3))
    shade = np.minimum(shade, 0.93 / np.max([base.back, base.belly]))
    back = np.array(base.back) * shade
    darkness = rng.uniform(0.05, 0.5)  # pigment shows through the skin of dark mice
    skin = np.array(kind.skin) * np.exp(rng.normal(0, 0.1)) * np.exp(rng.normal(0, 0.03, 3))
    return Coat(
        name=name,
        back=back,
        belly=back + rng.uniform(0, 1) * (np.array(base.belly) * shade - back),
        tips=np.array(base.tips or base.back) * shade * rng.uniform(0.9, 1.1),
        skin=np.minimum(skin + darkness * (np.minimum(back * 1.4, skin) - skin), 0.95),
        eye=np.array(kind.eye) * rng.uniform(0.7, 1.5),
        contrast=CONTRAST * (1 - 0.95 * back.mean()) * rng.uniform(0.25, 1.05) * rng.uniform(0.5, 1.15, 4),
        ticking=rng.uniform(0.3, 1.0) if base.tips else 0.0,
        spots=rng.uniform(-0.4, 0.9) if kind.spotted else 1e9,
        seed=int(rng.integers(2**31)),
    )


def albedo(skin: Skin, coat: Coat) -> Float[np.ndarray, "v 3"]:
    """Colours of the skin before light falls on it."""
    bare, pale, eye = skin.pigment.T[..., None]
    waves = [
        noise(skin.rest, seed=coat.seed, octave=octave, wavelength=wavelength, stretch=STREAK if octave else 1.0)
        for octave, wavelength in enumerate(WAVELENGTH[:3])
    ]
    fur = coat.back + pale * (coat.belly - coat.back)
    fur = fur + coat.ticking * np.clip(0.16 * waves[2] + 0.05 * waves[1] + 0.35, 0, 1) * (coat.tips - coat.back)
    texture = sum(contrast * wave for contrast, wave in zip(coat.contrast[: len(waves)], waves, strict=True))
    if coat.spots < 1e6:
        patches = noise(skin.rest, seed=coat.seed, octave=3, wavelength=PATCH) + 0.15 * waves[1]
        edge = np.clip(5 * (patches - coat.spots), 0, 1)
        fur = fur + edge * (np.array(WHITE) - fur)
        texture = texture * (1 - 0.8 * edge)
    fur = fur * np.exp(texture)
    bald = coat.skin * np.exp(0.06 * waves[0] + 0.03 * waves[1])
    colour = fur + bare * (bald - fur)
    colour = colour + np.minimum(eye, 1) * (coat.eye - colour)
    return colour + np.clip(eye - 1, 0, 1) * (np.array(HIGHLIGHT) - colour)


def grain_at(skin: Skin) -> Float[np.ndarray, "v 3"]:
    """Where the skin lies in the lattice of the finest streaks."""
    return skin.rest * [STREAK / WAVELENGTH[3], 1 / WAVELENGTH[3], 1 / WAVELENGTH[3]]
