"""Reads the MATLAB files of Label3D and DANNCE (mouse_rig 4).

Matrices are transposed there (row vectors), and MATLAB's first pixel has its centre at (1, 1).
"""

import glob
import re
from pathlib import Path
from typing import Any

import numpy as np

from gslrm.data.formats import reading
from gslrm.data.formats.matlab import is_matlab, read_matlab
from gslrm.data.rig import MATLAB_ORIGIN, PIXEL_CENTRE, Labels, Rig, RigCamera
from gslrm.errors import UserError

VARIABLES = ("camnames", "params", "sync", "labelData", "K", "r", "t", "RDistort", "TDistort")
PER_CAMERA = "*params.mat"
TO_CORNER = PIXEL_CENTRE - MATLAB_ORIGIN


def matches(path: Path) -> bool:
    """A MATLAB file, or a directory with one `*params.mat` per camera."""
    return bool(reading.files_in(path, PER_CAMERA)) if path.is_dir() else is_matlab(path)


def read(path: Path) -> Rig:
    """The rig of a `*_dannce.mat`, or of `hires_camN_params.mat` files (a directory, or one of them for all).

    World points are millimetres. A file without a sync table gives a rig without `frames`.

    Raises:
        UserError: the file is damaged, lacks something, or contradicts itself.
    """
    if path.is_dir():
        return _read_separate(path, reading.files_in(path, PER_CAMERA))
    content = read_matlab(path, VARIABLES)
    if "params" in content:
        return _read_combined(path, content)
    if {"K", "r", "t"} <= set(content):
        pattern = re.sub(r"\d+", "*", glob.escape(path.name))
        return _read_separate(path, reading.files_in(path.parent, pattern))
    raise UserError(
        f"{path}: holds neither 'params' (Label3D, DANNCE) nor K, r, t of one camera; name the calibration file"
    )


def _read_combined(path: Path, content: dict[str, Any]) -> Rig:
    parameters = _per_camera(content["params"])
    names = _names(path, content.get("camnames"), len(parameters))
    cameras = tuple(_camera(path, name, values) for name, values in zip(names, parameters, strict=True))
    sync = _tables(path, "sync", content, names)
    frames = _stack(path, "sync", "data_frame", sync, names).T if sync else None
    labels = _labels(path, _tables(path, "labelData", content, names), sync, names)
    return Rig(cameras, path, "dannce", unit="mm", frames=frames, labels=labels)


def _read_separate(path: Path, files: list[Path]) -> Rig:
    if not files:
        raise UserError(f"{path}: has no files {PER_CAMERA}; name the directory of the calibration")
    cameras = []
    for file in files:
        name = file.stem.removeprefix("hires_").removesuffix("params").rstrip("_-") or file.stem
        cameras.append(_camera(file, name, read_matlab(file, VARIABLES)))
    return Rig(tuple(cameras), path, "dannce", unit="mm")


def _camera(path: Path, name: str, parameters: Any) -> RigCamera:
    where = f"{path}: camera {name}"
    intrinsics = reading.array(reading.entry(parameters, "K", where), (3, 3), f"{where}: K").T
    rotation = reading.array(reading.entry(parameters, "r", where), (3, 3), f"{where}: r").T
    translation = reading.array(reading.entry(parameters, "t", where), (3,), f"{where}: t")
    radial = np.ravel(reading.entry(parameters, "RDistort", where))
    if not 2 <= len(radial) <= 3:
        raise UserError(f"{where}: RDistort must hold 2 or 3 coefficients, holds {len(radial)}")
    k1, k2, *k3 = reading.array(radial, radial.shape, f"{where}: RDistort")
    p1, p2 = reading.array(reading.entry(parameters, "TDistort", where), (2,), f"{where}: TDistort")
    lens = reading.lens([k1, k2, p1, p2, *k3], where)
    return RigCamera(name, reading.move_origin(intrinsics, TO_CORNER), reading.rigid(rotation, translation), lens)


