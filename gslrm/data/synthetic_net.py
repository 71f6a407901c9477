"""The zero level of values on a lattice as a mesh: surface nets (Gibson, 1998)."""

import numpy as np

from gslrm.compiled import kernel


@kernel
def surface_net(density, low, spacing):
    """One vertex per cell that the skin crosses, one quad per lattice edge that it crosses, facing outwards.

    Args:
        density: [x, y, z] values at the lattice's nodes, positive inside.
        low: [3] place of the first node.
        spacing: between nodes.

    Returns:
        Vertices [v, 3] and faces [f, 3].
    """
    nx, ny, nz = density.shape
    number = np.full((nx, ny, nz), -1, np.int32)
    vertices = np.empty((nx * ny * nz // 4, 3))
    count = 0
    for i in range(nx - 1):
        for j in range(ny - 1):
            for k in range(nz - 1):
                if not _crossed(density, i, j, k):
                    continue
                x, y, z = _mean_crossing(density, i, j, k)
                number[i, j, k] = count
                vertices[count, 0] = low[0] + spacing * x
                vertices[count, 1] = low[1] + spacing * y
                vertices[count, 2] = low[2] + spacing * z
                count += 1
    faces = np.empty((8 * count, 3), np.int32)
    made = 0
    for i in range(1, nx - 1):
        for j in range(1, ny - 1):
            for k in range(1, nz - 1):
                made = _add_quads(density, number, faces, made, i, j, k)
    return vertices[:count].copy(), faces[:made].copy()


@kernel
def _crossed(density, i, j, k):
    """Whether the skin passes between the corners of a cell."""
    first = density[i, j, k] > 0
    for corner in range(1, 8):
        if (density[i + (corner & 1), j + (corner >> 1 & 1), k + (corner >> 2)] > 0) != first:
            return True
    return False


@kernel
def _mean_crossing(density, i, j, k):
    """The middle of where the skin crosses the edges of a cell, in lattice steps."""
    x, y, z, crossings = 0.0, 0.0, 0.0, 0
    for edge in range(24):
        axis, corner = edge >> 3, edge & 7
        if corner >> axis & 1:
            continue
        cx, cy, cz = corner & 1, corner >> 1 & 1, corner >> 2
        a = density[i + cx, j + cy, k + cz]
        b = density[i + cx + (axis == 0), j + cy + (axis == 1), k + cz + (axis == 2)]
        if (a > 0) == (b > 0):
            continue
        t = a / (a - b)
        x += cx + t * (axis == 0)
        y += cy + t * (axis == 1)
        z += cz + t * (axis == 2)
        crossings += 1
    return i + x / crossings, j + y / crossings, k + z / crossings


@kernel
def _add_quads(density, number, faces, made, i, j, k):
    """Two triangles around each of a node's three onward edges that the skin crosses; how many there are now."""
    inside = density[i, j, k] > 0
    for axis in range(3):
        if (density[i + (axis == 0), j + (axis == 1), k + (axis == 2)] > 0) == inside:
            continue
        if axis == 0:
            b, d = number[i, j, k - 1], number[i, j - 1, k]
        elif axis == 1:
            b, d = number[i - 1, j, k], number[i, j, k - 1]
        else:
            b, d = number[i, j - 1, k], number[i - 1, j, k]
        a = number[i - (axis != 0), j - (axis != 1), k - (axis != 2)]
        c = number[i, j, k]
        if not inside:
            b, d = d, b
        faces[made, 0], faces[made, 1], faces[made, 2] = a, b, c
        faces[made + 1, 0], faces[made + 1, 1], faces[made + 1, 2] = a, c, d
        made += 2
    return made
