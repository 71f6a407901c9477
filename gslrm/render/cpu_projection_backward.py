"""Numba kernels for the gradients of projection: from splat gradients back to the 3D Gaussians."""

import numpy as np

from gslrm.render.cpu_compile import helper, kernel
from gslrm.render.cpu_lanes import prefetch
from gslrm.render.cpu_projection import (
    CHUNK,
    FOCAL_X,
    FOCAL_Y,
    TRANSLATION,
    covariance_of,
    frozen_slope,
    image_covariance,
    pixel_from_world,
    rotation_of,
    times_covariance,
    to_camera,
    unit_quaternion,
)

# Columns of a (Gaussian, tile) gradient row, see cpu_blending_backward.unblend.
M, M_X, M_Y, M_XX, M_XY, M_YY, V_FEATURES = range(7)
# Columns of the camera gradient: rotation (row-major), translation.
CAMERA_GRADIENT = 12
# Columns of the sums over cameras for one Gaussian: gradient of its mean, of its covariance (xx, xy, xz, yy, yz, zz of
# the full symmetric matrix), of its opacity.
V_MEAN, V_COVARIANCE, V_OPACITY, TOTALS = 0, 3, 9, 10

PREFETCH = 16  # rows


@helper
def _sum_rows(c, first, last, lists, tile_counts, first_row, v_splats, rows):
    """Sum, in tile order, the rows of each Gaussian of a chunk in one camera.

    Doing this apart from the arithmetic lets the scattered loads overlap; rows needed later are asked for early.
    """
    camera_starts, pair_starts, places = lists
    camera_row = camera_starts[c] - first_row
    last_pair = camera_starts[c + 1] - 1
    for g in range(first, last):
        for k in range(v_splats.shape[1]):
            rows[g - first, k] = 0.0
        first_pair = camera_starts[c] + pair_starts[c, g]
        for pair in range(first_pair, first_pair + tile_counts[c, g]):
            ahead = camera_row + places[min(pair + PREFETCH, last_pair)]
            prefetch(v_splats, ahead * v_splats.shape[1])
            row = camera_row + places[pair]
            for k in range(v_splats.shape[1]):
                rows[g - first, k] += v_splats[row, k]


@helper
def _image_covariance_gradient(sharp_xx, xy, sharp_yy, opacity, settings, row, total):
    """Gradient of the image covariance as a symmetric matrix (xx, xy, yy), then the conic; adds that of the opacity."""
    _, _, _, _, eps2d, antialiased, min_compensation = settings
    xx, yy = sharp_xx + eps2d, sharp_yy + eps2d
    determinant = xx * yy - xy * xy
    inverse = 1.0 / determinant
    a, b, c = yy * inverse, -xy * inverse, xx * inverse
    # sigma = 0.5 (a dx^2 + c dy^2) + b dx dy and d log(alpha) = -d sigma; V is the symmetric gradient of the conic.
    v_a, v_b, v_c = -0.5 * row[M_XX], -0.5 * row[M_XY], -0.5 * row[M_YY]
    left_aa, left_ab = a * v_a + b * v_b, a * v_b + b * v_c
    left_ba, left_bb = b * v_a + c * v_b, b * v_b + c * v_c
    v_xx = -(left_aa * a + left_ab * b)
    v_xy = -(left_aa * b + left_ab * c)
    v_yy = -(left_ba * b + left_bb * c)
    if antialiased:
        sharp_determinant = sharp_xx * sharp_yy - xy * xy
        ratio = sharp_determinant / determinant
        if ratio > min_compensation * min_compensation:
            # d log(compensation) = 0.5 d log(ratio), and row[M] = dL / d log(effective opacity).
            v_sharp, v_blurred = 0.5 * row[M] / sharp_determinant, -0.5 * row[M] / determinant
            v_xx += v_sharp * sharp_yy + v_blurred * yy
            v_yy += v_sharp * sharp_xx + v_blurred * xx
            v_xy -= (v_sharp + v_blurred) * xy
    total[V_OPACITY] += row[M] / opacity
    return v_xx, v_xy, v_yy, a, b, c


