"""Numba kernels that turn 3D Gaussians into screen-space splats.

Elliptical weighted average splatting (Zwicker et al. 2001) as used by 3D Gaussian splatting (Kerbl et al. 2023), with
the culling, clamping and blur rules of gsplat 1.5.3. The arithmetic is float64 for every input type: in scalar loops it
costs next to nothing, and culling and depth order of float32 inputs are then free of rounding.
"""

import math

import numpy as np

from gslrm.render.cpu_compile import helper, kernel

# gsplat's kernels hold these as float32, and some decisions depend on the rounding even in a float64 run.
ALPHA_MIN = float(np.float32(1 / 255))
EXTENT_MAX = float(np.float32(3.33))  # standard deviations; sqrt(2 ln 255) = 3.329 reaches every visible pixel
VIEW_MARGIN = 0.3  # share of the half field of view by which the Jacobian's slopes may exceed the image
# The box that selects pixels may be larger than the footprint, never smaller: the alpha test decides.
BOX_SLACK_RELATIVE = 1e-4
BOX_SLACK_PIXELS = 1e-3
RADIUS_LIMIT = 1e9  # keeps the radius of a degenerate splat inside int32

# Columns of a splat row.
X, Y, CONIC_XX, CONIC_XY, CONIC_YY, OPACITY, HALF_WIDTH, HALF_HEIGHT = range(8)
SPLAT_SIZE = 8
# Columns of a camera row: rotation (row-major), translation, intrinsics, lower and upper limit of x/z, of y/z.
TRANSLATION, FOCAL_X, FOCAL_Y, CENTER_X, CENTER_Y, SLOPE_LIMITS = 9, 12, 13, 14, 15, 16

CHUNK = 256  # Gaussians per unit of work; fixed, so that sums over chunks do not depend on the thread count


@helper
def unit_quaternion(quats, g):
    """Norm of quaternion `g`, then its unit (w, x, y, z); all 0 for a zero quaternion."""
    w, x, y, z = float(quats[g, 0]), float(quats[g, 1]), float(quats[g, 2]), float(quats[g, 3])
    norm = math.sqrt(w * w + x * x + y * y + z * z)
    inverse = 1.0 / norm if norm > 0.0 else 0.0
    return norm, w * inverse, x * inverse, y * inverse, z * inverse


@helper
def rotation_of(w, x, y, z):
    """Row-major rotation matrix of a unit quaternion."""
    return (
        1.0 - 2.0 * (y * y + z * z), 2.0 * (x * y - w * z), 2.0 * (x * z + w * y),
        2.0 * (x * y + w * z), 1.0 - 2.0 * (x * x + z * z), 2.0 * (y * z - w * x),
        2.0 * (x * z - w * y), 2.0 * (y * z + w * x), 1.0 - 2.0 * (x * x + y * y),
    )  # fmt: skip


@helper
def covariance_of(r, sx, sy, sz):
    """Upper triangle (xx, xy, xz, yy, yz, zz) of (R S)(R S)^T."""
    vx, vy, vz = sx * sx, sy * sy, sz * sz
    return (
        vx * r[0] * r[0] + vy * r[1] * r[1] + vz * r[2] * r[2],
        vx * r[0] * r[3] + vy * r[1] * r[4] + vz * r[2] * r[5],
        vx * r[0] * r[6] + vy * r[1] * r[7] + vz * r[2] * r[8],
        vx * r[3] * r[3] + vy * r[4] * r[4] + vz * r[5] * r[5],
        vx * r[3] * r[6] + vy * r[4] * r[7] + vz * r[5] * r[8],
        vx * r[6] * r[6] + vy * r[7] * r[7] + vz * r[8] * r[8],
    )


@helper
def to_camera(cameras, c, px, py, pz):
    """A world point in the axes of camera `c`."""
    return (
        cameras[c, 0] * px + cameras[c, 1] * py + cameras[c, 2] * pz + cameras[c, 9],
        cameras[c, 3] * px + cameras[c, 4] * py + cameras[c, 5] * pz + cameras[c, 10],
        cameras[c, 6] * px + cameras[c, 7] * py + cameras[c, 8] * pz + cameras[c, 11],
    )


