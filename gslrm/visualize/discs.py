"""Numba kernel that paints discs over one another."""

import math

from gslrm.compiled import kernel

MIN_RADIUS = math.sqrt(0.5)  # pixels: wherever it lies, a disc of this size covers the centre of some pixel


@kernel
def paint_discs(paper, position, radius, colour, opacity):
    """Blend discs onto `paper` [h, w, 3] in their order, in place.

    A disc covers the pixels whose centres are in it: `position` [n, 2] is right and down, `radius` [n] counts as
    `MIN_RADIUS` where it is smaller, both in pixels; `colour` [n, 3] and `opacity` [n] are in [0, 1].
    """
    height, width = paper.shape[0], paper.shape[1]
    for disc in range(len(radius)):
        x, y, reach = position[disc, 0] - 0.5, position[disc, 1] - 0.5, max(radius[disc], MIN_RADIUS)
        for row in range(max(math.ceil(y - reach), 0), min(math.floor(y + reach), height - 1) + 1):
            half = math.sqrt(max(reach * reach - (row - y) ** 2, 0.0))
            for column in range(max(math.ceil(x - half), 0), min(math.floor(x + half), width - 1) + 1):
                for channel in range(3):
                    paper[row, column, channel] += opacity[disc] * (colour[disc, channel] - paper[row, column, channel])
