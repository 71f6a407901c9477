"""Numba kernels of the visual hull: carve a coarse grid, march rays to the surface, colour it from the given views.

Given views come packed: `projection` [v, 3, 4] takes world points to pixels, `extent` [v, 2] are heights and widths,
`start` [v] is where each view begins in the flat arrays `coverage` [p], `colour` [p, 3] (premultiplied) and
`given_depth` [p].
A view that does not have a point in its picture says nothing about it; a point that none has is outside.
"""

import math

import numpy as np

from gslrm.compiled import kernel

FULL = 0.99  # coverage from which a ray needs no further look
SURFACE = 0.5  # coverage at which a point counts as inside a silhouette
TILE = 8  # pixels across a tile of `bound`
SEEN_ALIKE = 12.0  # sharpness of the preference for views from the target's side: weight 1/e at 23 degrees


@kernel
def _pixel(projection, v, x, y, z):
    """Pixel and depth of a world point; a depth that is not positive lies behind the camera."""
    p = projection[v]
    depth = p[2, 0] * x + p[2, 1] * y + p[2, 2] * z + p[2, 3]
    if depth <= 0:
        return 0.0, 0.0, depth
    u = (p[0, 0] * x + p[0, 1] * y + p[0, 2] * z + p[0, 3]) / depth
    w = (p[1, 0] * x + p[1, 1] * y + p[1, 2] * z + p[1, 3]) / depth
    return u, w, depth


@kernel
def _corners(u, w, height, width):
    """Bilinear neighbours of a pixel position, with the shares of the second ones; edges continue outward."""
    x, y = min(max(u - 0.5, 0.0), width - 1.0), min(max(w - 0.5, 0.0), height - 1.0)
    left, top = int(x), int(y)
    return top, min(top + 1, height - 1), left, min(left + 1, width - 1), y - top, x - left


@kernel
def _least_coverage(x, y, z, projection, extent, start, coverage):
    """The least coverage that any view which has the point in its picture gives it; 0 when none has."""
    least, seen = 1.0, False
    for v in range(projection.shape[0]):
        u, w, depth = _pixel(projection, v, x, y, z)
        height, width = extent[v, 0], extent[v, 1]
        if depth <= 0 or not (0 <= u < width and 0 <= w < height):
            continue
        seen = True
        top, bottom, left, right, b, a = _corners(u, w, height, width)
        first, second = start[v] + top * width, start[v] + bottom * width
        value = (1 - b) * ((1 - a) * coverage[first + left] + a * coverage[first + right])
        value += b * ((1 - a) * coverage[second + left] + a * coverage[second + right])
        if value < least:
            least = value
            if least <= 0:
                return 0.0
    return least if seen else 0.0


@kernel
def carve(worker, workers, low, cell, projection, focal, extent, start, inside_sums, occupied):
    """Mark the cells of a cube that may hold a point inside: conservative, so that marching may skip the others.

    `inside_sums` [p + ...] are summed-area tables of the masks with a leading row and column of zeros per view.
    """
    grid = occupied.shape[0]
    radius = cell * math.sqrt(3) / 2
    for i in range(worker, grid, workers):
        for j in range(grid):
            for k in range(grid):
                x, y, z = low[0] + (i + 0.5) * cell, low[1] + (j + 0.5) * cell, low[2] + (k + 0.5) * cell
                occupied[i, j, k] = _may_hold(x, y, z, radius, projection, focal, extent, start, inside_sums)