@helper
def frozen_slope(cameras, c, axis, slope):
    """Clamp x/z (or y/z) to the widened field of view, where the linearisation of the projection still makes sense."""
    return min(max(slope, cameras[c, SLOPE_LIMITS + 2 * axis]), cameras[c, SLOPE_LIMITS + 2 * axis + 1])


@helper
def pixel_from_world(cameras, c, j00, j02, j11, j12):
    """The 2x3 linear map J R from world offsets to pixel offsets."""
    return (
        j00 * cameras[c, 0] + j02 * cameras[c, 6],
        j00 * cameras[c, 1] + j02 * cameras[c, 7],
        j00 * cameras[c, 2] + j02 * cameras[c, 8],
        j11 * cameras[c, 3] + j12 * cameras[c, 6],
        j11 * cameras[c, 4] + j12 * cameras[c, 7],
        j11 * cameras[c, 5] + j12 * cameras[c, 8],
    )


@helper
def times_covariance(t, s):
    """T Sigma, a 2x3 matrix."""
    return (
        t[0] * s[0] + t[1] * s[1] + t[2] * s[2],
        t[0] * s[1] + t[1] * s[3] + t[2] * s[4],
        t[0] * s[2] + t[1] * s[4] + t[2] * s[5],
        t[3] * s[0] + t[4] * s[1] + t[5] * s[2],
        t[3] * s[1] + t[4] * s[3] + t[5] * s[4],
        t[3] * s[2] + t[4] * s[4] + t[5] * s[5],
    )


@helper
def image_covariance(t, ts):
    """T Sigma T^T as (xx, xy, yy)."""
    return (
        ts[0] * t[0] + ts[1] * t[1] + ts[2] * t[2],
        ts[0] * t[3] + ts[1] * t[4] + ts[2] * t[5],
        ts[3] * t[3] + ts[4] * t[4] + ts[5] * t[5],
    )


@helper
def tile_rectangle(splats, c, g, inverse_tile, tiles_x, tiles_y):
    """First and last tile, in x then y, that the box of a splat touches; last < first when it touches none."""
    x, y = float(splats[c, g, X]), float(splats[c, g, Y])
    half_width, half_height = float(splats[c, g, HALF_WIDTH]), float(splats[c, g, HALF_HEIGHT])
    first_x = int(math.floor(min(max((x - half_width) * inverse_tile, 0.0), float(tiles_x))))
    last_x = int(math.floor(min(max((x + half_width) * inverse_tile, -1.0), tiles_x - 1.0)))
    first_y = int(math.floor(min(max((y - half_height) * inverse_tile, 0.0), float(tiles_y))))
    last_y = int(math.floor(min(max((y + half_height) * inverse_tile, -1.0), tiles_y - 1.0)))
    return first_x, last_x, first_y, last_y


@helper
def _extent(opacity):
    """Standard deviations beyond which a splat is invisible."""
    return min(EXTENT_MAX, math.sqrt(2.0 * max(0.0, math.log(255.0 * opacity))))


