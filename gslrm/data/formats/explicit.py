"""Reads a plain JSON list of cameras, each with K, dist and w2c."""

from pathlib import Path
from typing import Any

import numpy as np

from gslrm.data.formats import reading
from gslrm.data.rig import PIXEL_CENTRE, Rig, RigCamera
from gslrm.errors import UserError


def matches(path: Path) -> bool:
    """A JSON file with `cameras`, of which one has K."""
    content = reading.read_json_if_any(path)
    cameras = content.get("cameras") if isinstance(content, dict) else None
    return isinstance(cameras, list) and any(isinstance(camera, dict) and "K" in camera for camera in cameras)


def read(path: Path) -> Rig:
    """A rig from {"cameras": [{"name", "K", "dist", "w2c", "width", "height"}], "units"}.

    K is [[fx, skew, cx], [0, fy, cy], [0, 0, 1]] with OpenCV's pixel origin (first pixel's centre at 0), dist are
    OpenCV's coefficients, w2c is 4x4 to OpenCV axes. dist, the size and the unit may be left out.

    Raises:
        UserError: the file is damaged or lacks something.
    """
    content = reading.read_json(path)
    entries = reading.entries(content, "cameras", path)
    cameras = tuple(_camera(f"{path}: camera {index}", entry) for index, entry in enumerate(entries))
    unit = reading.unit({"unit": content.get("units")}, path)
    return Rig(cameras, path, "explicit", unit=unit)


def _camera(where: str, values: Any) -> RigCamera:
    name = reading.text(reading.entry(values, "name", where), f"{where}: name")
    where = f"{where} ({name})"
    intrinsics = reading.array(reading.entry(values, "K", where), (3, 3), f"{where}: K")
    pose = reading.array(reading.entry(values, "w2c", where), (4, 4), f"{where}: w2c")
    if not np.array_equal(pose[3], [0, 0, 0, 1]):
        raise UserError(f"{where}: the last row of w2c must be 0 0 0 1; is it transposed?")
    lens = reading.lens(values.get("dist", []), where)
    width, height = reading.size(values.get("width"), values.get("height"), where)
    return RigCamera(name, reading.move_origin(intrinsics, PIXEL_CENTRE), pose, lens, width, height)
