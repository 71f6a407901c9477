"""Reads EasyMocap's pair of FileStorage files, `intri.yml` beside `extri.yml`."""

from pathlib import Path
from typing import Any

import numpy as np

from gslrm.cameras import ROTATION_TOLERANCE
from gslrm.data.formats import filestorage, reading
from gslrm.data.rig import PIXEL_CENTRE, Rig, RigCamera
from gslrm.errors import UserError

INTRINSICS, EXTRINSICS = "intri.yml", "extri.yml"


def matches(path: Path) -> bool:
    """The directory of the pair, or one of its files."""
    if path.is_dir():
        return (path / INTRINSICS).is_file() and (path / EXTRINSICS).is_file()
    return path.name in (INTRINSICS, EXTRINSICS)


def read(path: Path) -> Rig:
    """A rig in the file's own unit, which the format does not fix.

    Raises:
        UserError: a file is missing or damaged, lacks something, or gives a rotation twice in different ways.
    """
    directory = path if path.is_dir() else path.parent
    lenses, poses = (filestorage.parse(directory / name) for name in (INTRINSICS, EXTRINSICS))
    names = reading.entries(lenses, "names", directory / INTRINSICS)
    cameras = tuple(_camera(directory, reading.text(name, directory / INTRINSICS), lenses, poses) for name in names)
    return Rig(cameras, path, "easymocap")


def _camera(directory: Path, name: str, lenses: dict[str, Any], poses: dict[str, Any]) -> RigCamera:
    where = f"{directory / INTRINSICS}: camera {name}"
    value = lambda key: filestorage.elements(reading.entry(lenses, f"{key}_{name}", where))  # noqa: E731
    intrinsics = reading.array(value("K"), (3, 3), f"{where}: K")
    lens = reading.lens(value("dist"), where)
    width, height = reading.size(lenses.get(f"W_{name}"), lenses.get(f"H_{name}"), where)
    pose = _pose(f"{directory / EXTRINSICS}: camera {name}", name, poses)
    return RigCamera(name, reading.move_origin(intrinsics, PIXEL_CENTRE), pose, lens, width, height)


def _pose(where: str, name: str, poses: dict[str, Any]) -> np.ndarray:
    value = lambda key: filestorage.elements(reading.entry(poses, f"{key}_{name}", where))  # noqa: E731
    rotations = [reading.rotation_of(value(key), f"{where}: {key}") for key in ("Rot", "R") if f"{key}_{name}" in poses]
    if not rotations:
        raise UserError(f"{where}: lacks its rotation R_{name} or Rot_{name}")
    if np.abs(rotations[0] - rotations[-1]).max() > ROTATION_TOLERANCE:
        raise UserError(f"{where}: Rot_{name} and R_{name} are different rotations; remove the wrong one")
    return reading.rigid(rotations[0], reading.array(value("T"), (3,), f"{where}: T"))
