"""How a tile is cut into blocks of sixteen pixels, for forward and backward blending.

A tile is 8x8 blocks of 4x4 pixels. One block is the unit of vector arithmetic: its sixteen pixels share one inner loop
without branches, where pixels that a splat skips are masked. The state of a tile is one flat array (block, field,
lane), so that LLVM sees constant distances between fields and needs no aliasing checks. Indices are unsigned because
numba tests signed ones for wrap-around.
"""

import math

import numpy as np

from gslrm.render.cpu_compile import helper
from gslrm.render.cpu_lanes import LOG2_E, cast_like, prefetch
from gslrm.render.cpu_projection import CONIC_XX, CONIC_XY, CONIC_YY, HALF_HEIGHT, HALF_WIDTH, OPACITY, X, Y

BLOCK = 4
BLOCKS = 8
TILE = BLOCK * BLOCKS
ALPHA_FLOOR = 1e-10  # denominator of the expected depth where nothing was hit
CHANNELS = 4  # feature channels blended in one pass
NEVER = 1e9  # the stop position of a pixel that no splat stopped; above every list length
MAX_LIST = 2**24  # list positions are held as float32

ZERO, ONE = np.uint64(0), np.uint64(1)
LANES = np.uint64(16)
LANE_MASK, LANE_SHIFT = np.uint64(3), np.uint64(2)  # lane -> column, lane -> row
BLOCK_COUNT = np.uint64(BLOCKS * BLOCKS)
BLOCK_SIZE = np.uint64(BLOCK)
BLOCK_MASK, BLOCK_SHIFT = np.uint64(7), np.uint64(3)  # block -> column, block -> row
SAVED = np.uint64(2 * 16)  # floats kept per block between the passes: transmittance and stop
PIXEL_STATES = 2 * TILE * TILE

# Offsets of the fields in the state of one block.
TRANSMITTANCE, STOP = np.uint64(0), np.uint64(16)
FEATURE, FEATURE_1, FEATURE_2, FEATURE_3 = np.uint64(32), np.uint64(48), np.uint64(64), np.uint64(80)

BATCH = 32  # splats gathered at a time; finished blocks are looked for once per batch
# Columns of a gathered splat.
ROW = np.uint64(12)
ROW_X, ROW_Y, ROW_XX, ROW_XY, ROW_YY, ROW_OPACITY = ZERO, ONE, np.uint64(2), np.uint64(3), np.uint64(4), np.uint64(5)
ROW_FEATURE = np.uint64(6)

CACHE_LINE = 64


@helper
def aligned_empty(size, like):
    """An uninitialised array on a cache-line boundary, so that no vector straddles two lines."""
    line = CACHE_LINE // like.itemsize
    padded = np.empty(size + line, like.dtype)
    start = (-(padded.ctypes.data // padded.itemsize)) % line
    return padded[start : start + size]


@helper
def pixel_offset(row, column, block_state):
    """Where the state of a tile's pixel begins, for blocks of `block_state` floats; all unsigned."""
    block = ((row >> LANE_SHIFT) << BLOCK_SHIFT) + (column >> LANE_SHIFT)
    return block * block_state + ((row & LANE_MASK) << LANE_SHIFT) + (column & LANE_MASK)


@helper
def _block_range(offset, half_extent):
    """Blocks, along one axis, with a pixel centre within `half_extent` of `offset` (pixels from the tile's edge)."""
    first = math.ceil((offset - half_extent - (BLOCK - 0.5)) / BLOCK)
    last = math.floor((offset + half_extent - 0.5) / BLOCK)
    return np.uint64(min(max(first, 0.0), BLOCKS - 1.0)), np.uint64(min(max(last, 0.0), BLOCKS - 1.0))


@helper
def _block_mask(x, y, half_width, half_height):
    """The blocks of a tile that the box of a splat touches: bit 8 row + column."""
    x0, x1 = _block_range(x, half_width)
    y0, y1 = _block_range(y, half_height)
    columns = (np.uint64(0xFF) >> (np.uint64(7) - x1)) & (np.uint64(0xFF) << x0)
    every_row = np.uint64(0x0101010101010101)
    rows = (every_row >> (np.uint64(8) * (np.uint64(7) - y1))) & (every_row << (np.uint64(8) * y0))
    return rows * columns


@helper
def gather(c, first, last, tile_x, tile_y, splats, features, group, entries, batch, masks):
    """Copy a run of listed splats into `batch`, relative to the tile and scaled for base-2 exponents.

    Doing this apart from the blending lets the scattered loads overlap.
    """
    like = batch[0]
    scale, half_scale = cast_like(like, LOG2_E), cast_like(like, 0.5 * LOG2_E)
    left, top = cast_like(like, tile_x), cast_like(like, tile_y)
    for entry in range(first, last):
        g = entries[entry]
        x, y = splats[c, g, X] - left, splats[c, g, Y] - top
        at = np.uint64(entry - first) * ROW
        batch[at + ROW_X] = x
        batch[at + ROW_Y] = y
        batch[at + ROW_XX] = splats[c, g, CONIC_XX] * half_scale
        batch[at + ROW_XY] = splats[c, g, CONIC_XY] * scale
        batch[at + ROW_YY] = splats[c, g, CONIC_YY] * half_scale
        batch[at + ROW_OPACITY] = splats[c, g, OPACITY]
        for k in range(CHANNELS):
            batch[at + ROW_FEATURE + np.uint64(k)] = features[c, g, group + k]
        masks[entry - first] = _block_mask(x, y, splats[c, g, HALF_WIDTH], splats[c, g, HALF_HEIGHT])


@helper
def prefetch_splats(c, first, last, splats, features, entries):
    """Start loading the rows of a run of listed splats, which lie scattered over more memory than the caches hold."""
    for entry in range(first, last):
        row = c * splats.shape[1] + entries[entry]
        prefetch(splats, row * splats.shape[2])
        prefetch(features, row * features.shape[2])
