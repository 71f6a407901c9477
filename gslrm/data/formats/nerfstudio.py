"""Reads or writes nerfstudio's `transforms.json`, which instant-ngp and NeRF share in parts."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from gslrm.cameras import OPENCV_FROM_OPENGL
from gslrm.data.formats import reading, writing
from gslrm.data.images import image_size
from gslrm.data.rig import Lens, LensModel, Rig, RigCamera
from gslrm.errors import UserError

FILE_NAME = "transforms.json"
PICTURE_SUFFIX = ".png"  # of NeRF's own pictures, which its files leave out
OPENCV_FROM_OPENGL_AXES = np.diag(OPENCV_FROM_OPENGL)
LENS_MODELS: dict[str, LensModel] = {
    "SIMPLE_PINHOLE": "polynomial",
    "PINHOLE": "polynomial",
    "SIMPLE_RADIAL": "polynomial",
    "RADIAL": "polynomial",
    "OPENCV": "polynomial",
    "OPENCV_FISHEYE": "fisheye",
}
POLYNOMIAL_NAMES = ("k1", "k2", "k3", "p1", "p2")
HIGHER_NAMES = ("k4", "k5", "k6")


def matches(path: Path) -> bool:
    """A JSON file whose frames have a `transform_matrix`, or a directory with `transforms.json`."""
    if path.is_dir():
        return (path / FILE_NAME).is_file()
    content = reading.read_json_if_any(path)
    frames = content.get("frames") if isinstance(content, dict) else None
    return isinstance(frames, list) and any(isinstance(frame, dict) and "transform_matrix" in frame for frame in frames)


def read(path: Path) -> Rig:
    """A rig of one camera per frame, in the world of `transform_matrix`; `applied_transform` stays applied.

    Cameras are named by `camera_name`, else by their pictures. Intrinsics of a frame win over those of the file. A file
    with nothing but `camera_angle_x` needs w and h, or the picture itself.

    Raises:
        UserError: the file is damaged, lacks something, or has a camera model that is not supported.
    """
    file = path / FILE_NAME if path.is_dir() else path
    content = reading.read_json(file)
    frames = reading.entries(content, "frames", file)
    pictures = [_picture(frame, f"{file}: frame {index}") for index, frame in enumerate(frames)]
    cameras = []
    for frame, picture, name in zip(frames, pictures, reading.names_of_pictures(pictures), strict=True):
        own_name = reading.text(frame.get("camera_name", name), f"{file}: camera_name")
        cameras.append(_camera(f"{file}: frame {picture}", own_name, content | frame, file.parent / picture))
    images = (tuple(file.parent / picture for picture in pictures),)
    return Rig(tuple(cameras), path, "nerfstudio", unit=reading.unit(content, file), images=images)


def write(path: Path, rig: Rig) -> None:
    """Write all cameras with their own intrinsics.

    Raises:
        UserError: a camera has skew, more than three radial coefficients, no known size, or another lens model than
            the first one; or the file cannot be written.
    """
    models = {camera.lens.model for camera in rig.cameras}
    if len(models) > 1:
        mixed = " and ".join(sorted(models))
        raise UserError(
            f"{path}: nerfstudio files have one camera model, this rig mixes {mixed}; write anipose instead"
        )
    content: dict[str, Any] = {"camera_model": "OPENCV_FISHEYE" if "fisheye" in models else "OPENCV"}
    if rig.unit is not None:
        content["unit"] = rig.unit
    content["frames"] = [
        {"file_path": writing.picture_of(rig, index, path.parent, f"images/{camera.name}.png")} | _frame(camera)
        for index, camera in enumerate(rig.cameras)
    ]
    writing.write_json(path, content)


def _picture(frame: Any, where: str) -> Path:
    picture = Path(reading.text(reading.entry(frame, "file_path", where), f"{where}: file_path"))
    return picture if picture.suffix else picture.with_name(picture.name + PICTURE_SUFFIX)


def _camera(where: str, name: str, values: dict[str, Any], picture: Path) -> RigCamera:
    world_from_camera = _pose(reading.entry(values, "transform_matrix", where), where) @ OPENCV_FROM_OPENGL_AXES
    rotation = world_from_camera[:3, :3].T
    pose = reading.rigid(rotation, -rotation @ world_from_camera[:3, 3])
    width, height = reading.size(values.get("w"), values.get("h"), where)
    if width is None and picture.is_file():
        width, height = image_size(picture)
    fx = _focal(where, values, "x", width)
    fy = _focal(where, values, "y", height)
    if fx is None:
        raise UserError(f"{where}: lacks fl_x or camera_angle_x; export the intrinsics together with the poses")
    cx = reading.number(values.get("cx", width and width / 2), f"{where}: cx")
    cy = reading.number(values.get("cy", height and height / 2), f"{where}: cy")
    fy = fx if fy is None else fy  # as instant-ngp takes it: square pixels
    return RigCamera(name, reading.pinhole(fx, fy, cx, cy), pose, _lens(where, values), width, height)


def _pose(value: Any, where: str) -> np.ndarray:
    rows = 3 if np.size(np.asarray(value, dtype=object)) == 12 else 4
    matrix = reading.array(value, (rows, 4), f"{where}: transform_matrix")
    if rows == 4 and not np.allclose(matrix[3], [0, 0, 0, 1], atol=1e-6):
        raise UserError(f"{where}: the last row of transform_matrix must be 0 0 0 1; is it transposed?")
    return reading.rigid(matrix[:3, :3], matrix[:3, 3])


def _focal(where: str, values: Mapping[str, Any], axis: str, side: int | None) -> float | None:
    """Focal length, given or from the field of view in radians over a side of the picture; none if neither is there."""
    if f"fl_{axis}" in values:
        return reading.number(values[f"fl_{axis}"], f"{where}: fl_{axis}")
    if f"camera_angle_{axis}" not in values:
        return None
    where = f"{where}: camera_angle_{axis}"
    if side is None:
        raise UserError(f"{where}: needs the size of the picture; add w and h, or put the pictures beside the file")
    half = reading.number(values[f"camera_angle_{axis}"], where) / 2
    if not 0 < half < math.pi / 2:
        raise UserError(f"{where}: must be an angle in radians below pi")
    return side / 2 / math.tan(half)


def _lens(where: str, values: Mapping[str, Any]) -> Lens:
    named = "OPENCV_FISHEYE" if values.get("is_fisheye") is True else str(values.get("camera_model", "OPENCV"))
    if named not in LENS_MODELS:
        raise UserError(f"{where}: camera_model {named} is not supported, only {', '.join(LENS_MODELS)}")
    model = LENS_MODELS[named]
    names = (*POLYNOMIAL_NAMES, *HIGHER_NAMES)
    coefficients = {name: reading.number(values[name], f"{where}: {name}") for name in names if name in values}
    if model == "polynomial" and any(coefficients.get(name) for name in HIGHER_NAMES):
        raise UserError(
            f"{where}: k4 and more mean different things to nerfstudio and OpenCV; calibrate with k1 k2 k3 p1 p2"
        )
    if named.endswith("PINHOLE") and any(coefficients.values()):
        raise UserError(f"{where}: a pinhole camera has no distortion; set camera_model to OPENCV or remove k1...")
    return reading.named_lens(coefficients, where, model=model)


def _frame(camera: RigCamera) -> dict[str, Any]:
    writing.require_no_skew(camera, "nerfstudio")
    width, height = writing.require_size(camera, "nerfstudio")
    is_fisheye = camera.lens.model == "fisheye"
    names = reading.FISHEYE_NAMES if is_fisheye else reading.POLYNOMIAL_NAMES
    coefficients = dict(zip(names, camera.lens.coefficients, strict=True))
    if not is_fisheye and any([coefficients.pop(name) for name in HIGHER_NAMES]):
        raise UserError(f"camera {camera.name}: nerfstudio files cannot carry k4, k5, k6; write anipose instead")
    world_from_camera = np.linalg.inv(camera.camera_from_world) @ OPENCV_FROM_OPENGL_AXES
    matrix = camera.intrinsics.tolist()
    return {
        "camera_name": camera.name,
        "w": width,
        "h": height,
        **{"fl_x": matrix[0][0], "fl_y": matrix[1][1], "cx": matrix[0][2], "cy": matrix[1][2]},
        **coefficients,
        "transform_matrix": world_from_camera.tolist(),
    }
