"""Pictures of coloured triangle meshes: exact coverage, exact depth at pixel centres, on one core.

Every pixel is looked at in SAMPLES x SAMPLES places, the middle one of which is its centre. Triangles are seen from
their front only; the mesh must be closed or drawn from both sides.
"""

import math
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float, Int

from gslrm.cameras import Cameras
from gslrm.compiled import kernel

SAMPLES = 3  # places per pixel and axis, odd so that one of them is the centre
NEAREST = 1e-3  # triangles with a corner nearer to a camera's plane than this are not drawn
GRAIN = 32  # nodes per axis of the grain's repeating lattice


@dataclass(frozen=True)
class Mesh:
    """Triangles with colours at their corners; counter-clockwise as seen from outside.

    `grain_at` is where a vertex lies in the lattice of fine random brightness, `grain` how strongly that shows.
    """

    vertices: Float[np.ndarray, "v 3"]
    faces: Int[np.ndarray, "f 3"]
    colours: Float[np.ndarray, "v 3"]
    grain_at: Float[np.ndarray, "v 3"]
    grain: Float[np.ndarray, "v"]

    @staticmethod
    def plain(
        vertices: Float[np.ndarray, "v 3"], faces: Int[np.ndarray, "f 3"], colours: Float[np.ndarray, "v 3"]
    ) -> "Mesh":
        """A mesh without grain."""
        return Mesh(vertices, faces, colours, np.zeros_like(vertices), np.zeros(len(vertices)))

    def moved(self, shift: Float[np.ndarray, "3"]) -> "Mesh":
        """The same mesh elsewhere."""
        return replace(self, vertices=self.vertices + shift)


@dataclass(frozen=True)
class Pictures:
    """What cameras see of a mesh.

    `colour` is premultiplied by coverage, in [0, 1]; `coverage` in [0, 1]; `depth` is z along the optical axis in the
    world's unit at the pixel's centre, or at the nearest covered place beside it, and 0 where less than half of the
    pixel is covered.
    """

    colour: Float[np.ndarray, "v h w 3"]
    coverage: Float[np.ndarray, "v h w"]
    depth: Float[np.ndarray, "v h w"]


def photograph(mesh: Mesh, cameras: Cameras, grain_seed: int = 0) -> Pictures:
    """See a mesh from every camera.

    Args:
        mesh: in the cameras' world.
        cameras: [V], without skew.
        grain_seed: decides the lattice of fine brightness.
    """
    shape = (len(cameras.focal), cameras.height, cameras.width)
    colour = np.zeros((*shape, 3), np.float32)
    coverage, depth = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
    lattice = grain_lattice(grain_seed)
    fine = np.zeros((cameras.height * SAMPLES, cameras.width * SAMPLES), np.float32)
    owner = np.zeros(fine.shape, np.int32)
    faces = np.ascontiguousarray(mesh.faces, dtype=np.int32)
    attributes = np.column_stack([mesh.colours, mesh.grain_at, mesh.grain])
    camera_from_world = cameras.camera_from_world.double().numpy()
    focal, center = cameras.focal.double().numpy(), cameras.center.double().numpy()
    for view in range(len(focal)):
        points = mesh.vertices @ camera_from_world[view, :3, :3].T + camera_from_world[view, :3, 3]
        screen = _project(points, focal[view], center[view])
        window = _draw(fine, owner, screen, faces)
        _resolve(fine, owner, window, screen, faces, attributes, lattice, colour[view], coverage[view], depth[view])
    return Pictures(colour, coverage, depth)


def grain_lattice(seed: int) -> Float[np.ndarray, "n n n"]:
    """Random brightness of zero mean and unit variance at the nodes of a lattice that repeats."""
    return np.random.default_rng([seed, GRAIN]).standard_normal((GRAIN,) * 3).astype(np.float32)


def _project(
    points: Float[np.ndarray, "v 3"], focal: Float[np.ndarray, "2"], center: Float[np.ndarray, "2"]
) -> Float[np.ndarray, "v 3"]:
    """Fine pixel x, y (their centres at whole numbers) and 1 / z; 0 for z where a point is not before the camera."""
    depth = points[:, 2]
    inverse = np.where(depth > NEAREST, 1 / np.maximum(depth, NEAREST), 0)
    pixel = points[:, :2] * inverse[:, None] * focal + center
    return np.column_stack([pixel * SAMPLES - 0.5, inverse])


