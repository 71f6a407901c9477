"""Reads MATLAB files of version 5 (MathWorks, "MAT-File Format", chapter 1).

scipy.io.loadmat reads them too, but one wrong byte in a file without compression ends the process with a segmentation
fault (scipy 1.17).
"""

import math
import struct
import zlib
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

HEADER_BYTES = 128
SIGNATURE = b"MATLAB 5.0"
ENDIANS = {b"IM": "<", b"MI": ">"}  # the last two bytes of the header
MATRIX, COMPRESSED = 14, 15
NUMBERS = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
ENCODINGS = {1: "latin1", 2: "latin1", 4: "utf-16", 16: "utf-8", 17: "utf-16", 18: "utf-32"}
CELL, STRUCT, CHAR = 1, 2, 4
NUMERIC_CLASSES = range(6, 16)
COMPLEX = 0x0800
MAX_BYTES = 2**31  # of one variable, unpacked


class Element(NamedTuple):
    """A piece of a file: its kind and its bytes."""

    kind: int
    content: memoryview


def is_version_5(path: Path) -> bool:
    """Whether a file begins as MATLAB's version 5 does."""
    with path.open("rb") as file:
        return file.read(len(SIGNATURE)) == SIGNATURE


def read_variables(content: bytes, names: Collection[str]) -> dict[str, Any]:
    """The named variables that a file has, as `matlab.read_matlab` describes them.

    Raises:
        ValueError, IndexError, LookupError, struct.error, zlib.error: the file is damaged.
    """
    endian = ENDIANS.get(content[HEADER_BYTES - 2 : HEADER_BYTES])
    if endian is None:
        raise ValueError("it is neither of version 5 nor of version 7.3")
    found = {}
    for element in _elements(memoryview(content)[HEADER_BYTES:], endian):
        matrix = _unpacked(element, endian) if element.kind == COMPRESSED else element
        if matrix.kind == MATRIX:
            reader = _Matrix(matrix.content, endian)
            if reader.name in names:
                found[reader.name] = reader.value()
    return found


def _elements(content: memoryview, endian: str) -> Iterator[Element]:
    """The pieces of a file or of a matrix, one after another."""
    place = 0
    while place < len(content):
        kind, size = struct.unpack_from(f"{endian}II", content, place)
        if kind >> 16:  # small: size and kind share the first word, up to 4 bytes follow
            kind, size, start, step = kind & 0xFFFF, kind >> 16, place + 4, 8
        else:
            padding = 0 if kind == COMPRESSED else -size % 8
            start, step = place + 8, 8 + size + padding
        if size > (4 if start == place + 4 else len(content) - start):
            raise ValueError("it is cut off")
        yield Element(kind, content[start : start + size])
        place += step


def _unpacked(element: Element, endian: str) -> Element:
    stream = zlib.decompressobj()
    content = stream.decompress(element.content, MAX_BYTES)
    if not stream.eof:
        raise ValueError("a compressed variable is cut off or too large")
    return next(_elements(memoryview(content), endian))


class _Matrix:
    """One variable, or one entry of a cell or struct."""

    def __init__(self, content: memoryview, endian: str) -> None:
        self.endian = endian
        self.pieces = _elements(content, endian)
        flags = self._numbers() if len(content) else np.zeros(1)
        self.kind, self.is_complex = int(flags[0]) & 0xFF, bool(int(flags[0]) & COMPLEX)
        self.shape = tuple(map(int, self._numbers())) if len(content) else (0, 0)
        self.name = bytes(self._next().content).decode("latin1") if len(content) else ""

    def value(self) -> Any:
        """What it holds; none if it is of a kind that calibrations do not use."""
        if min(self.shape) < 0:
            raise ValueError("a size is negative")
        if self.kind == CELL:
            return [self._inner() for _ in range(math.prod(self.shape))]
        if self.kind == STRUCT:
            return self._structs()
        if math.prod(self.shape) == 0:
            return "" if self.kind == CHAR else np.zeros(self.shape)
        if self.kind == CHAR:
            return self._text()
        return self._array() if self.kind in NUMERIC_CLASSES else None

    def _next(self) -> Element:
        element = next(self.pieces, None)
        if element is None:
            raise ValueError("a variable is cut off")
        return element

    def _numbers(self) -> np.ndarray:
        element = self._next()
        return np.frombuffer(element.content, self.endian + NUMBERS[element.kind])

    def _inner(self) -> Any:
        element = self._next()
        if element.kind != MATRIX:
            raise ValueError("an entry is no matrix")
        return _Matrix(element.content, self.endian).value()

    def _structs(self) -> Any:
        length = int(self._numbers()[0])
        text = bytes(self._next().content)
        if not 0 < length <= max(1, len(text)):
            raise ValueError("the names of a struct are damaged")
        names = [text[i : i + length].partition(b"\0")[0].decode("latin1") for i in range(0, len(text), length)]
        if not names:
            return {}
        structs = [{name: self._inner() for name in names} for _ in range(math.prod(self.shape))]
        return structs[0] if len(structs) == 1 else structs

    def _text(self) -> str:
        element = self._next()
        encoding = ENCODINGS[element.kind]
        if encoding[-2:] in ("16", "32"):
            encoding += "-le" if self.endian == "<" else "-be"
        return bytes(element.content).decode(encoding)

    def _array(self) -> np.ndarray:
        real = self._numbers()
        if len(real) != math.prod(self.shape):
            raise ValueError(f"an array of {self.shape} holds {len(real)} numbers")
        values = real + 1j * self._numbers() if self.is_complex else real
        return values.reshape(self.shape, order="F")
