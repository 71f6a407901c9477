"""Numba kernels for the gradients of blending, walking each tile from back to front."""

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
from gslrm.render.cpu_lanes import cast_like, exp2_negative, exponent, lowest_bit, multiply_add, sum_vectors
from gslrm.render.cpu_projection import ALPHA_MIN

# State of a block: transmittance and stop as in the forward pass, the upstream gradient of the four features, then
BEHIND = np.uint64(96)  # that gradient dotted with everything behind the current splat
STATE = np.uint64(112)

# Per-lane sums over the pixels of a splat. With m = dL/d log(alpha): m times 1, dx, dy, dx^2, dx dy, dy^2; features.
SUMS = 10
MOMENTS = 6
M_X, M_Y, M_XX, M_XY, M_YY = np.uint64(16), np.uint64(32), np.uint64(48), np.uint64(64), np.uint64(80)
SUM_0, SUM_1, SUM_2, SUM_3 = np.uint64(96), np.uint64(112), np.uint64(128), np.uint64(144)


@helper
def _unblend_block(
    state, at, sums, dx0, dy0, half_xx, xy, half_yy, opacity, position, max_alpha, f0, f1, f2, f3
):  # fmt: skip
    """Take one splat off the sixteen pixels of a block, adding its gradients to `sums`."""
    zero, one, alpha_min = cast_like(dx0, 0.0), cast_like(dx0, 1.0), cast_like(dx0, ALPHA_MIN)
    for lane in range(LANES):
        dx = dx0 - cast_like(dx0, lane & LANE_MASK)
        dy = dy0 - cast_like(dx0, lane >> LANE_SHIFT)
        q = exponent(dx, dy, half_xx, xy, half_yy)
        unclamped = opacity * exp2_negative(q)
        alpha = min(max_alpha, unclamped)
        blends = (q >= zero) & (alpha >= alpha_min) & (position < state[at + STOP + lane])
        alpha = alpha if blends else zero
        passed = one / (one - alpha)
        transmittance = state[at + TRANSMITTANCE + lane] * passed
        state[at + TRANSMITTANCE + lane] = transmittance
        weight = alpha * transmittance

        v0, v1 = state[at + FEATURE + lane], state[at + FEATURE_1 + lane]
        v2, v3 = state[at + FEATURE_2 + lane], state[at + FEATURE_3 + lane]
        gained = multiply_add(f3, v3, multiply_add(f2, v2, multiply_add(f1, v1, f0 * v0)))
        behind = state[at + BEHIND + lane]
        v_alpha = multiply_add(transmittance, gained, -(behind * passed))
        state[at + BEHIND + lane] = multiply_add(weight, gained, behind)
        # A clamped alpha does not move with the splat.
        m = alpha * v_alpha if unclamped <= max_alpha else zero

        m_dx, m_dy = m * dx, m * dy
        sums[lane] += m
        sums[M_X + lane] += m_dx
        sums[M_Y + lane] += m_dy
        sums[M_XX + lane] = multiply_add(m_dx, dx, sums[M_XX + lane])
        sums[M_XY + lane] = multiply_add(m_dx, dy, sums[M_XY + lane])
        sums[M_YY + lane] = multiply_add(m_dy, dy, sums[M_YY + lane])
        sums[SUM_0 + lane] = multiply_add(weight, v0, sums[SUM_0 + lane])
        sums[SUM_1 + lane] = multiply_add(weight, v1, sums[SUM_1 + lane])
        sums[SUM_2 + lane] = multiply_add(weight, v2, sums[SUM_2 + lane])
        sums[SUM_3 + lane] = multiply_add(weight, v3, sums[SUM_3 + lane])


@helper
def _load_tile(
    c, tile, tile_x, tile_y, group, expected, images, pixel_states, backgrounds, v_images, v_alphas, state,
    last_positions,
):  # fmt: skip
    """Fill the state of a tile; `last_positions` receives per block the largest stop position of its pixels."""
    state[:] = 0
    for block in range(BLOCK_COUNT):
        last_position = state[0] * 0 - 1
        for i in range(SAVED):
            state[block * STATE + i] = pixel_states[tile, block * SAVED + i]
        for lane in range(LANES):
            last_position = max(last_position, state[block * STATE + STOP + lane])
        last_positions[block] = last_position
    camera, top, left, first = np.uint64(c), np.uint64(tile_y), np.uint64(tile_x), np.uint64(group)
    channels, expected_channel = np.uint64(min(v_images.shape[3] - group, CHANNELS)), np.uint64(expected)
    zero, one, alpha_floor = cast_like(state[0], 0.0), cast_like(state[0], 1.0), cast_like(state[0], ALPHA_FLOOR)
    for row in range(np.uint64(min(v_images.shape[1] - tile_y, TILE))):
        for column in range(np.uint64(min(v_images.shape[2] - tile_x, TILE))):
            at = pixel_offset(row, column, STATE)
            transmittance = state[at + TRANSMITTANCE]
            # The alpha output depends on no feature; it is accounted for with the first group.
            v_transmittance = -v_alphas[camera, top + row, left + column, ZERO] if group == 0 else zero
            for k in range(channels):
                v_feature = v_images[camera, top + row, left + column, first + k]
                if first + k == expected_channel:
                    alpha = one - transmittance
                    v_feature = v_feature / alpha if alpha > alpha_floor else zero
                    v_transmittance += v_feature * images[camera, top + row, left + column, first + k]
                else:
                    v_transmittance += v_feature * backgrounds[camera, first + k]
                state[at + FEATURE + k * LANES] = v_feature
            state[at + BEHIND] = transmittance * v_transmittance