@helper
def _add_world_covariance(t, v_xx, v_xy, v_yy, total):
    """Add T^T V T, the gradient of the world covariance."""
    p0, p1, p2 = v_xx * t[0] + v_xy * t[3], v_xx * t[1] + v_xy * t[4], v_xx * t[2] + v_xy * t[5]
    q0, q1, q2 = v_xy * t[0] + v_yy * t[3], v_xy * t[1] + v_yy * t[4], v_xy * t[2] + v_yy * t[5]
    total[V_COVARIANCE] += t[0] * p0 + t[3] * q0
    total[V_COVARIANCE + 1] += t[0] * p1 + t[3] * q1
    total[V_COVARIANCE + 2] += t[0] * p2 + t[3] * q2
    total[V_COVARIANCE + 3] += t[1] * p1 + t[4] * q1
    total[V_COVARIANCE + 4] += t[1] * p2 + t[4] * q2
    total[V_COVARIANCE + 5] += t[2] * p2 + t[5] * q2


@helper
def _slope_gradient(slope, frozen, v_slope, inverse_z):
    """Gradient of (x, z) through the frozen slope: inside the field of view it is x/z, outside a constant."""
    if slope != frozen:
        return 0.0, 0.0
    return v_slope * inverse_z, -v_slope * slope * inverse_z


@helper
def _add_camera_gradient(mean, jacobian, v_t, v_point, v_camera):
    """Add the gradient of rotation (through the Jacobian product and the mean) and of translation."""
    j00, j02, j11, j12 = jacobian
    for k in range(3):
        v_camera[k] += j00 * v_t[k] + v_point[0] * mean[k]
        v_camera[3 + k] += j11 * v_t[3 + k] + v_point[1] * mean[k]
        v_camera[6 + k] += j02 * v_t[k] + j12 * v_t[3 + k] + v_point[2] * mean[k]
        v_camera[TRANSLATION + k] += v_point[k]


@helper
def _unproject_one(cameras, c, mean, covariance, opacity, settings, v_depth, row, total, with_cameras, v_camera):
    """Add the gradients of one Gaussian through one camera to `total` (and to `v_camera`)."""
    x, y, z = to_camera(cameras, c, mean[0], mean[1], mean[2])
    focal_x, focal_y = cameras[c, FOCAL_X], cameras[c, FOCAL_Y]
    inverse_z = 1.0 / z
    slope_x, slope_y = x * inverse_z, y * inverse_z
    frozen_x, frozen_y = frozen_slope(cameras, c, 0, slope_x), frozen_slope(cameras, c, 1, slope_y)
    j00, j11 = focal_x * inverse_z, focal_y * inverse_z
    j02, j12 = -j00 * frozen_x, -j11 * frozen_y
    t = pixel_from_world(cameras, c, j00, j02, j11, j12)
    ts = times_covariance(t, covariance)
    sharp_xx, xy, sharp_yy = image_covariance(t, ts)
    v_xx, v_xy, v_yy, conic_xx, conic_xy, conic_yy = _image_covariance_gradient(
        sharp_xx, xy, sharp_yy, opacity, settings, row, total
    )
    _add_world_covariance(t, v_xx, v_xy, v_yy, total)

    v_t = (
        2.0 * (v_xx * ts[0] + v_xy * ts[3]), 2.0 * (v_xx * ts[1] + v_xy * ts[4]), 2.0 * (v_xx * ts[2] + v_xy * ts[5]),
        2.0 * (v_xy * ts[0] + v_yy * ts[3]), 2.0 * (v_xy * ts[1] + v_yy * ts[4]), 2.0 * (v_xy * ts[2] + v_yy * ts[5]),
    )  # fmt: skip
    v_j00 = v_t[0] * cameras[c, 0] + v_t[1] * cameras[c, 1] + v_t[2] * cameras[c, 2]
    v_j02 = v_t[0] * cameras[c, 6] + v_t[1] * cameras[c, 7] + v_t[2] * cameras[c, 8]
    v_j11 = v_t[3] * cameras[c, 3] + v_t[4] * cameras[c, 4] + v_t[5] * cameras[c, 5]
    v_j12 = v_t[3] * cameras[c, 6] + v_t[4] * cameras[c, 7] + v_t[5] * cameras[c, 8]

    m_x, m_y = row[M_X], row[M_Y]
    v_u, v_v = -(conic_xx * m_x + conic_xy * m_y), -(conic_xy * m_x + conic_yy * m_y)
    from_slope_x, z_from_slope_x = _slope_gradient(slope_x, frozen_x, -j00 * v_j02, inverse_z)
    from_slope_y, z_from_slope_y = _slope_gradient(slope_y, frozen_y, -j11 * v_j12, inverse_z)
    v_x = j00 * v_u + from_slope_x
    v_y = j11 * v_v + from_slope_y
    v_z = v_depth + z_from_slope_x + z_from_slope_y - j00 * slope_x * v_u - j11 * slope_y * v_v
    v_z -= inverse_z * (j00 * v_j00 + j02 * v_j02 + j11 * v_j11 + j12 * v_j12)
    for k in range(3):
        total[V_MEAN + k] += cameras[c, k] * v_x + cameras[c, 3 + k] * v_y + cameras[c, 6 + k] * v_z
    if with_cameras:
        _add_camera_gradient(mean, (j00, j02, j11, j12), v_t, (v_x, v_y, v_z), v_camera)


