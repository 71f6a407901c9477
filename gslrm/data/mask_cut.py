"""The most probable outline: log odds against the length of the outline, then small parts judged one by one."""

import cv2
import numpy as np
from jaxtyping import Bool, Float

from gslrm.compiled import kernel

ITERATIONS = 80
TRUST = 0.25  # of the log odds against the outline's length in pixels
CHEAPEST_EDGE = 0.15  # length of outline along a strong edge of the picture, of that across a plain area
EDGE = 4.0  # differences of neighbours, in standard deviations of the noise, from which an edge is strong
SPECK_SHARE = 0.01  # parts below this share of the largest are specks
FEWEST_PIXELS = 30
LARGEST_HOLE = 0.05  # of the object
PINHOLE = 12  # pixels
WEAK = -2.5  # mean log odds above which a hole is fur of the background's colour rather than a view through


def cut(odds: Float[np.ndarray, "h w"], departure: Float[np.ndarray, "h w 3"], noise: float) -> Bool[np.ndarray, "h w"]:
    """The object as one cut through the picture, without specks and holes in dark fur.

    Minimises the length of the outline, cheap along edges of `departure` (levels), minus the odds inside. The convex
    form (Chan, Esedoglu and Nikolova 2006) is solved by primal-dual steps (Chambolle and Pock 2011).
    """
    step = np.zeros(odds.shape, np.float32)
    height, width = odds.shape
    for across, down in ((1, 0), (0, 1)):
        rows, columns = slice(height - down), slice(width - across)
        change = cv2.absdiff(departure[down:, across:], departure[rows, columns])
        step[rows, columns] += np.maximum(np.maximum(change[..., 0], change[..., 1]), change[..., 2]) ** 2
    length = np.exp(step * np.float32(-1 / (EDGE * noise) ** 2)) * np.float32(1 - CHEAPEST_EDGE)
    inside = (odds > 0).astype(np.float32)
    _cut_kernel(odds * np.float32(TRUST), length + np.float32(CHEAPEST_EDGE), ITERATIONS, inside)
    return fill_holes(drop_specks(inside > 0.5), odds)


def drop_specks(mask: Bool[np.ndarray, "h w"]) -> Bool[np.ndarray, "h w"]:
    """The mask without parts that are small beside its largest."""
    _, labels, parts, _ = cv2.connectedComponentsWithStats(mask.view(np.uint8), connectivity=8)
    area = parts[:, cv2.CC_STAT_AREA]
    keep = area >= max(SPECK_SHARE * area[1:].max(initial=0), FEWEST_PIXELS)
    keep[0] = False
    return keep[labels]


def fill_holes(mask: Bool[np.ndarray, "h w"], odds: Float[np.ndarray, "h w"]) -> Bool[np.ndarray, "h w"]:
    """The mask without pinholes and without holes through which the background is not clearly seen."""
    height, width = mask.shape
    count, labels, parts, _ = cv2.connectedComponentsWithStats((~mask).view(np.uint8), connectivity=4)
    left, top, wide, high, area = parts.T
    enclosed = (left > 0) & (top > 0) & (left + wide < width) & (top + high < height)
    mean = np.bincount(labels.reshape(-1), odds.reshape(-1), minlength=count) / np.maximum(area, 1)
    fill = enclosed & (area < LARGEST_HOLE * mask.sum()) & ((mean > WEAK) | (area < PINHOLE))
    fill[0] = True  # the mask itself
    return fill[labels]


@kernel
def _cut_kernel(force, length, iterations, inside):
    height, width = force.shape
    one, zero, two, step = np.float32(1), np.float32(0), np.float32(2), np.float32(0.35)
    flow_x, flow_y = np.zeros((height, width), np.float32), np.zeros((height, width), np.float32)
    ahead = inside.copy()
    for _ in range(iterations):
        for y in range(height):
            below = min(y + 1, height - 1)
            for x in range(width - 1):
                a = flow_x[y, x] + step * (ahead[y, x + 1] - ahead[y, x])
                b = flow_y[y, x] + step * (ahead[below, x] - ahead[y, x])
                shrink = one / max(one, np.sqrt(a * a + b * b) / length[y, x])
                flow_x[y, x] = a * shrink
                flow_y[y, x] = b * shrink
        for y in range(height):
            above = max(y - 1, 0)
            inner = one if y > 0 else zero
            for x in range(width):
                before = max(x - 1, 0)
                gain = flow_x[y, x] - (flow_x[y, before] if x > 0 else zero)
                gain += flow_y[y, x] - inner * flow_y[above, x]
                new = min(max(inside[y, x] + step * (gain + force[y, x]), zero), one)
                ahead[y, x] = two * new - inside[y, x]
                inside[y, x] = new
