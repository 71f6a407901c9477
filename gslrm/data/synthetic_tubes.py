"""Triangle meshes of swept tubes, cupped discs and balls."""

from dataclasses import fields

import numpy as np
from jaxtyping import Float, Int

from gslrm.compiled import kernel
from gslrm.data.synthetic_field import Skin
from gslrm.data.synthetic_skeleton import unit


def tube_vertices(
    center: Float[np.ndarray, "t k 3"],
    toward_up: Float[np.ndarray, "#t 3"],
    radii: Float[np.ndarray, "t k 2"],
    sides: int,
) -> Float[np.ndarray, "t k sides 3"]:
    """Rings of tubes along centre lines; half-axes are given across and towards `toward_up`."""
    tangent = unit(np.gradient(center, axis=1))
    across = unit(np.cross(np.broadcast_to(toward_up[:, None], tangent.shape), tangent))
    above = np.cross(tangent, across)
    angle = 2 * np.pi * np.arange(sides) / sides
    offset = radii[:, :, None, :1] * across[:, :, None] * np.cos(angle)[:, None]
    return center[:, :, None] + offset + radii[:, :, None, 1:] * above[:, :, None] * np.sin(angle)[:, None]


def grid_faces(rows: int, columns: int, *, closed: bool = True) -> Int[np.ndarray, "f 3"]:
    """Triangles of a grid of vertices, row by row; closed grids join their last column to the first.

    The triangles face outwards on a tube whose rows run onwards and whose columns turn left about that direction.
    """
    row = np.arange(rows - 1)[:, None] * columns
    column = np.arange(columns if closed else columns - 1)[None]
    ahead = (column + 1) % columns
    a, b = row + column, row + ahead
    c, d = a + columns, b + columns
    return np.concatenate([np.stack([a, b, d], -1).reshape(-1, 3), np.stack([a, d, c], -1).reshape(-1, 3)])


def tubes(
    center: Float[np.ndarray, "t k 3"],
    toward_up: Float[np.ndarray, "#t 3"],
    radii: Float[np.ndarray, "t k 2"],
    *,
    sides: int,
    rest: Float[np.ndarray, "t k 3"],
    bare: Float[np.ndarray, "#t k"],
) -> Skin:
    """Closed tubes; where their radii do not shrink to nothing, the ends are open, so let them."""
    count, nodes, _ = center.shape
    vertices = tube_vertices(center, toward_up, radii, sides).reshape(-1, 3)
    one = grid_faces(nodes, sides)
    faces = (one[None] + (np.arange(count) * nodes * sides)[:, None, None]).reshape(-1, 3)
    angle = 2 * np.pi * np.arange(sides) / sides
    round_it = np.stack([0 * angle, 2 * np.cos(angle), 2 * np.sin(angle)], axis=-1)
    places = (rest[:, :, None] + round_it).reshape(-1, 3)
    pigment = np.zeros_like(vertices)
    pigment[:, 0] = np.repeat(np.broadcast_to(bare, (count, nodes)).ravel(), sides)
    return closed_skin(vertices, faces, places, pigment)


def round_ends(at: Float[np.ndarray, "k"], share: float) -> Float[np.ndarray, "k"]:
    """Factors of a tube's radius that close its ends like balls, over a share of its length."""
    return np.sqrt(np.clip(1 - np.clip(1 - np.minimum(at, 1 - at) / share, 0, None) ** 2, 1e-6, 1))


def ball(center: Float[np.ndarray, "3"], radius: float, pole: Float[np.ndarray, "3"], *, rows: int = 9) -> Skin:
    """A sphere whose vertices lie in rings about `pole`; all of it is eye."""
    at = 0.5 - 0.5 * np.cos(np.pi * np.linspace(0, 1, rows))
    line = center + radius * (2 * at[:, None] - 1) * pole
    width = radius * np.sqrt(np.clip(1 - (2 * at - 1) ** 2, 1e-8, 1))
    helper = np.array([0.0, 0.0, 1.0]) if abs(pole[2]) < 0.8 else np.array([1.0, 0.0, 0.0])
    skin = tubes(
        line[None], helper[None], np.stack([width, width], -1)[None], sides=12, rest=0 * line[None], bare=0 * at[None]
    )
    skin.pigment[:, 2] = 1
    skin.normals[:] = (skin.vertices - center) / radius
    return skin


def closed_skin(
    vertices: Float[np.ndarray, "v 3"],
    faces: Int[np.ndarray, "f 3"],
    rest: Float[np.ndarray, "v 3"],
    pigment: Float[np.ndarray, "v 3"],
) -> Skin:
    """A skin with the normals of its triangles, under the open sky."""
    normals = vertex_normals(vertices, faces)
    return Skin(vertices, normals, faces, rest, pigment, np.ones(len(vertices)))


def join(skins: list[Skin]) -> Skin:
    """One skin of many."""
    starts = np.cumsum([0] + [len(skin.vertices) for skin in skins[:-1]])
    joined = {f.name: np.concatenate([getattr(skin, f.name) for skin in skins]) for f in fields(Skin)}
    joined["faces"] = np.concatenate([skin.faces + start for skin, start in zip(skins, starts, strict=True)])
    return Skin(**joined)


def vertex_normals(vertices: Float[np.ndarray, "v 3"], faces: Int[np.ndarray, "f 3"]) -> Float[np.ndarray, "v 3"]:
    """Unit normals, triangles weighted by their area; counter-clockwise triangles face outwards."""
    normals = np.zeros_like(vertices)
    _add_normals(normals, vertices, np.ascontiguousarray(faces))
    return unit(normals)


@kernel
def _add_normals(normals, vertices, faces):
    for face in range(len(faces)):
        a, b, c = faces[face, 0], faces[face, 1], faces[face, 2]
        ux, uy, uz = vertices[b, 0] - vertices[a, 0], vertices[b, 1] - vertices[a, 1], vertices[b, 2] - vertices[a, 2]
        vx, vy, vz = vertices[c, 0] - vertices[a, 0], vertices[c, 1] - vertices[a, 1], vertices[c, 2] - vertices[a, 2]
        x, y, z = uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx
        for corner in range(3):
            vertex = faces[face, corner]
            normals[vertex, 0] += x
            normals[vertex, 1] += y
            normals[vertex, 2] += z
