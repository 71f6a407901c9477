"""Random mice as coloured meshes: a body, a posture, a coat, light."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from jaxtyping import Float

from gslrm.data.synthetic_body import build_mouse
from gslrm.data.synthetic_coat import COATS, albedo, grain_at, sample_coat
from gslrm.data.synthetic_field import Skin
from gslrm.data.synthetic_light import sample_light
from gslrm.data.synthetic_pose import RATES, sample_pose
from gslrm.data.synthetic_raster import Mesh
from gslrm.data.synthetic_rig import ARENA_CENTER
from gslrm.data.synthetic_shape import sample_shape

ARENA_HALF = 65.0  # mm: the walking mouse of the real recordings keeps within 130 x 132 mm


@dataclass(frozen=True)
class MouseOptions:
    """Which mice are drawn: rates of postures, names of coats, whether they have whiskers, mm between vertices."""

    rates: Mapping[str, float] = field(default_factory=lambda: RATES)
    coats: Sequence[str] = tuple(COATS)
    whiskers: bool = False
    spacing: float = 1.2


def sample_mouse(rng: np.random.Generator, options: MouseOptions | None = None) -> Mesh:
    """A random mouse on a floor at z = 0, in mm, lit."""
    options = options or MouseOptions()
    shape, pose = sample_shape(rng), sample_pose(rng, options.rates)
    coat, light = sample_coat(rng, options.coats), sample_light(rng)
    heading = rng.uniform(-np.pi, np.pi)
    whisker_rng = np.random.default_rng(coat.seed) if options.whiskers else None
    skin = _turned(build_mouse(shape, pose, spacing=options.spacing, whisker_rng=whisker_rng), heading)
    colours = np.clip(albedo(skin, coat) * light.shade(skin), 0.008, 0.96)
    grain = coat.grain * (1 - skin.pigment[:, 0]) * (skin.pigment[:, 2] == 0)
    return Mesh(skin.vertices, skin.faces, colours, grain_at(skin), grain)


def place_in_arena(rng: np.random.Generator, mesh: Mesh) -> Float[np.ndarray, "3"]:
    """The shift that brings the middle of an animal above a random point of the arena's floor."""
    middle = np.array(ARENA_CENTER[:2]) + rng.uniform(-ARENA_HALF, ARENA_HALF, 2)
    return np.append(middle - mesh.vertices[:, :2].mean(axis=0), 0)


def _turned(skin: Skin, angle: float) -> Skin:
    """The skin after a turn on the floor."""
    cosine, sine = np.cos(angle), np.sin(angle)
    turn = np.array([[cosine, -sine, 0], [sine, cosine, 0], [0, 0, 1]])
    return replace(skin, vertices=skin.vertices @ turn.T, normals=skin.normals @ turn.T)
