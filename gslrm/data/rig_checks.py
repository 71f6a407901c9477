"""Refuses rigs that cannot be, and says which mistake makes such a rig."""

from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float

from gslrm.cameras import ROTATION_TOLERANCE, nearest_to_lines
from gslrm.data.rig import Rig, RigCamera
from gslrm.errors import UserError

LARGEST = 1e9  # of any number of a camera, in pixels, world units or as a distortion coefficient
MAX_OUTSIDE = 0.5  # of the picture's width or height: principal points of cropped pictures may lie outside them
SAME_PLACE = 1e-9  # of the distance to the world's origin
PARALLEL = 5.0  # degrees: axes closer than this meet too far away to say where
INVERTED_AIM = 15.0  # degrees by which a rig's axes miss their meeting point at most, if its poses are right
MILLIMETRES = {"mm": 1.0, "cm": 10.0, "m": 1000.0}
NEAREST, FARTHEST = 5.0, 50_000.0  # millimetres from which no camera of a rig looks at an animal


@dataclass(frozen=True)
class Meeting:
    """Where the optical axes of a rig meet best.

    `angle` [V] is by how many degrees each camera looks past that point, `spread` the widest angle between two axes.
    """

    point: Float[np.ndarray, "3"]
    angle: Float[np.ndarray, "v"]
    spread: float


def check_rig(rig: Rig) -> None:
    """Refuse what no lab has.

    Raises:
        UserError: fewer than two cameras; equal names; for a camera, numbers that are not finite or absurd, a focal
            length that is not positive, a transposed matrix, a pose that is no rotation or a mirrored one, or a
            principal point far outside its picture; for the rig, all cameras at one place, poses that seem to be
            inverted, or optical axes that meet behind a camera.
    """
    if len(rig.cameras) < 2:
        raise UserError(f"{rig.source}: holds {len(rig.cameras)} camera; a rig needs at least two")
    repeated = sorted({name for name in rig.names if rig.names.count(name) > 1})
    if repeated:
        raise UserError(f"{rig.source}: more than one camera is named {', '.join(repeated)}; rename them in the file")
    for camera in rig.cameras:
        where = f"{rig.source}: camera {camera.name}"
        _check_intrinsics(where, camera)
        _check_pose(where, camera)
        _check_principal_point(where, camera)
    _check_arrangement(rig)


def unit_warning(rig: Rig) -> str | None:
    """A sentence if the distances of the cameras cannot be in the rig's unit, else none."""
    if rig.unit not in MILLIMETRES:
        return None
    distance = float(np.median([np.linalg.norm(meeting(rig).point - camera.position) for camera in rig.cameras]))
    if NEAREST <= distance * MILLIMETRES[rig.unit] <= FARTHEST:
        return None
    guess = "metres" if distance * MILLIMETRES[rig.unit] < NEAREST else "millimetres"
    return (
        f"{rig.source}: its cameras would be {distance:.3g} {rig.unit} from the point that they look at; the "
        f"translations seem to be in {guess}"
    )


def meeting(rig: Rig) -> Meeting:
    """Where the optical axes meet: the point with the least squared distances to them.

    Axes that are exactly parallel meet nowhere; their point is NaN and they miss it by 180 degrees.
    """
    positions = np.stack([camera.position for camera in rig.cameras])
    axes = np.stack([camera.optical_axis for camera in rig.cameras])
    axes = axes / np.linalg.norm(axes, axis=1, keepdims=True)
    spread = float(np.degrees(np.arccos(np.clip(axes @ axes.T, -1, 1))).max())
    try:
        point = nearest_to_lines(torch.from_numpy(positions), torch.from_numpy(axes)).numpy()
    except ValueError:
        return Meeting(np.full(3, np.nan), np.full(len(axes), 180.0), spread)
    offset = point - positions
    cosine = (offset * axes).sum(axis=1) / np.maximum(np.linalg.norm(offset, axis=1), 1e-300)
    return Meeting(point, np.degrees(np.arccos(np.clip(cosine, -1, 1))), spread)


def rigid_rig(rig: Rig) -> Rig:
    """The rig with the nearest exact rotations: files carry 6 to 17 digits.

    Raises:
        UserError: a pose is not a rotation within `cameras.ROTATION_TOLERANCE`.
    """
    cameras = []
    for camera in rig.cameras:
        _check_pose(f"{rig.source}: camera {camera.name}", camera)
        left, _, right = np.linalg.svd(camera.camera_from_world[:3, :3])
        pose = camera.camera_from_world.copy()
        pose[:3, :3] = left @ right
        cameras.append(replace(camera, camera_from_world=pose))
    return replace(rig, cameras=tuple(cameras))