def _per_camera(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _names(path: Path, names: Any, count: int) -> list[str]:
    """`camnames`, or the names that DANNCE itself gives cameras."""
    if names is None:
        return [f"Camera{index + 1}" for index in range(count)]
    found = [reading.text(name, f"{path}: camnames") for name in _per_camera(names)]
    if len(found) != count:
        raise UserError(f"{path}: {len(found)} camnames for {count} cameras in params; give every camera one name")
    return found


def _tables(path: Path, key: str, content: dict[str, Any], names: list[str]) -> list[Any]:
    """One struct per camera, empty where the file has none."""
    tables = _per_camera(content.get(key, []))
    tables = [table for table in tables if not (isinstance(table, np.ndarray) and table.size == 0)]
    if tables and len(tables) != len(names):
        raise UserError(f"{path}: {key} speaks of {len(tables)} cameras, params of {len(names)}; export it again")
    return tables


def _stack(path: Path, key: str, field: str, tables: list[Any], names: list[str]) -> np.ndarray:
    """A field of whole numbers from all cameras' tables: [V, T]."""
    rows = [np.ravel(reading.entry(table, field, f"{path}: {key}")) for table in tables]
    lengths = {name: len(row) for name, row in zip(names, rows, strict=True)}
    if len(set(lengths.values())) != 1:
        counts = ", ".join(f"{name} {length}" for name, length in lengths.items())
        raise UserError(f"{path}: {key}.{field} has a different length per camera ({counts}); synchronise them again")
    values = reading.array(rows, (len(rows), len(rows[0])), f"{path}: {key}.{field}")
    if (values < 0).any() or (values != np.floor(values)).any():
        raise UserError(f"{path}: {key}.{field} must hold whole numbers from 0")
    return values.astype(np.int64)


def _labels(path: Path, tables: list[Any], sync: list[Any], names: list[str]) -> Labels | None:
    shapes = {np.shape(reading.entry(table, "data_2d", f"{path}: labelData")) for table in tables}
    if not tables or all(0 in shape for shape in shapes):
        return None
    if len(shapes) > 1:
        raise UserError(f"{path}: labelData.data_2d has a different shape per camera; export the labels again")
    count, width = shapes.pop()
    if width % 2:
        raise UserError(f"{path}: labelData.data_2d must have two columns per joint, has {width} columns")
    where, joints = f"{path}: labelData", width // 2
    pixel = np.stack([_marked(table["data_2d"], (count, joints, 2), f"{where}.data_2d") for table in tables], axis=1)
    point = np.full((count, joints, 3), np.nan)
    if np.size(tables[0].get("data_3d", [])):
        point = _marked(tables[0]["data_3d"], (count, joints, 3), f"{where}.data_3d")
    return Labels(_times(path, tables, sync, names, count), pixel + TO_CORNER, point)


def _marked(value: Any, shape: tuple[int, ...], where: str) -> np.ndarray:
    """Points whose unmarked ones, all zeros or NaN, have become NaN."""
    if np.size(value) != np.prod(shape):
        raise UserError(f"{where}: has {np.size(value)} numbers, not the {np.prod(shape)} of {shape}")
    try:
        points = np.asarray(value, dtype=np.float64).reshape(shape)
    except (TypeError, ValueError) as error:
        raise UserError(f"{where}: must hold numbers") from error
    unmarked = ~np.isfinite(points).all(axis=-1) | (points == 0).all(axis=-1)
    return np.where(unmarked[..., None], np.nan, points)


def _times(path: Path, tables: list[Any], sync: list[Any], names: list[str], count: int) -> np.ndarray:
    """Row of the sync table of each label: by sample number, else by frame; without a table, the frame itself."""
    field = "data_frame"
    if all("data_sampleID" in table for table in [*tables, *sync]) and sync:
        field = "data_sampleID"
    labelled = _stack(path, "labelData", field, tables, names)
    if labelled.shape[1] != count:
        raise UserError(f"{path}: labelData has {labelled.shape[1]} {field} for {count} labels; export it again")
    if not sync:
        if (labelled != labelled[0]).any():
            raise UserError(f"{path}: labels of different frames belong together, but there is no sync table")
        return labelled[0]
    rows = {tuple(row): time for time, row in reversed(list(enumerate(_stack(path, "sync", field, sync, names).T)))}
    missing = [tuple(map(int, row)) for row in labelled.T if tuple(row) not in rows]
    if missing:
        raise UserError(f"{path}: label with {field} {missing[0][0]} is not in the sync table; export it again")
    return np.array([rows[tuple(row)] for row in labelled.T], dtype=np.int64)
