"""Numba kernels that march input rays against the masks of the other views.

Views come packed: `projection` [v, 3, 4] takes world points to pixels, `focal` [v] is the larger focal length in
pixels, `coverage` [v, h, w] are the masks, and `clear` [v, h, w] says how many pixels away from a pixel the mask keeps
saying the same: positive inside, negative outside, 0 near the outline. A ray is `rays` [n, 6], a world origin and a
unit direction, and `own` [n] the view that it belongs to, which is not asked.
"""

import math

import numpy as np

from gslrm.compiled import kernel

SURFACE = 0.5  # coverage at which a point counts as inside a silhouette
MARGIN = 1.12 / 0.9  # pixels cross a picture faster off its axis, and when a ray comes nearer
LONGEST = 0.1  # of the depth: the step for which `MARGIN` is made
FAR_OUTSIDE = -6.0  # pixels: outside one mask by this, coverage in the others need not be known
LEAVING = 2.0  # times longer steps inside: where a ray leaves need not be known as well
VISIBLE = 0.3  # coverage from which a view shows colour at a point


@kernel
def _pixel(projection, v, x, y, z):
    """Pixel and depth of a world point; a depth that is not positive lies behind the camera."""
    p = projection[v]
    depth = p[2, 0] * x + p[2, 1] * y + p[2, 2] * z + p[2, 3]
    if depth <= 0:
        return 0.0, 0.0, depth
    share = 1.0 / depth
    u = (p[0, 0] * x + p[0, 1] * y + p[0, 2] * z + p[0, 3]) * share
    w = (p[1, 0] * x + p[1, 1] * y + p[1, 2] * z + p[1, 3]) * share
    return u, w, depth


@kernel
def _bilinear(picture, u, w):
    """A picture [h, w] between its pixels; edges continue outward."""
    height, width = picture.shape
    x, y = min(max(u - 0.5, 0.0), width - 1.0), min(max(w - 0.5, 0.0), height - 1.0)
    left, top = int(x), int(y)
    right, bottom = min(left + 1, width - 1), min(top + 1, height - 1)
    a, b = x - left, y - top
    upper = (1 - a) * picture[top, left] + a * picture[top, right]
    return (1 - b) * upper + b * ((1 - a) * picture[bottom, left] + a * picture[bottom, right])


@kernel
def _look(x, y, z, own, tolerated, projection, focal, coverage, clear, found):
    """Coverage of a world point, and the world length on which it stays inside or outside.

    Coverage is the least that the other views give it, after leaving out the `tolerated` lowest (never so many that
    less than two views count). A view that does not have the point in its picture says nothing; where most do not,
    there is nothing. All views are asked, even where one already says no, so that their order changes nothing.
    """
    count, lowest, shortest, outside = 0, 2.0, 1e30, False
    height, width = coverage.shape[1], coverage.shape[2]
    for v in range(projection.shape[0]):
        if v == own:
            continue
        u, w, depth = _pixel(projection, v, x, y, z)
        if depth <= 0 or not (0 <= u < width and 0 <= w < height):
            continue
        free = clear[v, int(w), int(u)]
        length = min(max(free * depth / (focal[v] * MARGIN), -LONGEST * depth), LONGEST * depth)
        if outside or (free < FAR_OUTSIDE and tolerated == 0):
            outside, shortest = True, min(shortest, length)
            continue
        value = coverage[v, int(w), int(u)] if free > 0 else _bilinear(coverage[v], u, w)
        found[count, 0], found[count, 1] = value, length
        lowest, shortest = min(lowest, value), min(shortest, length)
        count += 1
    if outside:
        return 0.0, shortest
    if count == 0 or 2 * count < projection.shape[0] - 1:
        return 0.0, 0.0
    spare = min(tolerated, max(count - 2, 0))
    for _ in range(spare):
        lowest, shortest = _second(found, count, 0), _second(found, count, 1)
    return lowest, shortest


@kernel
def _second(found, count, column):
    """Take the lowest of a column out, and return the lowest of what is left."""
    at = 0
    for index in range(1, count):
        if found[index, column] < found[at, column]:
            at = index
    found[at, column] = 1e30
    lowest = 1e30
    for index in range(count):
        lowest = min(lowest, found[index, column])
    return lowest