def _check_numbers(where: str, values: np.ndarray) -> None:
    if not np.isfinite(values).all():
        raise UserError(f"{where} hold NaN or infinity; calibrate this camera again or leave it out")
    if np.abs(values).max() > LARGEST:
        raise UserError(f"{where} hold {np.abs(values).max():.3g}; the file is damaged, or calibrate this camera again")


def _check_intrinsics(where: str, camera: RigCamera) -> None:
    matrix = camera.intrinsics
    _check_numbers(f"{where}: the intrinsics", matrix)
    _check_numbers(f"{where}: the distortion coefficients", np.array(camera.lens.coefficients))
    if np.abs(matrix[:2, 2]).max() <= 1 < np.abs(matrix[2, :2]).max():  # 1: the pixel origins that were added
        raise UserError(
            f"{where}: the intrinsics are transposed, their principal point stands in the last row; this format "
            "stores them the other way round"
        )
    if not (matrix[0, 0] > 0 and matrix[1, 1] > 0):
        raise UserError(f"{where}: focal lengths must be positive, are {matrix[0, 0]:.4g} and {matrix[1, 1]:.4g}")
    if matrix[1, 0] != 0 or not np.array_equal(matrix[2], [0, 0, 1]):
        raise UserError(f"{where}: the intrinsics must be [[fx, skew, cx], [0, fy, cy], [0, 0, 1]], are not")


def _check_pose(where: str, camera: RigCamera) -> None:
    pose = camera.camera_from_world
    _check_numbers(f"{where}: the numbers of its pose", pose)
    rotation = pose[:3, :3]
    error = float(np.abs(rotation @ rotation.T - np.eye(3)).max())
    if error > ROTATION_TOLERANCE:
        raise UserError(
            f"{where}: the rotation is not orthonormal (R R^T differs from the identity by {error:.2g}); it must have "
            "no scale and no rounding"
        )
    if np.linalg.det(rotation) < 0:
        raise UserError(
            f"{where}: the pose is mirrored (determinant -1); an axis of the world or of the camera has been flipped"
        )


def _check_principal_point(where: str, camera: RigCamera) -> None:
    if camera.width is None or camera.height is None:
        return
    size = np.array([camera.width, camera.height])
    if size.min() < 1:
        raise UserError(f"{where}: a picture of {camera.width}x{camera.height} pixels is impossible; correct its size")
    share = camera.intrinsics[:2, 2] / size
    if (share < -MAX_OUTSIDE).any() or (share > 1 + MAX_OUTSIDE).any():
        x, y = camera.intrinsics[:2, 2]
        raise UserError(
            f"{where}: the principal point ({x:.0f}, {y:.0f}) is far outside the picture of {camera.width}x"
            f"{camera.height} pixels; the calibration belongs to pictures of another size"
        )


def _check_arrangement(rig: Rig) -> None:
    positions = np.stack([camera.position for camera in rig.cameras])
    if np.abs(positions - positions[0]).max() <= SAME_PLACE * max(1e-6, np.abs(positions).max()):
        raise UserError(f"{rig.source}: all cameras are at the same place; translations are missing from the file")
    found, inverse = meeting(rig), meeting(_inverted(rig))
    aim, inverse_aim = found.angle.max(), inverse.angle.max()
    if inverse.spread > 2 * found.spread and inverse_aim < min(aim, INVERTED_AIM):
        raise UserError(
            f"{rig.source}: the poses seem to be inverted, for only their inverses look at one point; somebody has "
            "taken camera-to-world for world-to-camera matrices"
        )
    behind = [name for name, angle in zip(rig.names, found.angle, strict=True) if angle > 90]
    if not behind or found.spread < PARALLEL:
        return
    cure = f"is the pose of {', '.join(behind)} right?"
    if len(behind) == len(rig.cameras):
        cure = "are the poses in OpenGL's axes (Blender, NeRF), with the camera looking along -z?"
    raise UserError(f"{rig.source}: the optical axes do not meet in front of the cameras; {cure}")


def _inverted(rig: Rig) -> Rig:
    return replace(
        rig,
        cameras=tuple(
            replace(camera, camera_from_world=np.linalg.inv(camera.camera_from_world)) for camera in rig.cameras
        ),
    )
