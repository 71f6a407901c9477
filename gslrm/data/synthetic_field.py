"""The skin of many overlapping ellipsoids as one smooth closed mesh.

The skin is where `sum_i exp(-d_i / k_i) = 1`, with d_i the distance to ellipsoid i (Quilez' first-order bound) and k_i
how softly it melts into the others. It is polygonised by a surface net on a lattice that is filled only near the skin;
every vertex then slides onto the skin along its gradient.
"""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from gslrm.compiled import kernel
from gslrm.data.synthetic_net import surface_net

BLOCK = 4  # lattice nodes per side of the blocks that are filled or skipped as a whole
NEGLIGIBLE = 6.0  # softness lengths at which exp(-d / k) no longer counts
ABOVE = 5.0  # mm over the skin at which it is asked whether anything is near
DEEP = 12.0  # log density given to what is skipped: minus it outside, it inside


@dataclass(frozen=True)
class Blobs:
    """Posed ellipsoids; lengths in mm.

    Rows of `axes` are the unit half-axes in the world, `radii` their lengths. The same ellipsoid lies at `rest` on the
    animal that has not been posed, with its axes along x, y, z there. `softness` is the length over which it melts
    into others. `bare` says how much of it is skin without fur.
    """

    center: Float[np.ndarray, "n 3"]
    axes: Float[np.ndarray, "n 3 3"]
    radii: Float[np.ndarray, "n 3"]
    rest: Float[np.ndarray, "n 3"]
    softness: Float[np.ndarray, "n"]
    bare: Float[np.ndarray, "n"]

    def lowest(self) -> float:
        """Height of the lowest point of any ellipsoid."""
        return float((self.center[:, 2] - np.linalg.norm(self.axes[:, :, 2] * self.radii, axis=1)).min())

    def box(self) -> tuple[Float[np.ndarray, "3"], Float[np.ndarray, "3"]]:
        """Corners of a box that holds the skin."""
        reach = np.linalg.norm(self.axes * self.radii[:, :, None], axis=1) + 2 * self.softness[:, None]
        return (self.center - reach).min(axis=0), (self.center + reach).max(axis=0)


@dataclass(frozen=True)
class Skin:
    """A closed mesh with outward normals; lengths in mm.

    `rest` places a vertex on the animal that has not been posed, so that coat patterns do not slide over the skin.
    `pigment` says how much of it is bare skin, pale underside and eye; `open_sky` is 1 where nothing is near.
    """

    vertices: Float[np.ndarray, "v 3"]
    normals: Float[np.ndarray, "v 3"]
    faces: Int[np.ndarray, "f 3"]
    rest: Float[np.ndarray, "v 3"]
    pigment: Float[np.ndarray, "v 3"]
    open_sky: Float[np.ndarray, "v"]


def skin_of(blobs: Blobs, spacing: float) -> Skin:
    """The skin as a mesh whose edges are about `spacing` mm long; what is thinner than that may break up."""
    low, high = blobs.box()
    low = low - 2 * spacing
    count = (np.ceil((high + 2 * spacing - low) / (spacing * BLOCK)).astype(np.int64) + 1) * BLOCK
    arrays = _arrays(blobs)
    density = np.empty(tuple(count), np.float32)
    _fill(density, low, spacing, *arrays)
    vertices, faces = surface_net(density, low, spacing)
    normals, rest, open_sky = np.empty_like(vertices), np.zeros_like(vertices), np.empty(len(vertices))
    pigment = np.zeros((len(vertices), 3))
    _slide(vertices, normals, rest, pigment, open_sky, 0.7 * spacing, *arrays, blobs.axes, blobs.rest, blobs.bare)
    return Skin(vertices, normals, faces, rest, pigment, open_sky)


def _arrays(blobs: Blobs) -> tuple[np.ndarray, ...]:
    """What the kernels read of ellipsoids: centres, maps to the unit ball, inverse radii, softness, reach."""
    inverse = 1 / blobs.radii
    reach = blobs.radii.max(axis=1) + NEGLIGIBLE * blobs.softness
    maps = np.ascontiguousarray(blobs.axes * inverse[:, :, None])
    return np.ascontiguousarray(blobs.center), maps, inverse, blobs.softness, reach