@kernel
def _may_hold(x, y, z, radius, projection, focal, extent, start, inside_sums):
    seen = False
    for v in range(projection.shape[0]):
        u, w, depth = _pixel(projection, v, x, y, z)
        if depth <= 2 * radius:
            continue
        height, width = extent[v, 0], extent[v, 1]
        reach = 1.5 * focal[v] * radius / (depth - radius) + 1.5  # off the axis a ball looks longer
        left, right, top, bottom = u - reach, u + reach, w - reach, w + reach
        if right < 0 or left >= width or bottom < 0 or top >= height:
            continue
        seen = True
        if left < 0 or right >= width or top < 0 or bottom >= height:
            continue
        stride = width + 1
        first = start[v] + int(top) * stride
        second = start[v] + (int(bottom) + 1) * stride
        total = inside_sums[second + int(right) + 1] - inside_sums[second + int(left)]
        if total == inside_sums[first + int(right) + 1] - inside_sums[first + int(left)]:
            return False
    return seen


@kernel
def bound(projection, focal, cells, radius, extent, near, far):
    """Between which depths the pixels of each tile of a camera may meet one of `cells` [n, 3], balls of `radius`.

    `near` and `far` [rows, columns] come filled with infinity and 0.
    """
    for n in range(len(cells)):
        u, w, depth = _pixel(projection, 0, cells[n, 0], cells[n, 1], cells[n, 2])
        if depth <= -radius:
            continue
        reach = 1e9 if depth <= 2 * radius else 1.5 * focal * radius / (depth - radius)
        left, right = max(u - reach, 0.0), min(u + reach, extent[1] - 1.0)
        top, bottom = max(w - reach, 0.0), min(w + reach, extent[0] - 1.0)
        if left > right or top > bottom:
            continue
        for row in range(int(top) // TILE, int(bottom) // TILE + 1):
            for column in range(int(left) // TILE, int(right) // TILE + 1):
                near[row, column] = min(near[row, column], depth - radius)
                far[row, column] = max(far[row, column], depth + radius)


@kernel
def _clip(position, direction, low, size, near, far):
    """The part of a ray's stretch that lies inside the cube."""
    near = max(near, 1e-9)
    for axis in range(3):
        if abs(direction[axis]) < 1e-12:
            if not (low[axis] <= position[axis] <= low[axis] + size):
                return 1.0, 0.0
            continue
        first = (low[axis] - position[axis]) / direction[axis]
        second = (low[axis] + size - position[axis]) / direction[axis]
        near, far = max(near, min(first, second)), min(far, max(first, second))
    return near, far


@kernel
def _leave_cell(position, direction, low, cell, index):
    """The parameter at which a ray leaves the cell `index`."""
    leave = 1e30
    for axis in range(3):
        if abs(direction[axis]) >= 1e-12:
            wall = low[axis] + (index[axis] + (1 if direction[axis] > 0 else 0)) * cell
            leave = min(leave, (wall - position[axis]) / direction[axis])
    return leave


@kernel
def _first_hit(position, direction, near, far, low, cell, occupied, step, projection, extent, start, coverage):
    """Parameter of the surface along a ray, or of the best covered point where it misses; the best coverage on it.

    A ray that only grazes one part of the hull goes on: behind may lie another that covers it fully.
    """
    grid = occupied.shape[0]
    near, far = _clip(position, direction, low, grid * cell, near, far)
    index = np.zeros(3, np.int64)
    best, best_at, hit, before, before_at = 0.0, 0.0, -1.0, 0.0, near
    t = near
    while t < far:
        for axis in range(3):
            index[axis] = min(max(int((position[axis] + t * direction[axis] - low[axis]) / cell), 0), grid - 1)
        if not occupied[index[0], index[1], index[2]]:
            before, before_at = 0.0, t
            t = max(_leave_cell(position, direction, low, cell, index), t) + 1e-3 * step
            continue
        x, y, z = position[0] + t * direction[0], position[1] + t * direction[1], position[2] + t * direction[2]
        value = _least_coverage(x, y, z, projection, extent, start, coverage)
        if hit < 0 and value >= SURFACE:
            share = (SURFACE - before) / (value - before) if value > before else 1.0
            hit = before_at + share * (t - before_at)
        if value > best:
            best, best_at = value, t
        if best >= FULL:
            break
        before, before_at = value, t
        t += step
    return (hit if hit >= 0 else best_at), (1.0 if best >= FULL else best)


@kernel
def march(
    worker, workers, position, rotation, focal, center, near, far, low, cell, occupied, step,
    projection, extent, start, coverage, depth, alpha,
):  # fmt: skip
    """Depth along the axis and coverage of the hull in every pixel of a camera, searched between `bound`'s depths."""
    height, width = depth.shape
    direction = np.empty(3)
    for row in range(worker, height, workers):
        for column in range(width):
            first, last = near[row // TILE, column // TILE], far[row // TILE, column // TILE]
            if first >= last:
                continue
            a, b = (column + 0.5 - center[0]) / focal[0], (row + 0.5 - center[1]) / focal[1]
            for axis in range(3):
                direction[axis] = rotation[axis, 0] * a + rotation[axis, 1] * b + rotation[axis, 2]
            pace = step / math.sqrt(a * a + b * b + 1)
            at, covered = _first_hit(
                position, direction, first, last, low, cell, occupied, pace, projection, extent, start, coverage
            )
            alpha[row, column] = covered
            depth[row, column] = at if covered > 0 else 0.0


@kernel
def paint(
    worker, workers, position, rotation, focal, center, depth, alpha,
    projection, positions, extent, start, coverage, colour, given_depth, tolerance, painted,
):  # fmt: skip
    """Colours [h, w, 3] of the hull's surface, blended from the views that see it, those from the same side first."""
    height, width = depth.shape
    total = np.empty(4)
    for row in range(worker, height, workers):
        for column in range(width):
            if alpha[row, column] <= 0:
                continue
            a, b = (column + 0.5 - center[0]) / focal[0], (row + 0.5 - center[1]) / focal[1]
            t = depth[row, column]
            x = position[0] + t * (rotation[0, 0] * a + rotation[0, 1] * b + rotation[0, 2])
            y = position[1] + t * (rotation[1, 0] * a + rotation[1, 1] * b + rotation[1, 2])
            z = position[2] + t * (rotation[2, 0] * a + rotation[2, 1] * b + rotation[2, 2])
            for slack in (tolerance, 1e30):  # where no view sees the point, those that look through something else
                _blend(
                    x, y, z, position, projection, positions, extent, start, coverage, colour, given_depth, slack, total
                )
                if total[3] > 1e-6:
                    break
            for channel in range(3):
                painted[row, column, channel] = total[channel] / total[3] if total[3] > 1e-6 else 1.0


@kernel
def _blend(x, y, z, position, projection, positions, extent, start, coverage, colour, given_depth, slack, total):
    total[:] = 0
    tx, ty, tz = x - position[0], y - position[1], z - position[2]
    target_distance = math.sqrt(tx * tx + ty * ty + tz * tz)
    for v in range(projection.shape[0]):
        u, w, depth = _pixel(projection, v, x, y, z)
        height, width = extent[v, 0], extent[v, 1]
        if depth <= 0 or not (0 <= u < width and 0 <= w < height):
            continue
        front = given_depth[start[v] + int(w) * width + int(u)]
        if front > 0 and depth > front + slack:
            continue
        vx, vy, vz = x - positions[v, 0], y - positions[v, 1], z - positions[v, 2]
        cosine = (tx * vx + ty * vy + tz * vz) / (target_distance * math.sqrt(vx * vx + vy * vy + vz * vz))
        weight = math.exp(SEEN_ALIKE * (cosine - 1))
        top, bottom, left, right, b, a = _corners(u, w, height, width)
        first, second = start[v] + top * width, start[v] + bottom * width
        for place, share in (
            (first + left, (1 - b) * (1 - a)),
            (first + right, (1 - b) * a),
            (second + left, b * (1 - a)),
            (second + right, b * a),
        ):
            total[3] += weight * share * coverage[place]
            for channel in range(3):
                total[channel] += weight * share * colour[place, channel]