@helper
def _shape_gradient(quaternion, rotation, scale, total):
    """Gradients of the quaternion (before normalisation) and the scales from that of (R S)(R S)^T."""
    norm, w, x, y, z = quaternion
    s_xx, s_xy, s_xz = total[V_COVARIANCE], total[V_COVARIANCE + 1], total[V_COVARIANCE + 2]
    s_yy, s_yz, s_zz = total[V_COVARIANCE + 3], total[V_COVARIANCE + 4], total[V_COVARIANCE + 5]
    r = rotation
    # d(R S) = 2 dSigma R S; per column k it feeds scale k through R and R through scale k.
    v = (
        2.0 * (s_xx * r[0] + s_xy * r[3] + s_xz * r[6]), 2.0 * (s_xx * r[1] + s_xy * r[4] + s_xz * r[7]),
        2.0 * (s_xx * r[2] + s_xy * r[5] + s_xz * r[8]), 2.0 * (s_xy * r[0] + s_yy * r[3] + s_yz * r[6]),
        2.0 * (s_xy * r[1] + s_yy * r[4] + s_yz * r[7]), 2.0 * (s_xy * r[2] + s_yy * r[5] + s_yz * r[8]),
        2.0 * (s_xz * r[0] + s_yz * r[3] + s_zz * r[6]), 2.0 * (s_xz * r[1] + s_yz * r[4] + s_zz * r[7]),
        2.0 * (s_xz * r[2] + s_yz * r[5] + s_zz * r[8]),
    )  # fmt: skip
    v_scale = (
        scale[0] * (v[0] * r[0] + v[3] * r[3] + v[6] * r[6]),
        scale[1] * (v[1] * r[1] + v[4] * r[4] + v[7] * r[7]),
        scale[2] * (v[2] * r[2] + v[5] * r[5] + v[8] * r[8]),
    )
    vx, vy, vz = scale[0] * scale[0], scale[1] * scale[1], scale[2] * scale[2]
    g00, g10, g20 = vx * v[0], vx * v[3], vx * v[6]
    g01, g11, g21 = vy * v[1], vy * v[4], vy * v[7]
    g02, g12, g22 = vz * v[2], vz * v[5], vz * v[8]
    v_w = 2.0 * (x * (g21 - g12) + y * (g02 - g20) + z * (g10 - g01))
    v_x = 2.0 * (w * (g21 - g12) + y * (g10 + g01) + z * (g20 + g02) - 2.0 * x * (g11 + g22))
    v_y = 2.0 * (w * (g02 - g20) + x * (g10 + g01) + z * (g21 + g12) - 2.0 * y * (g00 + g22))
    v_z = 2.0 * (w * (g10 - g01) + x * (g20 + g02) + y * (g21 + g12) - 2.0 * z * (g00 + g11))
    along = v_w * w + v_x * x + v_y * y + v_z * z
    inverse = 1.0 / norm
    v_quaternion = (
        inverse * (v_w - along * w), inverse * (v_x - along * x),
        inverse * (v_y - along * y), inverse * (v_z - along * z),
    )  # fmt: skip
    return v_quaternion, v_scale