@kernel
def _draw(fine, owner, screen, faces):
    """Keep the nearest front-facing triangle of every place; the window that was touched, end exclusive."""
    height, width = fine.shape
    left, top, right, bottom = width, height, 0, 0
    for face in range(len(faces)):
        a, b, c = screen[faces[face, 0]], screen[faces[face, 1]], screen[faces[face, 2]]
        area = (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])
        if area >= 0 or a[2] == 0 or b[2] == 0 or c[2] == 0:  # rows grow downwards, so fronts turn the other way
            continue
        first_x = max(0, math.ceil(min(a[0], b[0], c[0])))
        last_x = min(width - 1, math.floor(max(a[0], b[0], c[0])))
        first_y = max(0, math.ceil(min(a[1], b[1], c[1])))
        last_y = min(height - 1, math.floor(max(a[1], b[1], c[1])))
        if first_x > last_x or first_y > last_y:
            continue
        scale = 1 / area
        for y in range(first_y, last_y + 1):
            for x in range(first_x, last_x + 1):
                u = ((c[0] - b[0]) * (y - b[1]) - (c[1] - b[1]) * (x - b[0])) * scale
                v = ((a[0] - c[0]) * (y - c[1]) - (a[1] - c[1]) * (x - c[0])) * scale
                inverse = u * a[2] + v * b[2] + (1 - u - v) * c[2]
                if min(u, v, 1 - u - v) >= 0 and inverse > fine[y, x]:
                    fine[y, x] = inverse
                    owner[y, x] = face
        left, right = min(left, first_x), max(right, last_x + 1)
        top, bottom = min(top, first_y), max(bottom, last_y + 1)
    return left, top, right, bottom


@kernel
def _resolve(fine, owner, window, screen, faces, attributes, lattice, colour, coverage, depth):
    """Average the places of each pixel, then leave `fine` empty for the next view."""
    left, top, right, bottom = window
    share, half = 1 / (SAMPLES * SAMPLES), SAMPLES // 2
    for row in range(top // SAMPLES, (bottom + SAMPLES - 1) // SAMPLES):
        for column in range(left // SAMPLES, (right + SAMPLES - 1) // SAMPLES):
            red, green, blue, count, shaded = 0.0, 0.0, 0.0, 0, 0
            nearest, z = SAMPLES * SAMPLES, 0.0
            for place in range(SAMPLES * SAMPLES):
                dy, dx = place // SAMPLES, place % SAMPLES
                y, x = row * SAMPLES + dy, column * SAMPLES + dx
                if fine[y, x] == 0:
                    continue
                fine[y, x] = 0
                count += 1
                off = (dy - half) ** 2 + (dx - half) ** 2
                if place % 2 and shaded and off >= nearest:
                    continue  # coverage is asked of every place, colour of every second one
                face = owner[y, x]
                a, b, c = faces[face, 0], faces[face, 1], faces[face, 2]
                u, v, w, flat = _weights(screen[a], screen[b], screen[c], x, y)
                if off < nearest:
                    nearest, z = off, 1 / flat
                shaded += 1
                bright = _grain(attributes[a], attributes[b], attributes[c], u, v, w, lattice)
                red += bright * (u * attributes[a, 0] + v * attributes[b, 0] + w * attributes[c, 0])
                green += bright * (u * attributes[a, 1] + v * attributes[b, 1] + w * attributes[c, 1])
                blue += bright * (u * attributes[a, 2] + v * attributes[b, 2] + w * attributes[c, 2])
            if count:
                coverage[row, column] = count * share
                colour[row, column, 0] = min(red / shaded, 1.0) * count * share  # nothing is brighter than white
                colour[row, column, 1] = min(green / shaded, 1.0) * count * share
                colour[row, column, 2] = min(blue / shaded, 1.0) * count * share
            if 2 * count > SAMPLES * SAMPLES:
                depth[row, column] = z


@kernel
def _weights(a, b, c, x, y):
    """Shares of a triangle's corners at a place of the picture, on the triangle itself, and 1 / z there."""
    scale = 1 / ((b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0]))
    u = ((c[0] - b[0]) * (y - b[1]) - (c[1] - b[1]) * (x - b[0])) * scale
    v = ((a[0] - c[0]) * (y - c[1]) - (a[1] - c[1]) * (x - c[0])) * scale
    flat = u * a[2] + v * b[2] + (1 - u - v) * c[2]
    u, v = u * a[2] / flat, v * b[2] / flat
    return u, v, 1 - u - v, flat


@kernel
def _grain(a, b, c, u, v, w, lattice):
    """Brightness by the grain at a place on a triangle."""
    amount = u * a[6] + v * b[6] + w * c[6]
    if amount == 0:
        return 1.0
    size = len(lattice)
    x, y, z = u * a[3] + v * b[3] + w * c[3], u * a[4] + v * b[4] + w * c[4], u * a[5] + v * b[5] + w * c[5]
    ix, iy, iz = int(math.floor(x)), int(math.floor(y)), int(math.floor(z))
    tx, ty, tz = x - ix, y - iy, z - iz
    x0, y0, z0 = ix % size, iy % size, iz % size
    x1, y1, z1 = (ix + 1) % size, (iy + 1) % size, (iz + 1) % size
    a0 = lattice[x0, y0, z0] * (1 - tx) + lattice[x1, y0, z0] * tx
    a1 = lattice[x0, y1, z0] * (1 - tx) + lattice[x1, y1, z0] * tx
    b0 = lattice[x0, y0, z1] * (1 - tx) + lattice[x1, y0, z1] * tx
    b1 = lattice[x0, y1, z1] * (1 - tx) + lattice[x1, y1, z1] * tx
    near, far = a0 * (1 - ty) + a1 * ty, b0 * (1 - ty) + b1 * ty
    return max(0.0, 1 + amount * (near * (1 - tz) + far * tz))
