"""Numba kernels that blend splats into pixels, walking each tile from front to back."""

import numpy as np

from gslrm.render.cpu_blocks import (
    ALPHA_FLOOR,
    BATCH,
    BLOCK_COUNT,
    BLOCK_MASK,
    BLOCK_SHIFT,
    BLOCK_SIZE,
    BLOCKS,
    CHANNELS,
    FEATURE,
    FEATURE_1,
    FEATURE_2,
    FEATURE_3,
    LANE_MASK,
    LANE_SHIFT,
    LANES,
    NEVER,
    ONE,
    ROW,
    ROW_FEATURE,
    ROW_OPACITY,
    ROW_X,
    ROW_XX,
    ROW_XY,
    ROW_Y,
    ROW_YY,
    SAVED,
    STOP,
    TILE,
    TRANSMITTANCE,
    ZERO,
    aligned_empty,
    gather,
    pixel_offset,
    prefetch_splats,
)
from gslrm.render.cpu_compile import helper, kernel
from gslrm.render.cpu_lanes import cast_like, exp2_negative, exponent, lowest_bit, multiply_add
from gslrm.render.cpu_projection import ALPHA_MIN

TRANSMITTANCE_MIN = float(np.float32(1e-4))  # a pixel that would fall to this or below is finished
STATE = np.uint64(96)  # floats per block: transmittance, stop position, four blended features


@helper
def _blend_block(state, at, dx0, dy0, half_xx, xy, half_yy, opacity, position, max_alpha, f0, f1, f2, f3):
    """Add one splat to the sixteen pixels of the block whose state begins at `at`."""
    zero, one = cast_like(dx0, 0.0), cast_like(dx0, 1.0)
    alpha_min, transmittance_min = cast_like(dx0, ALPHA_MIN), cast_like(dx0, TRANSMITTANCE_MIN)
    for lane in range(LANES):
        dx = dx0 - cast_like(dx0, lane & LANE_MASK)
        dy = dy0 - cast_like(dx0, lane >> LANE_SHIFT)
        q = exponent(dx, dy, half_xx, xy, half_yy)
        alpha = min(max_alpha, opacity * exp2_negative(q))
        transmittance = state[at + TRANSMITTANCE + lane]
        stop = state[at + STOP + lane]
        counts = (q >= zero) & (alpha >= alpha_min) & (position < stop)
        remaining = transmittance * (one - alpha)
        stops = counts & (remaining <= transmittance_min)
        blends = counts & (remaining > transmittance_min)
        weight = alpha * transmittance if blends else zero
        state[at + TRANSMITTANCE + lane] = remaining if blends else transmittance
        state[at + STOP + lane] = position if stops else stop
        state[at + FEATURE + lane] = multiply_add(weight, f0, state[at + FEATURE + lane])
        state[at + FEATURE_1 + lane] = multiply_add(weight, f1, state[at + FEATURE_1 + lane])
        state[at + FEATURE_2 + lane] = multiply_add(weight, f2, state[at + FEATURE_2 + lane])
        state[at + FEATURE_3 + lane] = multiply_add(weight, f3, state[at + FEATURE_3 + lane])


@helper
def _unfinished_blocks(state):
    """The blocks that still have an unfinished pixel, as bits."""
    never = cast_like(state[0], NEVER)
    blocks = ZERO
    for block in range(BLOCK_COUNT):
        at = block * STATE + STOP
        unfinished = 0
        for lane in range(LANES):
            unfinished += 1 if state[at + lane] >= never else 0
        blocks |= np.uint64(unfinished > 0) << block
    return blocks


@helper
def _clear_tile(state, columns, rows):
    """Start a tile; pixels beyond its first `columns` and `rows` lie outside the image and begin finished."""
    for block in range(BLOCK_COUNT):
        at = block * STATE
        x0, y0 = (block & BLOCK_MASK) * BLOCK_SIZE, (block >> BLOCK_SHIFT) * BLOCK_SIZE
        for lane in range(LANES):
            inside = (x0 + (lane & LANE_MASK) < columns) & (y0 + (lane >> LANE_SHIFT) < rows)
            state[at + TRANSMITTANCE + lane] = 1
            state[at + STOP + lane] = NEVER if inside else -1.0
            state[at + FEATURE + lane] = 0
            state[at + FEATURE_1 + lane] = 0
            state[at + FEATURE_2 + lane] = 0
            state[at + FEATURE_3 + lane] = 0