@kernel
def march(
    worker, workers, rays, own, near, far, step, tolerated, whole, projection, focal, coverage, clear,
    distance, thickness, best,
):  # fmt: skip
    """First crossing of each ray with the hull between `near` and `far` [n], by interpolation.

    Writes per ray the distance, the length inside until it leaves again (only if `whole`), and the best coverage met
    up to there. A ray that misses gets its best point; one that meets nothing at all the middle of what was searched.
    """
    found = np.empty((projection.shape[0], 2))
    for i in range(worker, len(rays), workers):
        t = near[i]
        before, before_at, top, top_at = 0.0, t, 0.0, 0.5 * (near[i] + far[i])
        entry, leave = -1.0, -1.0
        while t <= far[i]:
            x, y, z = rays[i, 0] + t * rays[i, 3], rays[i, 1] + t * rays[i, 4], rays[i, 2] + t * rays[i, 5]
            value, length = _look(x, y, z, own[i], tolerated, projection, focal, coverage, clear, found)
            if value > top:
                top, top_at = value, t
            share = (SURFACE - before) / (value - before) if value != before else 1.0
            if entry < 0 and value >= SURFACE:
                entry = before_at + share * (t - before_at)
                if not whole:
                    break
            if entry >= 0 and value < SURFACE:
                leave = before_at + share * (t - before_at)
                break
            before, before_at = value, t
            t += max(step[i] if entry < 0 else LEAVING * step[i], abs(length))
        distance[i] = entry if entry >= 0 else top_at
        best[i] = top
        thickness[i] = max((leave if leave >= 0 else t) - entry, 0.0) if entry >= 0 and whole else 0.0


@kernel
def agree(
    worker, workers, rays, own, distance, colour, offsets, slack, projection, positions, coverage, pictures, front,
    channels,
):  # fmt: skip
    """What the other views that see a ray's point say about its colour.

    `pictures` [v, h, w, 3] are premultiplied colours, `front` [v, h / s, w / s] distances from each camera to what it
    sees, `colour` [n, 3] the rays' own. A view sees a point that is not more than `slack` behind its front. Writes
    `channels` [n, 4 + 2 k]: mean minus own colour at the first offset, share of views that see that point, then for
    every offset along the ray the deviation among the views, and their mean's distance from the own colour.
    """
    views, height, width = coverage.shape
    scale = height // front.shape[1]
    total = np.empty(4)
    for i in range(worker, len(rays), workers):
        for k in range(len(offsets)):
            t = distance[i] + offsets[k]
            x, y, z = rays[i, 0] + t * rays[i, 3], rays[i, 1] + t * rays[i, 4], rays[i, 2] + t * rays[i, 5]
            total[:] = 0.0
            squares = 0.0
            for v in range(views):
                if v == own[i]:
                    continue
                u, w, depth = _pixel(projection, v, x, y, z)
                if depth <= 0 or not (0 <= u < width and 0 <= w < height):
                    continue
                inside = _bilinear(coverage[v], u, w)
                dx, dy, dz = x - positions[v, 0], y - positions[v, 1], z - positions[v, 2]
                seen = front[v, int(w) // scale, int(u) // scale]
                if inside < VISIBLE or math.sqrt(dx * dx + dy * dy + dz * dz) > seen + slack + offsets[k]:
                    continue
                total[3] += 1
                for channel in range(3):
                    value = _bilinear(pictures[v, :, :, channel], u, w) / inside
                    total[channel] += value
                    squares += value * value
            _judge(i, k, total, squares, views, colour, channels)


@kernel
def _judge(i, k, total, squares, views, colour, channels):
    if total[3] == 0:
        channels[i, 4 + 2 * k] = channels[i, 5 + 2 * k] = 0.0
        if k == 0:
            channels[i, :4] = 0.0
        return
    spread, away = squares / total[3], 0.0
    for channel in range(3):
        mean = total[channel] / total[3]
        spread -= mean * mean
        away += (mean - colour[i, channel]) ** 2
        if k == 0:
            channels[i, channel] = mean - colour[i, channel]
    if k == 0:
        channels[i, 3] = total[3] / (views - 1)
    channels[i, 4 + 2 * k] = math.sqrt(max(spread, 0.0))
    channels[i, 5 + 2 * k] = math.sqrt(away)
