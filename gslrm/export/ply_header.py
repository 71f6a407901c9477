"""The tables of a binary .ply file, read without trusting its header."""

import itertools
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from gslrm.errors import UserError

MAX_HEADER_LINES = 1000
_TYPES = {"char": "i1", "uchar": "u1", "short": "i2", "ushort": "u2", "int": "i4", "uint": "u4", "float": "f4"}
_TYPES |= {"int8": "i1", "uint8": "u1", "int16": "i2", "uint16": "u2", "int32": "i4", "uint32": "u4"}
_TYPES |= {"float32": "f4", "double": "f8", "float64": "f8"}
_BYTE_ORDERS = {"binary_little_endian": "<", "binary_big_endian": ">"}


@dataclass(frozen=True)
class Element:
    """One table of a .ply file as its header announces it."""

    name: str
    count: int
    dtype: np.dtype

    @property
    def properties(self) -> tuple[str, ...]:
        """Names of the columns."""
        return self.dtype.names or ()


def read_header(file: BinaryIO, path: Path) -> list[Element]:
    """The tables that follow in the file, which stands at the first of them afterwards.

    Raises:
        UserError: the file is no binary .ply, or shorter than its header promises.
    """
    elements = _parse(_lines(file, path), path)
    left = os.fstat(file.fileno()).st_size - file.tell()
    if left < sum(element.count * element.dtype.itemsize for element in elements):
        promised = ", ".join(f"{element.count} x {element.name}" for element in elements)
        raise UserError(f"{path} is cut short: its header promises {promised}; copy or export it again")
    return elements


def read_tables(file: BinaryIO, elements: Sequence[Element]) -> dict[str, np.ndarray]:
    """All tables by name, structured arrays with one field per column."""
    return {
        element.name: np.frombuffer(file.read(element.count * element.dtype.itemsize), element.dtype)
        for element in elements
    }


def _lines(file: BinaryIO, path: Path) -> list[list[str]]:
    lines: list[list[str]] = []
    for _ in range(MAX_HEADER_LINES):
        words = file.readline(1024).decode("ascii", errors="replace").split()
        if not lines and words != ["ply"]:
            break
        if words == ["end_header"]:
            return lines
        lines.append(words)
    raise UserError(f"{path} is not a .ply file; give a .ply of Gaussians")


def _parse(lines: list[list[str]], path: Path) -> list[Element]:
    encoding = next((words[1] for words in lines if words[:1] == ["format"] and len(words) > 1), "none")
    if encoding not in _BYTE_ORDERS:
        raise UserError(f"{path}: format {encoding} is not supported; export it as a binary .ply")
    starts = [i for i, words in enumerate(lines) if words[:1] == ["element"]]
    blocks = [lines[start:end] for start, end in itertools.pairwise([*starts, len(lines)])]
    return [_element(block, _BYTE_ORDERS[encoding], path) for block in blocks]


def _element(block: list[list[str]], byte_order: str, path: Path) -> Element:
    head, fields = block[0], {}
    if len(head) != 3 or not head[2].isdigit():
        raise UserError(f"{path}: cannot read '{' '.join(head)}'; export it as a plain 3DGS .ply")
    for words in (words for words in block if words[:1] == ["property"]):
        if len(words) != 3 or words[1] not in _TYPES or words[2] in fields:
            raise UserError(f"{path}: cannot read '{' '.join(words)}' of a {head[1]}; export it as a plain 3DGS .ply")
        fields[words[2]] = byte_order + _TYPES[words[1]]
    return Element(head[1], int(head[2]), np.dtype(list(fields.items())))
