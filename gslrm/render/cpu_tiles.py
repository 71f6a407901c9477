"""Numba kernels that list, for every image tile, the splats that may touch it, from front to back."""

import numpy as np

from gslrm.render.cpu_compile import helper, kernel
from gslrm.render.cpu_lanes import prefetch
from gslrm.render.cpu_projection import tile_rectangle

RADIX_BITS = 11  # a 2,048-entry histogram stays in the first-level cache
RADIX = 1 << RADIX_BITS
PREFETCH = 16  # splats


@helper
def _visible_keys(c, depths, tile_counts, keys, order):
    """Collect the splats of camera `c` that touch a tile, keyed by the bits of their float32 depth.

    Depths are positive, so their bits order as they do. Keys count from the smallest: few bits are left to sort.
    """
    visible = 0
    lowest, highest = np.uint32(0xFFFFFFFF), np.uint32(0)
    for g in range(depths.shape[1]):
        if tile_counts[c, g] > 0:
            key = np.float32(depths[c, g]).view(np.uint32)
            keys[visible] = key
            order[visible] = g
            lowest = min(lowest, key)
            highest = max(highest, key)
            visible += 1
    for i in range(visible):
        keys[i] -= lowest
    return visible, highest - lowest


@helper
def _radix_pass(count, shift, keys, order, sorted_keys, sorted_order, starts):
    starts[:] = 0
    for i in range(count):
        starts[(keys[i] >> shift) & np.uint32(RADIX - 1)] += 1
    total = 0
    for digit in range(RADIX):
        total, starts[digit] = total + starts[digit], total
    for i in range(count):
        digit = (keys[i] >> shift) & np.uint32(RADIX - 1)
        position = starts[digit]
        starts[digit] = position + 1
        sorted_keys[position] = keys[i]
        sorted_order[position] = order[i]


@helper
def _depth_order(c, depths, tile_counts):
    """Indices of the visible splats of camera `c` by depth; ties keep ascending index (a stable radix sort)."""
    count = depths.shape[1]
    keys, sorted_keys = np.empty(count, np.uint32), np.empty(count, np.uint32)
    order, sorted_order = np.empty(count, np.int32), np.empty(count, np.int32)
    starts = np.empty(RADIX, np.int64)
    visible, span = _visible_keys(c, depths, tile_counts, keys, order)
    for shift in range(0, 32, RADIX_BITS):
        if span >> np.uint32(shift) == 0:
            break
        _radix_pass(visible, np.uint32(shift), keys, order, sorted_keys, sorted_order, starts)
        keys, sorted_keys = sorted_keys, keys
        order, sorted_order = sorted_order, order
    return order[:visible]


@helper
def _list_camera(c, splats, depths, tile_counts, tiles, base, tile_starts, entries, pair_starts, places):
    inverse_tile, tiles_x, tiles_y = tiles
    tile_base = c * tiles_x * tiles_y
    cursors = np.zeros(tiles_x * tiles_y, np.int64)
    pair = 0
    for g in range(depths.shape[1]):
        pair_starts[c, g] = pair
        pair += tile_counts[c, g]
        if tile_counts[c, g] > 0:
            x0, x1, y0, y1 = tile_rectangle(splats, c, g, inverse_tile, tiles_x, tiles_y)
            for tile_y in range(y0, y1 + 1):
                for tile_x in range(x0, x1 + 1):
                    cursors[tile_y * tiles_x + tile_x] += 1
    position = base
    for tile in range(tiles_x * tiles_y):
        tile_starts[tile_base + tile] = position
        position, cursors[tile] = position + cursors[tile], position
    order = _depth_order(c, depths, tile_counts)
    for i in range(order.size):
        ahead = c * splats.shape[1] + order[min(i + PREFETCH, order.size - 1)]
        prefetch(splats, ahead * splats.shape[2])
        g = order[i]
        x0, x1, y0, y1 = tile_rectangle(splats, c, g, inverse_tile, tiles_x, tiles_y)
        pair = base + pair_starts[c, g]
        for tile_y in range(y0, y1 + 1):
            for tile_x in range(x0, x1 + 1):
                tile = tile_y * tiles_x + tile_x
                entries[cursors[tile]] = g
                places[pair] = cursors[tile] - base
                cursors[tile] += 1
                pair += 1


@kernel
def list_tiles(
    worker, workers, splats, depths, tile_counts, tiles, camera_starts, tile_starts, entries, pair_starts, places
):
    """Fill `entries` with Gaussian indices, grouped by camera and tile, front to back.

    There is one entry per (Gaussian, tile) pair. `camera_starts` [C+1] and `tile_starts` [C*tiles+1] say where the
    entries of each camera and tile begin; the latter is an output. The other direction is for sums over the tiles of a
    Gaussian: from `pair_starts` [C,N] on, relative to the camera, `places` holds where its entries are, also relative.
    """
    for c in range(worker, depths.shape[0], workers):
        _list_camera(c, splats, depths, tile_counts, tiles, camera_starts[c], tile_starts, entries, pair_starts, places)