@helper
def _project_one(cameras, c, g, mean, covariance, opacity, extent, settings, splats, depths, radii):
    """Write the splat of one Gaussian in one camera; return False where it is culled.

    `extent` belongs to `opacity`; both change from camera to camera in antialiased mode only.
    """
    width, height, near, far, eps2d, antialiased, min_compensation = settings
    x, y, z = to_camera(cameras, c, mean[0], mean[1], mean[2])
    if z < near or z > far or z <= 0.0:
        return False
    focal_x, focal_y = cameras[c, FOCAL_X], cameras[c, FOCAL_Y]
    center_x, center_y = cameras[c, CENTER_X], cameras[c, CENTER_Y]
    inverse_z = 1.0 / z
    slope_x = frozen_slope(cameras, c, 0, x * inverse_z)
    slope_y = frozen_slope(cameras, c, 1, y * inverse_z)
    j00, j11 = focal_x * inverse_z, focal_y * inverse_z
    t = pixel_from_world(cameras, c, j00, -j00 * slope_x, j11, -j11 * slope_y)
    sharp_xx, xy, sharp_yy = image_covariance(t, times_covariance(t, covariance))
    xx, yy = sharp_xx + eps2d, sharp_yy + eps2d
    determinant = xx * yy - xy * xy
    if not (determinant > 0.0 and determinant < math.inf):
        return False
    if antialiased:
        ratio = (sharp_xx * sharp_yy - xy * xy) / determinant
        opacity *= math.sqrt(max(min_compensation * min_compensation, ratio))
        if opacity < ALPHA_MIN:
            return False
        extent = _extent(opacity)
    half_width, half_height = extent * math.sqrt(xx), extent * math.sqrt(yy)
    radius_x, radius_y = min(math.ceil(half_width), RADIUS_LIMIT), min(math.ceil(half_height), RADIUS_LIMIT)
    u, v = x * j00 + center_x, y * j11 + center_y
    if radius_x <= 0.0 or radius_y <= 0.0:
        return False
    if u + radius_x <= 0.0 or u - radius_x >= width or v + radius_y <= 0.0 or v - radius_y >= height:
        return False

    inverse = 1.0 / determinant
    splats[c, g, X] = u
    splats[c, g, Y] = v
    splats[c, g, CONIC_XX] = yy * inverse
    splats[c, g, CONIC_XY] = -xy * inverse
    splats[c, g, CONIC_YY] = xx * inverse
    splats[c, g, OPACITY] = opacity
    splats[c, g, HALF_WIDTH] = half_width * (1.0 + BOX_SLACK_RELATIVE) + BOX_SLACK_PIXELS
    splats[c, g, HALF_HEIGHT] = half_height * (1.0 + BOX_SLACK_RELATIVE) + BOX_SLACK_PIXELS
    depths[c, g] = z
    radii[c, g, 0] = int(radius_x)
    radii[c, g, 1] = int(radius_y)
    return True


@helper
def _write_culled(c, g, splats, depths, radii, tile_counts):
    for column in range(SPLAT_SIZE):
        splats[c, g, column] = 0
    depths[c, g] = 0
    radii[c, g, 0] = 0
    radii[c, g, 1] = 0
    tile_counts[c, g] = 0


@helper
def _write_features(c, g, colors, depths, with_depth, features):
    """Copy the colours, then the depth, and fill the padding with zeros."""
    color_camera = c if colors.shape[0] > 1 else 0
    channels = colors.shape[2]
    for k in range(channels):
        features[c, g, k] = colors[color_camera, g, k]
    for k in range(channels, features.shape[2]):
        features[c, g, k] = 0
    if with_depth:
        features[c, g, channels] = depths[c, g]


@helper
def _project_chunk(first, last, inputs, cameras, settings, with_depth, tiles, outputs):
    means, quats, scales, opacities, colors = inputs
    splats, features, depths, radii, tile_counts = outputs
    inverse_tile, tiles_x, tiles_y = tiles
    for g in range(first, last):
        opacity = float(opacities[g])
        norm, w, x, y, z = unit_quaternion(quats, g)
        present = opacity >= ALPHA_MIN and norm > 0.0
        rotation = rotation_of(w, x, y, z)
        covariance = covariance_of(rotation, float(scales[g, 0]), float(scales[g, 1]), float(scales[g, 2]))
        mean = (float(means[g, 0]), float(means[g, 1]), float(means[g, 2]))
        extent = _extent(opacity)
        for c in range(cameras.shape[0]):
            if present and _project_one(
                cameras, c, g, mean, covariance, opacity, extent, settings, splats, depths, radii
            ):
                x0, x1, y0, y1 = tile_rectangle(splats, c, g, inverse_tile, tiles_x, tiles_y)
                tile_counts[c, g] = max(x1 - x0 + 1, 0) * max(y1 - y0 + 1, 0)
                _write_features(c, g, colors, depths, with_depth, features)
            else:
                _write_culled(c, g, splats, depths, radii, tile_counts)


@kernel
def project(worker, workers, inputs, cameras, settings, with_depth, tiles, outputs):
    """Project every Gaussian into every camera.

    `inputs` = means [N,3], quats [N,4], scales [N,3], opacities [N], colors [1 or C,N,D]; `cameras` [C,20] float64;
    `settings` = width, height, near, far, eps2d, antialiased, min_compensation; `tiles` = 1/size, tiles in x, in y;
    `outputs` = splats [C,N,8], features [C,N,F], depths [C,N], radii [C,N,2], tile_counts [C,N].
    """
    count = inputs[0].shape[0]
    for first in range(worker * CHUNK, count, workers * CHUNK):
        _project_chunk(first, min(first + CHUNK, count), inputs, cameras, settings, with_depth, tiles, outputs)
