"""Unpickles numpy arrays in lists or dicts without running anything that a pickle names.

numpy itself is not handed to the pickle either: its reconstruction calls are answered by the small stand-ins below,
which accept plain numeric arrays only.
"""

import io
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np

NUMERIC = {f"{kind}{size}" for kind, sizes in {"f": "248", "i": "1248", "u": "1248"}.items() for size in sizes}
BROKEN = (ArithmeticError, AttributeError, EOFError, ImportError, LookupError, MemoryError, RuntimeError, TypeError)


class _Type:
    """Stands in for numpy.dtype."""

    def __init__(self, code: str, *_: object) -> None:
        if not isinstance(code, str) or code.lstrip("<>=|") not in NUMERIC:
            raise pickle.UnpicklingError(f"arrays of type {code!r} are not numbers")
        self.dtype = np.dtype(code)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        if state[1] in ("<", ">"):
            self.dtype = self.dtype.newbyteorder(state[1])


class _Array:
    """Stands in for an array on its way: numpy makes an empty one first."""

    values: np.ndarray

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, shape, kind, is_fortran, data = state
        self.values = _array(data, kind, shape, "F" if is_fortran else "C")


def load_arrays(content: bytes) -> Any:
    """Lists, dicts, numbers, text and numeric arrays of a pickle.

    Raises:
        ValueError: the pickle names anything else, or is damaged.
    """
    try:
        return _plain(_Unpickler(io.BytesIO(content), encoding="latin1").load())
    except pickle.UnpicklingError as error:
        raise ValueError(str(error)) from error
    except BROKEN as error:
        raise ValueError(f"damaged: {error}") from error


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in STAND_INS:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which is no array")
        return STAND_INS[module, name]


def _array(data: Any, kind: _Type, shape: Any, order: Any) -> np.ndarray:
    content = data.encode("latin1") if isinstance(data, str) else bytes(data)  # text in pickles of Python 2
    values = np.frombuffer(content, kind.dtype).reshape(tuple(shape), order=order)
    return values.astype(kind.dtype.newbyteorder("="))


def _reconstruct(*_: object) -> _Array:
    return _Array()


def _scalar(kind: _Type, data: Any) -> float | int:
    return _array(data, kind, (), "C").item()


def _from_buffer(data: Any, kind: _Type, shape: Any, order: Any) -> np.ndarray:
    return _array(data, kind, shape, order)


def _encode(content: str, encoding: str) -> bytes:
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"it asks for the encoding {encoding!r}")
    return content.encode("latin1")


STAND_INS: dict[tuple[str, str], Callable[..., Any]] = {
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _Type,
    ("_codecs", "encode"): _encode,
    **{
        (f"numpy.{core}.{module}", name): stand_in
        for core in ("core", "_core")
        for module, name, stand_in in (
            ("multiarray", "_reconstruct", _reconstruct),
            ("multiarray", "scalar", _scalar),
            ("numeric", "_frombuffer", _from_buffer),
        )
    },
}


def _plain(value: Any) -> Any:
    if isinstance(value, _Array):
        return value.values
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if value is None or isinstance(value, bool | int | float | str | bytes | np.ndarray):
        return value
    raise pickle.UnpicklingError(f"it holds a {type(value).__name__}, which is no array")
