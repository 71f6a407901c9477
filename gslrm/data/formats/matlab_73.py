"""Reads MATLAB files of version 7.3, which are HDF5 files."""

from collections.abc import Collection
from pathlib import Path
from typing import Any

import h5py
import numpy as np

SIGNATURE = b"\x89HDF\r\n\x1a\n"
MATLAB_BLOCK = 512  # bytes that MATLAB puts before HDF5's signature


def is_version_73(path: Path) -> bool:
    """Whether a file is HDF5 by its signature."""
    with path.open("rb") as file:
        head = file.read(MATLAB_BLOCK + len(SIGNATURE))
    return head.startswith(SIGNATURE) or head[MATLAB_BLOCK:].startswith(SIGNATURE)


def read_variables(path: Path, names: Collection[str]) -> dict[str, Any]:
    """The named variables that a file has, as `matlab.read_matlab` describes them; damage raises whatever h5py does."""
    with h5py.File(path, "r") as file:
        return {name: _plain(file[name], file) for name in names if name in file}


def _plain(node: h5py.Group | h5py.Dataset, file: h5py.File) -> Any:
    if isinstance(node, h5py.Group):
        fields = {name: _plain(item, file) for name, item in node.items()}
        if not any(_is_field_of_struct_array(item) for item in node.values()):
            return fields
        return [dict(zip(fields, values, strict=True)) for values in zip(*fields.values(), strict=True)]
    kind = node.attrs.get("MATLAB_class", b"")
    if "MATLAB_empty" in node.attrs:
        return "" if kind == b"char" else [] if kind == b"cell" else np.zeros(tuple(map(int, node[()])))
    if h5py.check_ref_dtype(node.dtype) is not None:
        return [_plain(file[reference], file) for reference in node[()].ravel()]
    values = np.asarray(node[()])
    if kind == b"char":
        return "".join(map(chr, values.ravel().tolist()))
    return values.T  # HDF5 is row-major, MATLAB column-major


def _is_field_of_struct_array(node: h5py.Group | h5py.Dataset) -> bool:
    is_reference = isinstance(node, h5py.Dataset) and h5py.check_ref_dtype(node.dtype) is not None
    return is_reference and "MATLAB_class" not in node.attrs
