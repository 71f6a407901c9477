"""Random mice made of Gaussians: a posed skin, a coat, a place in the arena."""

from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float

from gslrm import harmonics
from gslrm.data.synthetic_body import build_mouse
from gslrm.data.synthetic_pose import sample_pose, sample_shape
from gslrm.data.synthetic_rig import ARENA_CENTER
from gslrm.data.synthetic_surface import Surface, rotate_about_z
from gslrm.types import Gaussians

ARENA_HALF = 65.0  # mm: the walking mouse of the real recordings keeps within 130 x 132 mm

SPREAD = 0.78  # sigma per spacing: neighbours overlap enough that no light comes through between them
THICKNESS = 0.3  # mm, sigma across the skin: silhouettes stay crisp
OPACITY = 0.99

COATS = {  # back, belly
    "black": ((0.085, 0.085, 0.095), (0.12, 0.12, 0.125)),
    "dark grey": ((0.17, 0.175, 0.18), (0.25, 0.25, 0.255)),
    "agouti": ((0.27, 0.215, 0.165), (0.42, 0.36, 0.29)),
    "brown": ((0.31, 0.205, 0.125), (0.44, 0.34, 0.24)),
    "cream": ((0.66, 0.54, 0.40), (0.76, 0.68, 0.56)),
    "white": ((0.76, 0.74, 0.71), (0.80, 0.78, 0.76)),
}
COAT_WEIGHT = (0.28, 0.2, 0.18, 0.14, 0.1, 0.1)
SPOTTED_SHARE = 0.15
SPOT_COLOUR = (0.77, 0.75, 0.72)
SKIN_COLOUR = (0.72, 0.545, 0.515)
EYE_COLOUR = (0.02, 0.02, 0.025)


@dataclass(frozen=True)
class Light:
    """Lights fixed in the world, so that a point has one colour from everywhere."""

    toward: Float[np.ndarray, "3"]
    ambient: float
    key: float

    def shade(self, normals: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n"]:
        """Brightness of a surface: a wide lamp, the sky and a little bounce from the floor."""
        wrapped = (normals @ self.toward + 0.35) / 1.35
        return self.ambient * (0.8 + 0.2 * normals[:, 2]) + self.key * np.maximum(wrapped, 0)


def sample_mouse(rng: np.random.Generator) -> Gaussians:
    """A random mouse somewhere in the arena: unbatched Gaussians in mm with colours of degree 0."""
    skin = rotate_about_z(build_mouse(sample_shape(rng), sample_pose(rng)), rng.uniform(-np.pi, np.pi))
    colour = _albedo(skin, rng) * _light(rng).shade(skin.normals)[:, None]
    return move_in_arena(_gaussians(skin, np.clip(colour, 0.01, 0.93)), rng)


def move_in_arena(mouse: Gaussians, rng: np.random.Generator) -> Gaussians:
    """The same mouse with its centre of mass above another point of the arena's floor; light and heading stay."""
    middle = np.array(ARENA_CENTER[:2]) + rng.uniform(-ARENA_HALF, ARENA_HALF, 2)
    shift = torch.tensor([*middle, 0.0], dtype=torch.float64) - mouse.means.double().mean(dim=0)
    shift[2] = 0
    return replace(mouse, means=(mouse.means + shift).float())


def _light(rng: np.random.Generator) -> Light:
    azimuth, tilt = rng.uniform(0, 2 * np.pi), rng.uniform(0.15, 0.7)
    toward = np.array([np.sin(tilt) * np.cos(azimuth), np.sin(tilt) * np.sin(azimuth), np.cos(tilt)])
    ambient = rng.uniform(0.6, 0.75)
    return Light(toward, ambient, rng.uniform(1.15, 1.3) - ambient)


def _albedo(skin: Surface, rng: np.random.Generator) -> Float[np.ndarray, "n 3"]:
    names = list(COATS)
    back, belly = np.array(COATS[names[rng.choice(len(names), p=COAT_WEIGHT)]]) * rng.uniform(0.88, 1.12)
    belly_share, skin_share, eye_share = skin.pigment.T[..., None]
    coat = back + belly_share * (belly - back)
    coat = coat * (1 + 0.11 * _noise(skin.rest, rng, 14.0) + 0.05 * _noise(skin.rest, rng, 4.0))[:, None]
    if rng.uniform() < SPOTTED_SHARE:
        spots = np.clip(4 * (_noise(skin.rest, rng, 26.0) - rng.uniform(0.2, 0.7)), 0, 1)[:, None]
        coat = coat + spots * (np.array(SPOT_COLOUR) - coat)
    bare = np.array(SKIN_COLOUR) * rng.uniform(0.85, 1.1) * (1 + 0.05 * _noise(skin.points, rng, 8.0))[:, None]
    # ears and tail of dark mice are darker than those of pale ones
    bare = 0.82 * bare + 0.18 * back
    colour = coat + skin_share * (bare - coat)
    return colour + eye_share * (np.array(EYE_COLOUR) - colour)


def _noise(points: Float[np.ndarray, "n 3"], rng: np.random.Generator, wavelength: float) -> Float[np.ndarray, "n"]:
    """Smooth noise of unit variance: a few random waves, drawn out along the body like streaks of fur."""
    waves = 10
    frequency = 2 * np.pi / wavelength * rng.normal(size=(waves, 3)) * np.array([0.5, 1, 1])
    return np.sqrt(2 / waves) * np.cos(points @ frequency.T + rng.uniform(0, 2 * np.pi, waves)).sum(axis=-1)


def _gaussians(skin: Surface, colour: Float[np.ndarray, "n 3"]) -> Gaussians:
    spread = SPREAD * skin.spacing
    scales = np.stack([spread, spread, np.full_like(spread, THICKNESS)], axis=-1)
    means = skin.points - THICKNESS * skin.normals  # the skin, not the splats' middle, is where it should be
    as_tensor = lambda values: torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32))  # noqa: E731
    return Gaussians(
        means=as_tensor(means),
        scales=as_tensor(scales),
        rotations=as_tensor(_quaternion_to(skin.normals)),
        opacities=torch.full((len(means),), OPACITY),
        harmonics=harmonics.degree_0_from_rgb(as_tensor(colour))[:, None],
    )


def _quaternion_to(normal: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n 4"]:
    """The shortest rotations wxyz from z to unit vectors: the half-way quaternion (1 + z.n, z x n)."""
    half = np.stack([1 + normal[:, 2], -normal[:, 1], normal[:, 0], np.zeros(len(normal))], axis=-1)
    half[half[:, 0] < 1e-6] = (0, 1, 0, 0)  # straight down: half a turn about x
    return half / np.linalg.norm(half, axis=-1, keepdims=True)
