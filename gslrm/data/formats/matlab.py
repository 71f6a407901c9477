"""Reads MATLAB files of version 5 or 7.3 into plain Python values."""

import struct
import zlib
from collections.abc import Collection
from pathlib import Path
from typing import Any

from gslrm.data.formats import matlab_5, matlab_73, reading
from gslrm.errors import UserError

BROKEN = (
    *(ArithmeticError, AssertionError, AttributeError, EOFError, LookupError, MemoryError, OSError, RuntimeError),
    *(TypeError, ValueError, struct.error, zlib.error),
)  # what the readers raise on damaged files


def is_matlab(path: Path) -> bool:
    """Whether a file is a MATLAB file by its first bytes, or says so by its name."""
    if not path.is_file():
        return False
    return path.suffix.lower() == ".mat" or matlab_5.is_version_5(path) or matlab_73.is_version_73(path)


def read_matlab(path: Path, names: Collection[str]) -> dict[str, Any]:
    """The named variables that a file has.

    Cells become lists, structs dicts, text str, and numbers arrays [rows, columns]; what is none of these is none.

    Raises:
        UserError: the file cannot be read, or is damaged.
    """
    try:
        if matlab_73.is_version_73(path):
            return matlab_73.read_variables(path, names)
        return matlab_5.read_variables(reading.read_bytes(path), names)
    except BROKEN as error:
        raise UserError(f"{path}: cannot be read as a MATLAB file ({error}); save it again") from error
