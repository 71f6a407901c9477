"""Lamps fixed in the world, so that every place on a mouse has one colour from everywhere."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from gslrm.data.synthetic_field import Skin


@dataclass(frozen=True)
class Light:
    """Ambient light and lamps; unit vectors `toward` lamps, their `strength` as RGB, `wrap` how large they are.

    `shadow` is how much darker places are that others are near to.
    """

    ambient: Float[np.ndarray, "3"]
    sky: float
    toward: Float[np.ndarray, "lamps 3"]
    strength: Float[np.ndarray, "lamps 3"]
    wrap: float
    shadow: float

    def shade(self, skin: Skin) -> Float[np.ndarray, "v 3"]:
        """RGB brightness of a white skin."""
        hidden = self.shadow * (1 - skin.open_sky)[:, None]
        above = 1 - self.sky + self.sky * skin.normals[:, 2:]
        facing = np.maximum((skin.normals @ self.toward.T + self.wrap) / (1 + self.wrap), 0)
        return self.ambient * above * (1 - hidden) + (facing @ self.strength) * (1 - 0.6 * hidden)


def sample_light(rng: np.random.Generator) -> Light:
    """A main lamp above, one or two fainter ones anywhere, and what the surroundings reflect."""
    lamps = int(rng.integers(1, 4))
    azimuth = rng.uniform(0, 2 * np.pi, lamps)
    height = np.append(rng.uniform(0.45, 1.0), rng.uniform(-0.3, 0.95, lamps - 1))
    level = np.sqrt(1 - height**2)
    toward = np.stack([level * np.cos(azimuth), level * np.sin(azimuth), height], axis=-1)
    ambient = rng.uniform(0.45, 0.9)
    share = np.append(1.0, rng.uniform(0.1, 0.5, lamps - 1))
    key = rng.uniform(1.02, 1.35) - ambient
    tint = np.exp(rng.normal(0, 0.025, (lamps + 1, 3)))
    return Light(
        ambient=ambient * tint[0],
        sky=rng.uniform(0.05, 0.3),
        toward=toward,
        strength=(key * share / share.sum() * (1 + 0.3 * (lamps - 1)))[:, None] * tint[1:],
        wrap=rng.uniform(0.1, 0.7),
        shadow=rng.uniform(0.0, 0.7),
    )
