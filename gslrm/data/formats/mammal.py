"""Reads the camera pickle of MAMMAL (`new_cam.pkl`)."""

from pathlib import Path
from typing import Any

from gslrm.data.formats import reading
from gslrm.data.formats.pickled_arrays import load_arrays
from gslrm.data.rig import PIXEL_CENTRE, Rig, RigCamera
from gslrm.errors import UserError

SUFFIXES = (".pkl", ".pickle")
FILE_NAME = "new_cam.pkl"


def matches(path: Path) -> bool:
    """A pickle, or a directory with `new_cam.pkl`."""
    if path.is_dir():
        return (path / FILE_NAME).is_file()
    if path.suffix.lower() in SUFFIXES:
        return True
    with path.open("rb") as file:
        head = file.read(2)
    return len(head) == 2 and head[0] == 0x80 and 2 <= head[1] <= 5  # PROTO


def read(path: Path) -> Rig:
    """A rig in millimetres for pictures that have been undistorted.

    The numbers are read as OpenCV's, for OpenCV undistorted the pictures with them. They were made from a MATLAB
    calibration whose pixel origin MAMMAL ignored, so they may be off by one pixel of the raw picture; the file cannot
    say so (mouse_rig 2). Cameras are named by their number, as the videos beside the file are.

    Raises:
        UserError: the pickle is damaged, or holds anything but cameras of numbers; nothing in it is executed.
    """
    file = path / FILE_NAME if path.is_dir() else path
    try:
        content = load_arrays(reading.read_bytes(file))
    except ValueError as error:
        raise UserError(f"{file}: is no pickle of camera matrices ({error}); nothing in it was executed") from error
    if isinstance(content, list):
        content = dict(enumerate(content))
    if not isinstance(content, dict) or not content:
        raise UserError(f"{file}: must hold a list of cameras or a mapping from their numbers")
    by_name = {str(key): value for key, value in content.items()}
    cameras = tuple(_camera(file, name, by_name[name]) for name in reading.in_natural_order(by_name))
    return Rig(cameras, path, "mammal", unit="mm", undistorted=True)


def _camera(file: Path, name: str, values: Any) -> RigCamera:
    where = f"{file}: camera {name}"
    intrinsics = reading.array(reading.entry(values, "K", where), (3, 3), f"{where}: K")
    rotation = reading.array(reading.entry(values, "R", where), (3, 3), f"{where}: R")
    translation = reading.array(reading.entry(values, "T", where), (3,), f"{where}: T")
    return RigCamera(name, reading.move_origin(intrinsics, PIXEL_CENTRE), reading.rigid(rotation, translation))
