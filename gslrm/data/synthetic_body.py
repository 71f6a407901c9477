"""The skin of a posed mouse, from its shape and posture.

Everything is built in the animal's own frame: x forward, y left, z up, floor at z = 0, lengths in mm.
"""

from dataclasses import replace

import numpy as np

from gslrm.data.synthetic_field import Skin, skin_of
from gslrm.data.synthetic_flesh import flesh_of, paleness
from gslrm.data.synthetic_noise import noise
from gslrm.data.synthetic_parts import ear, eye, paws, tail, whiskers
from gslrm.data.synthetic_pose import Pose
from gslrm.data.synthetic_shape import Shape
from gslrm.data.synthetic_skeleton import build_skeleton
from gslrm.data.synthetic_tubes import join, vertex_normals

FLOOR = 0.1  # mm: what presses on the floor gets flat
FOLDS, FOLD_STRETCH = (11.0, 3.2), 0.5  # mm between folds and between tufts; they run along the body


def build_mouse(
    shape: Shape, pose: Pose, *, spacing: float = 1.2, whisker_rng: np.random.Generator | None = None
) -> Skin:
    """The skin of a mouse of this shape in this pose, with the middle of its trunk above the origin.

    Args:
        shape: proportions.
        pose: posture.
        spacing: length of the mesh's edges in mm, between 0.6 and 2.
        whisker_rng: draws whiskers, which are left out without it.
    """
    skeleton = build_skeleton(shape, pose)
    body = skin_of(flesh_of(skeleton, shape), spacing)
    body.pigment[:, 1] = paleness(body.rest, shape)
    body = _uneven(body, shape)
    parts = [body, tail(skeleton, shape, pose), *paws(skeleton.legs, shape)]
    for sign in (1.0, -1.0):
        parts += [ear(skeleton.head, shape, sign), *eye(skeleton.head, shape, sign)]
    if whisker_rng is not None:
        parts.append(whiskers(skeleton.head, shape, whisker_rng))
    mouse = join(parts)
    mouse.vertices[:, 2] = np.maximum(mouse.vertices[:, 2], FLOOR)
    return mouse


def _uneven(body: Skin, shape: Shape) -> Skin:
    """Fur that lies in folds and tufts; bare skin stays as it is."""
    height = 0.0
    for octave, (size, wavelength) in enumerate(zip(shape.folds, FOLDS, strict=True)):
        height = height + size * noise(
            body.rest, seed=shape.seed, octave=octave, wavelength=wavelength, stretch=FOLD_STRETCH
        )
    vertices = body.vertices + (1 - body.pigment[:, :1]) * height * body.normals
    return replace(body, vertices=vertices, normals=vertex_normals(vertices, body.faces))