@kernel
def _scaled_distance(i, x, y, z, center, maps, inverse, softness):
    """Distance to an ellipsoid in units of its softness; its gradient in the ellipsoid's own axes, times k1 below."""
    x, y, z = x - center[i, 0], y - center[i, 1], z - center[i, 2]
    u = maps[i, 0, 0] * x + maps[i, 0, 1] * y + maps[i, 0, 2] * z
    v = maps[i, 1, 0] * x + maps[i, 1, 1] * y + maps[i, 1, 2] * z
    w = maps[i, 2, 0] * x + maps[i, 2, 1] * y + maps[i, 2, 2] * z
    k0 = math.sqrt(u * u + v * v + w * w)
    a, b, c = u * inverse[i, 0], v * inverse[i, 1], w * inverse[i, 2]
    k1 = math.sqrt(a * a + b * b + c * c) + 1e-9
    return k0 * (k0 - 1) / (k1 * softness[i]), u, v, w, k1


@kernel
def _near(x, y, z, margin, center, reach, chosen):
    """Write down the ellipsoids that matter within `margin` of a point; how many there are."""
    count = 0
    for i in range(len(center)):
        dx, dy, dz = x - center[i, 0], y - center[i, 1], z - center[i, 2]
        far = reach[i] + margin
        if dx * dx + dy * dy + dz * dz < far * far:
            chosen[count] = i
            count += 1
    return count


@kernel
def _log_density(x, y, z, chosen, count, center, maps, inverse, softness):
    total = 1e-30
    for k in range(count):
        d = _scaled_distance(chosen[k], x, y, z, center, maps, inverse, softness)[0]
        if d < NEGLIGIBLE:
            total += math.exp(min(-d, 40.0))
    return math.log(total)


@kernel
def _cull(x, y, z, half, chosen, count, center, maps, inverse, softness):
    """Keep the ellipsoids that reach into a block; 0 if none does, -1 if the block lies within one."""
    kept = 0
    for k in range(count):
        i = chosen[k]
        dx, dy, dz = x - center[i, 0], y - center[i, 1], z - center[i, 2]
        u = maps[i, 0, 0] * dx + maps[i, 0, 1] * dy + maps[i, 0, 2] * dz
        v = maps[i, 1, 0] * dx + maps[i, 1, 1] * dy + maps[i, 1, 2] * dz
        w = maps[i, 2, 0] * dx + maps[i, 2, 1] * dy + maps[i, 2, 2] * dz
        thickest = max(inverse[i, 0], inverse[i, 1], inverse[i, 2])
        away = (math.sqrt(u * u + v * v + w * w) - 1) / thickest  # never more than the true distance
        if away < -half:
            return -1
        if away < half + NEGLIGIBLE * softness[i]:
            chosen[kept] = i
            kept += 1
    return kept