@helper
def _store_sums(row, group, sums, totals, v_splats):
    sum_vectors(sums, SUMS, totals)
    for k in range(np.uint64(MOMENTS)):
        v_splats[row, k] = totals[k] if group == 0 else v_splats[row, k] + totals[k]
    for k in range(np.uint64(MOMENTS), np.uint64(SUMS)):
        v_splats[row, np.uint64(group) + k] = totals[k]


@helper
def _unblend_splat(row, position, blocks, batch, max_alpha, state, sums):
    """Gradients of one gathered splat over its `blocks`, in `sums`."""
    sums[:] = 0
    half = cast_like(max_alpha, 0.5)
    x, y = batch[row + ROW_X], batch[row + ROW_Y]
    half_xx, xy, half_yy = batch[row + ROW_XX], batch[row + ROW_XY], batch[row + ROW_YY]
    opacity, f0, f1 = batch[row + ROW_OPACITY], batch[row + ROW_FEATURE], batch[row + ROW_FEATURE + ONE]
    f2, f3 = batch[row + ROW_FEATURE + np.uint64(2)], batch[row + ROW_FEATURE + np.uint64(3)]
    place = cast_like(max_alpha, position)
    while blocks != ZERO:
        block = lowest_bit(blocks)
        blocks &= blocks - ONE
        dx0 = x - (cast_like(x, (block & BLOCK_MASK) * BLOCK_SIZE) + half)
        dy0 = y - (cast_like(y, (block >> BLOCK_SHIFT) * BLOCK_SIZE) + half)
        _unblend_block(
            state, block * STATE, sums, dx0, dy0, half_xx, xy, half_yy, opacity, place, max_alpha, f0, f1, f2, f3
        )


@helper
def _reached_blocks(last_positions, position):
    """The blocks with a pixel that was not finished before `position`, as bits."""
    blocks = ZERO
    for block in range(BLOCK_COUNT):
        blocks |= np.uint64(last_positions[block] > position) << block
    return blocks


@helper
def _unblend_tile(
    c, first, last, tile_x, tile_y, splats, features, group, entries, first_row, max_alpha,
    state, sums, totals, batch, masks, last_positions, v_splats,
):  # fmt: skip
    """Walk the list of one tile backwards and write the gradient row of every entry."""
    batches = (last - first + BATCH - 1) // BATCH
    for reverse in range(batches):
        position = (batches - 1 - reverse) * BATCH
        count = min(BATCH, last - first - position)
        begin = first + position
        gather(c, begin, begin + count, tile_x, tile_y, splats, features, group, entries, batch, masks)
        prefetch_splats(c, max(begin - BATCH, first), begin, splats, features, entries)
        reached = _reached_blocks(last_positions, position)
        for j in range(count):
            i = count - 1 - j
            _unblend_splat(np.uint64(i) * ROW, position + i, masks[i] & reached, batch, max_alpha, state, sums)
            _store_sums(np.uint64(begin + i - first_row), group, sums, totals, v_splats)


@kernel
def unblend(
    worker, workers, schedule, splats, features, lists, first_row, tiles, max_alpha, expected, images, backgrounds,
    pixel_states, v_images, v_alphas, v_splats,
):  # fmt: skip
    """Gradients of `blend` for the tiles in `schedule`.

    `v_splats` has one row per entry of the tile lists, from entry `first_row` on. A row receives the sums of m, m dx,
    m dy, m dx^2, m dx dy, m dy^2 over the pixels of the tile, where m = dL/d log(alpha) and (dx, dy) leads from the
    pixel to the splat's centre, then the gradients of the features.
    """
    tile_starts, entries = lists
    _, tiles_x, tiles_y = tiles
    state = aligned_empty(BLOCKS * BLOCKS * int(STATE), splats)
    sums, totals = aligned_empty(SUMS * int(LANES), splats), aligned_empty(int(LANES), splats)
    batch, masks = aligned_empty(BATCH * int(ROW), splats), np.empty(BATCH, np.uint64)
    last_positions = np.empty(BLOCKS * BLOCKS, splats.dtype)
    for i in range(worker, schedule.shape[0], workers):
        tile = schedule[i]
        c, in_camera = tile // (tiles_x * tiles_y), tile % (tiles_x * tiles_y)
        tile_x, tile_y = TILE * (in_camera % tiles_x), TILE * (in_camera // tiles_x)
        for group in range(0, features.shape[2], CHANNELS):
            _load_tile(
                c, tile, tile_x, tile_y, group, expected, images, pixel_states, backgrounds, v_images, v_alphas,
                state, last_positions,
            )  # fmt: skip
            _unblend_tile(
                c, tile_starts[tile], tile_starts[tile + 1], tile_x, tile_y, splats, features, group, entries,
                first_row, max_alpha, state, sums, totals, batch, masks, last_positions, v_splats,
            )  # fmt: skip
