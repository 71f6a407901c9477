"""Reads or writes Anipose's `calibration.toml`."""

import json
import sys
from pathlib import Path
from typing import Any

from scipy.spatial.transform import Rotation

from gslrm.data.formats import reading, writing
from gslrm.data.rig import PIXEL_CENTRE, LensModel, Rig, RigCamera
from gslrm.errors import UserError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

FILE_NAME = "calibration.toml"
SUFFIX = ".toml"
UNIT = "mm"  # of the calibration board, as Anipose's manual measures it
SHORT_POLYNOMIAL = 5  # coefficients that Anipose itself writes


def matches(path: Path) -> bool:
    """A TOML file with at least one camera's table, or a directory with `calibration.toml`."""
    if path.is_dir():
        return (path / FILE_NAME).is_file()
    if path.suffix.lower() != SUFFIX:
        return False
    try:
        return bool(_tables(parse(path)))
    except UserError:
        return False


def read(path: Path) -> Rig:
    """A rig in millimetres, unless `metadata.unit` says otherwise.

    Raises:
        UserError: the file is damaged or lacks something.
    """
    file = path / FILE_NAME if path.is_dir() else path
    content = parse(file)
    tables = _tables(content)
    if not tables:
        raise UserError(f"{file}: has no table of a camera such as [cam_0] with 'matrix' in it")
    cameras = tuple(_camera(f"{file}: {key}", tables[key]) for key in reading.in_natural_order(tables))
    metadata = content.get("metadata")
    unit = reading.unit(metadata if isinstance(metadata, dict) else {}, file, default=UNIT)
    return Rig(cameras, path, "anipose", unit=unit)


def write(path: Path, rig: Rig) -> None:
    """Write all cameras.

    Raises:
        UserError: a camera has skew, or the file cannot be written.
    """
    parts = []
    for index, camera in enumerate(rig.cameras):
        writing.require_no_skew(camera, "Anipose")
        lines = [f"{key} = {_toml(value)}" for key, value in _table(camera).items()]
        parts.append("\n".join([f"[cam_{index}]", *lines, ""]))
    parts.append(f"[metadata]\nunit = {_toml(rig.unit or '')}\n")
    writing.write_text(path, "\n".join(parts))


def parse(path: Path) -> dict[str, Any]:
    """What a TOML file says.

    Raises:
        UserError: it cannot be read or is not TOML.
    """
    try:
        return tomllib.loads(reading.read_text(path))
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: is not valid TOML ({error}); export the calibration again") from error


def _tables(content: dict[str, Any]) -> dict[str, Any]:
    return {key: table for key, table in content.items() if isinstance(table, dict) and "matrix" in table}


def _camera(where: str, table: dict[str, Any]) -> RigCamera:
    name = reading.text(reading.entry(table, "name", where), f"{where}: name")
    model: LensModel = "fisheye" if table.get("fisheye") is True else "polynomial"
    lens = reading.lens(reading.entry(table, "distortions", where), where, model=model)
    intrinsics = reading.array(table["matrix"], (3, 3), f"{where}: matrix")
    rotation = reading.rotation_of(reading.entry(table, "rotation", where), f"{where}: rotation")
    translation = reading.array(reading.entry(table, "translation", where), (3,), f"{where}: translation")
    width, height = None, None
    if "size" in table:
        given = reading.array(table["size"], (2,), f"{where}: size")
        width, height = reading.size(given[0], given[1], where)
    pose = reading.rigid(rotation, translation)
    return RigCamera(name, reading.move_origin(intrinsics, PIXEL_CENTRE), pose, lens, width, height)


def _table(camera: RigCamera) -> dict[str, Any]:
    coefficients = camera.lens.coefficients
    if camera.lens.model == "polynomial" and not any(coefficients[SHORT_POLYNOMIAL:]):
        coefficients = coefficients[:SHORT_POLYNOMIAL]
    table = {
        "name": camera.name,
        "matrix": reading.move_origin(camera.intrinsics, -PIXEL_CENTRE).tolist(),
        "distortions": list(coefficients),
        "rotation": Rotation.from_matrix(camera.camera_from_world[:3, :3]).as_rotvec().tolist(),
        "translation": camera.camera_from_world[:3, 3].tolist(),
    }
    if camera.width is not None:
        table["size"] = [camera.width, camera.height]
    if camera.lens.model == "fisheye":
        table["fisheye"] = True
    return table


def _toml(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)  # of text, numbers, lists and booleans JSON is TOML
