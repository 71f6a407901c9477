"""Reads or writes FaceLift's `opencv_cameras.json` (mouse_rig 4)."""

from pathlib import Path
from typing import Any

from gslrm.cameras import ROTATION_TOLERANCE
from gslrm.data.formats import reading, writing
from gslrm.data.rig import Rig, RigCamera
from gslrm.errors import UserError

FILE_NAME = "opencv_cameras.json"
INTRINSICS = ("fx", "fy", "cx", "cy")
NAMES = ("camera_name", "blender_camera_name")


def matches(path: Path) -> bool:
    """A JSON file whose frames have `w2c`, or a directory with `opencv_cameras.json`."""
    if path.is_dir():
        return (path / FILE_NAME).is_file()
    content = reading.read_json_if_any(path)
    frames = content.get("frames") if isinstance(content, dict) else None
    return isinstance(frames, list) and any(isinstance(frame, dict) and "w2c" in frame for frame in frames)


def read(path: Path) -> Rig:
    """A rig of pinhole cameras for undistorted pictures; cameras without a name are cam_000, cam_001 and so on.

    Raises:
        UserError: the file is damaged or lacks something.
    """
    file = path / FILE_NAME if path.is_dir() else path
    content = reading.read_json(file)
    frames = reading.entries(content, "frames", file)
    cameras = tuple(_camera(f"{file}: frame {index}", index, frame) for index, frame in enumerate(frames))
    images = None
    if all("file_path" in frame for frame in frames):
        images = (tuple(file.parent / reading.text(frame["file_path"], file) for frame in frames),)
    unit = reading.unit(content, file)
    return Rig(cameras, path, "facelift", unit=unit, undistorted=True, images=images)


def write(path: Path, rig: Rig) -> None:
    """Write all cameras.

    Raises:
        UserError: a camera has skew, lens distortion, or no known size; or the file cannot be written.
    """
    content: dict[str, Any] = {"id": path.parent.absolute().name}
    if rig.unit is not None:
        content["unit"] = rig.unit
    content["frames"] = [
        _frame(camera) | {"file_path": writing.picture_of(rig, index, path.parent, f"images/cam_{index:03d}.png")}
        for index, camera in enumerate(rig.cameras)
    ]
    writing.write_json(path, content)


def _camera(where: str, index: int, frame: Any) -> RigCamera:
    fx, fy, cx, cy = (reading.number(reading.entry(frame, key, where), f"{where}: {key}") for key in INTRINSICS)
    width, height = reading.size(reading.entry(frame, "w", where), reading.entry(frame, "h", where), where)
    pose = reading.array(reading.entry(frame, "w2c", where), (4, 4), f"{where}: w2c")
    if abs(pose[3] - [0, 0, 0, 1]).max() > ROTATION_TOLERANCE:
        raise UserError(f"{where}: the last row of w2c must be 0 0 0 1; is it transposed?")
    name = next((str(frame[key]) for key in NAMES if frame.get(key)), f"cam_{index:03d}")
    pose = reading.rigid(pose[:3, :3], pose[:3, 3])
    return RigCamera(name, reading.pinhole(fx, fy, cx, cy), pose, width=width, height=height)


def _frame(camera: RigCamera) -> dict[str, Any]:
    writing.require_no_skew(camera, "FaceLift")
    writing.require_no_lens(camera, "FaceLift")
    width, height = writing.require_size(camera, "FaceLift")
    matrix = camera.intrinsics.tolist()
    return {
        "camera_name": camera.name,
        "w": width,
        "h": height,
        **{"fx": matrix[0][0], "fy": matrix[1][1], "cx": matrix[0][2], "cy": matrix[1][2]},
        "w2c": camera.camera_from_world.tolist(),
    }