@kernel
def _fill(density, low, spacing, center, maps, inverse, softness, reach):
    """Log of the summed densities at the lattice's nodes."""
    chosen = np.empty(len(center), np.int64)
    half = 0.5 * spacing * BLOCK * math.sqrt(3.0)
    nx, ny, nz = density.shape
    for block in range(nx * ny * nz // BLOCK**3):
        bx = block // (ny // BLOCK * (nz // BLOCK)) * BLOCK
        by = block // (nz // BLOCK) % (ny // BLOCK) * BLOCK
        bz = block % (nz // BLOCK) * BLOCK
        mx, my, mz = low[0] + (bx + 2) * spacing, low[1] + (by + 2) * spacing, low[2] + (bz + 2) * spacing
        count = _near(mx, my, mz, half, center, reach, chosen)
        count = _cull(mx, my, mz, half, chosen, count, center, maps, inverse, softness)
        if count <= 0:
            density[bx : bx + BLOCK, by : by + BLOCK, bz : bz + BLOCK] = -DEEP if count == 0 else DEEP
            continue
        for node in range(BLOCK**3):
            i, j, k = bx + node // BLOCK**2, by + node // BLOCK % BLOCK, bz + node % BLOCK
            x, y, z = low[0] + i * spacing, low[1] + j * spacing, low[2] + k * spacing
            density[i, j, k] = _log_density(x, y, z, chosen, count, center, maps, inverse, softness)


@kernel
def _gradient(x, y, z, chosen, count, weight, center, maps, inverse, softness):
    """Summed density at a point and its gradient; the parts of the sum are left in `weight`."""
    total, gx, gy, gz = 1e-30, 0.0, 0.0, 0.0
    for k in range(count):
        i = chosen[k]
        d, u, v, w, k1 = _scaled_distance(i, x, y, z, center, maps, inverse, softness)
        weight[k] = math.exp(min(-d, 40.0)) if d < NEGLIGIBLE else 0.0
        total += weight[k]
        slope = -weight[k] / (softness[i] * k1)
        gx += slope * (maps[i, 0, 0] * u + maps[i, 1, 0] * v + maps[i, 2, 0] * w)
        gy += slope * (maps[i, 0, 1] * u + maps[i, 1, 1] * v + maps[i, 2, 1] * w)
        gz += slope * (maps[i, 0, 2] * u + maps[i, 1, 2] * v + maps[i, 2, 2] * w)
    return total, gx, gy, gz


@kernel
def _touching(x, y, z, margin, around, near, chosen, center, maps, inverse, softness):
    """Of the ellipsoids around a point, write down those that count within `margin` of it; how many there are."""
    count = 0
    for k in range(near):
        i = around[k]
        if _scaled_distance(i, x, y, z, center, maps, inverse, softness)[0] < NEGLIGIBLE + margin / softness[i]:
            chosen[count] = i
            count += 1
    return count


@kernel
def _slide(
    vertices, normals, rest, pigment, open_sky, limit, center, maps, inverse, softness, reach, axes, rest_center, bare
):
    """Two damped Newton steps onto the skin, then all that is blended there."""
    weight = np.empty(len(center))
    around, chosen = np.empty(len(center), np.int64), np.empty(len(center), np.int64)
    for vertex in range(len(vertices)):
        x, y, z = vertices[vertex, 0], vertices[vertex, 1], vertices[vertex, 2]
        near = _near(x, y, z, 2 * limit, center, reach, around)
        count = _touching(x, y, z, 2 * limit, around, near, chosen, center, maps, inverse, softness)
        for _ in range(2):
            total, gx, gy, gz = _gradient(x, y, z, chosen, count, weight, center, maps, inverse, softness)
            steep = (gx * gx + gy * gy + gz * gz) / (total * total) + 1e-12
            move = -math.log(total) / (steep * total)
            move *= min(1.0, limit / (abs(move) * math.sqrt(steep) * total + 1e-12))
            x, y, z = x + move * gx, y + move * gy, z + move * gz
        vertices[vertex, 0], vertices[vertex, 1], vertices[vertex, 2] = x, y, z
        total, gx, gy, gz = _gradient(x, y, z, chosen, count, weight, center, maps, inverse, softness)
        size = math.sqrt(gx * gx + gy * gy + gz * gz) + 1e-30
        gx, gy, gz = -gx / size, -gy / size, -gz / size
        normals[vertex, 0], normals[vertex, 1], normals[vertex, 2] = gx, gy, gz
        for k in range(count):
            i, share = chosen[k], weight[k] / total
            if share < 1e-3:
                continue
            dx, dy, dz = x - center[i, 0], y - center[i, 1], z - center[i, 2]
            for c in range(3):
                along = axes[i, c, 0] * dx + axes[i, c, 1] * dy + axes[i, c, 2] * dz
                rest[vertex, c] += share * (rest_center[i, c] + along)
            pigment[vertex, 0] += share * bare[i]
        over = _log_density(
            x + ABOVE * gx, y + ABOVE * gy, z + ABOVE * gz, around, near, center, maps, inverse, softness
        )
        open_sky[vertex] = 1 - min(math.exp(over), 1.0)