@helper
def _shape(inputs, g):
    """Quaternion (norm, then unit wxyz), rotation and scales of one Gaussian."""
    _, quats, scales, _ = inputs
    quaternion = unit_quaternion(quats, g)
    rotation = rotation_of(quaternion[1], quaternion[2], quaternion[3], quaternion[4])
    return quaternion, rotation, (float(scales[g, 0]), float(scales[g, 1]), float(scales[g, 2]))


@helper
def _covariances(first, last, inputs):
    """World covariances of a chunk, which all cameras share."""
    covariances = np.empty((last - first, 6), np.float64)
    for g in range(first, last):
        _, rotation, scale = _shape(inputs, g)
        covariance = covariance_of(rotation, scale[0], scale[1], scale[2])
        for k in range(6):
            covariances[g - first, k] = covariance[k]
    return covariances


@helper
def _add_gaussian(g, inputs, total, outputs):
    """Add the gradients of one Gaussian, summed over cameras, to the outputs."""
    v_means, v_quats, v_scales, v_opacities = outputs
    quaternion, rotation, scale = _shape(inputs, g)
    v_quaternion, v_scale = _shape_gradient(quaternion, rotation, scale, total)
    for k in range(3):
        v_means[g, k] += total[V_MEAN + k]
        v_scales[g, k] += v_scale[k]
    for k in range(4):
        v_quats[g, k] += v_quaternion[k]
    v_opacities[g] += total[V_OPACITY]


@helper
def _any(row):
    """Whether a row has an entry that is not 0; np.any(row != 0) would allocate."""
    found = False
    for k in range(row.shape[0]):
        found = found or row[k] != 0.0
    return found


@helper
def _unproject_chunk(
    first, last, camera_range, inputs, cameras, settings, with_depth, lists, tile_counts, first_row, v_splats, outputs,
    v_colors, with_cameras, v_cameras,
):  # fmt: skip
    means, _, _, opacities = inputs
    channels = v_colors.shape[2]
    rows = np.empty((last - first, v_splats.shape[1]), np.float64)
    totals = np.zeros((last - first, TOTALS), np.float64)
    seen = np.zeros(last - first, np.bool_)
    covariances = _covariances(first, last, inputs)
    for c in range(camera_range[0], camera_range[1]):
        _sum_rows(c, first, last, lists, tile_counts, first_row, v_splats, rows)
        color_camera = c if v_colors.shape[0] > 1 else 0
        for g in range(first, last):
            row = rows[g - first]
            if not _any(row):
                continue
            seen[g - first] = True
            mean = (float(means[g, 0]), float(means[g, 1]), float(means[g, 2]))
            v_depth = row[V_FEATURES + channels] if with_depth else 0.0
            _unproject_one(
                cameras, c, mean, covariances[g - first], float(opacities[g]), settings, v_depth, row,
                totals[g - first], with_cameras, v_cameras[c],
            )  # fmt: skip
            for k in range(channels):
                v_colors[color_camera, g, k] += row[V_FEATURES + k]
    for g in range(first, last):
        if seen[g - first]:
            _add_gaussian(g, inputs, totals[g - first], outputs)


@kernel
def unproject(
    worker, workers, camera_range, inputs, cameras, settings, with_depth, lists, tile_counts, first_row, v_splats,
    outputs, v_colors, with_cameras, v_cameras,
):  # fmt: skip
    """Add the gradients through the cameras of `camera_range` to those of the Gaussians.

    `inputs` = means, quats, scales, opacities; `lists` = camera_starts, pair_starts and places of `list_tiles`;
    `first_row` and `v_splats` as in `unblend`; `outputs` = gradients of `inputs`; `v_colors` [1 or C,N,D]; `v_cameras`
    [chunks,C,12] receives one partial sum per chunk of Gaussians.
    """
    count = inputs[0].shape[0]
    chunks = (count + CHUNK - 1) // CHUNK
    for chunk in range(worker, chunks, workers):
        _unproject_chunk(
            chunk * CHUNK, min(chunk * CHUNK + CHUNK, count), camera_range, inputs, cameras, settings, with_depth,
            lists, tile_counts, first_row, v_splats, outputs, v_colors, with_cameras, v_cameras[chunk],
        )  # fmt: skip