@helper
def _blend_batch(count, position, unfinished, batch, masks, max_alpha, state):
    """Blend `count` gathered splats; `position` is the place of the first in the list of the tile."""
    half = cast_like(max_alpha, 0.5)
    for i in range(np.uint64(count)):
        row = i * ROW
        x, y = batch[row + ROW_X], batch[row + ROW_Y]
        half_xx, xy, half_yy = batch[row + ROW_XX], batch[row + ROW_XY], batch[row + ROW_YY]
        opacity, f0, f1 = batch[row + ROW_OPACITY], batch[row + ROW_FEATURE], batch[row + ROW_FEATURE + ONE]
        f2, f3 = batch[row + ROW_FEATURE + np.uint64(2)], batch[row + ROW_FEATURE + np.uint64(3)]
        place = cast_like(max_alpha, position + i)
        blocks = masks[i] & unfinished
        while blocks != ZERO:
            block = lowest_bit(blocks)
            blocks &= blocks - ONE
            dx0 = x - (cast_like(x, (block & BLOCK_MASK) * BLOCK_SIZE) + half)
            dy0 = y - (cast_like(y, (block >> BLOCK_SHIFT) * BLOCK_SIZE) + half)
            _blend_block(
                state, block * STATE, dx0, dy0, half_xx, xy, half_yy, opacity, place, max_alpha, f0, f1, f2, f3
            )


@helper
def _blend_tile(c, first, last, tile_x, tile_y, splats, features, group, entries, max_alpha, state, batch, masks):
    """Blend the listed splats, nearest first, into the state of one tile."""
    for batch_first in range(first, last, BATCH):
        unfinished = _unfinished_blocks(state)
        if unfinished == ZERO:
            break
        batch_last = min(batch_first + BATCH, last)
        gather(c, batch_first, batch_last, tile_x, tile_y, splats, features, group, entries, batch, masks)
        prefetch_splats(c, batch_last, min(batch_last + BATCH, last), splats, features, entries)
        _blend_batch(batch_last - batch_first, batch_first - first, unfinished, batch, masks, max_alpha, state)


@helper
def _store_tile(c, tile, tile_x, tile_y, group, expected, state, backgrounds, images, alphas, pixel_states):
    """Write a finished tile to the images, and what the backward pass needs to `pixel_states`."""
    camera, top, left, first = np.uint64(c), np.uint64(tile_y), np.uint64(tile_x), np.uint64(group)
    channels, expected_channel = np.uint64(min(images.shape[3] - group, CHANNELS)), np.uint64(expected)
    one, alpha_floor = cast_like(state[0], 1.0), cast_like(state[0], ALPHA_FLOOR)
    for row in range(np.uint64(min(images.shape[1] - tile_y, TILE))):
        for column in range(np.uint64(min(images.shape[2] - tile_x, TILE))):
            at = pixel_offset(row, column, STATE)
            transmittance = state[at + TRANSMITTANCE]
            alpha = one - transmittance
            alphas[camera, top + row, left + column, ZERO] = alpha
            for k in range(channels):
                blended = state[at + FEATURE + k * LANES]
                if first + k == expected_channel:
                    pixel = blended / max(alpha, alpha_floor)
                else:
                    pixel = blended + transmittance * backgrounds[camera, first + k]
                images[camera, top + row, left + column, first + k] = pixel
    for block in range(BLOCK_COUNT):
        for i in range(SAVED):
            pixel_states[tile, block * SAVED + i] = state[block * STATE + i]


@kernel
def blend(
    worker, workers, schedule, splats, features, lists, tiles, max_alpha, expected, backgrounds, images, alphas,
    pixel_states,
):  # fmt: skip
    """Blend all tiles of all cameras.

    `schedule` holds tile numbers in the order of work; `lists` = (tile_starts, entries); `max_alpha` carries the float
    type; channel `expected` (-1: none) is divided by alpha. Writes `images` [C,H,W,X], `alphas` [C,H,W,1] and
    `pixel_states` [C*tiles,2048]: per block of pixels, the final transmittances and the list positions at which the
    pixels stopped.
    """
    tile_starts, entries = lists
    _, tiles_x, tiles_y = tiles
    state = aligned_empty(BLOCKS * BLOCKS * int(STATE), splats)
    batch, masks = aligned_empty(BATCH * int(ROW), splats), np.empty(BATCH, np.uint64)
    for i in range(worker, schedule.shape[0], workers):
        tile = schedule[i]
        c, in_camera = tile // (tiles_x * tiles_y), tile % (tiles_x * tiles_y)
        tile_x, tile_y = TILE * (in_camera % tiles_x), TILE * (in_camera // tiles_x)
        first, last = tile_starts[tile], tile_starts[tile + 1]
        for group in range(0, features.shape[2], CHANNELS):
            _clear_tile(state, images.shape[2] - tile_x, images.shape[1] - tile_y)
            _blend_tile(
                c, first, last, tile_x, tile_y, splats, features, group, entries, max_alpha, state, batch, masks
            )
            _store_tile(c, tile, tile_x, tile_y, group, expected, state, backgrounds, images, alphas, pixel_states)
