"""From what a calibration file holds to checked numbers; every refusal names the file."""

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from scipy.spatial.transform import Rotation

from gslrm.data.rig import COEFFICIENTS, Lens, LensModel
from gslrm.errors import UserError

POLYNOMIAL_NAMES = ("k1", "k2", "p1", "p2", "k3", "k4", "k5", "k6")  # OpenCV's order
FISHEYE_NAMES = ("k1", "k2", "k3", "k4")


def read_bytes(path: Path) -> bytes:
    """A file's content.

    Raises:
        UserError: it cannot be read.
    """
    try:
        return path.read_bytes()
    except (OSError, MemoryError) as error:
        raise UserError(f"{path}: cannot be read ({getattr(error, 'strerror', None) or 'too large'})") from error


def read_text(path: Path) -> str:
    """A text file's content.

    Raises:
        UserError: it cannot be read or is not text in UTF-8.
    """
    try:
        return read_bytes(path).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: is not text in UTF-8 ({error.reason} at byte {error.start})") from error


def read_json(path: Path) -> Any:
    """What a JSON file says.

    Raises:
        UserError: it cannot be read or is not JSON.
    """
    try:
        return json.loads(read_text(path))
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: is not valid JSON ({error}); export the calibration again") from error


def read_json_if_any(path: Path) -> Any:
    """What a file says if it is a JSON file, else none."""
    try:
        return read_json(path) if path.is_file() and _starts_like_json(path) else None
    except UserError:
        return None


def entry(content: Any, key: Any, where: object) -> Any:
    """A value of a mapping.

    Raises:
        UserError: `content` is no mapping or lacks the key.
    """
    if not isinstance(content, Mapping):
        raise UserError(f"{where}: must be a mapping with '{key}'")
    if key not in content:
        raise UserError(f"{where}: lacks '{key}'; it has {', '.join(map(str, content)) or 'nothing'}")
    return content[key]


def entries(content: Any, key: str, where: object) -> list[Any]:
    """A list in a mapping.

    Raises:
        UserError: it is missing, no list, or empty.
    """
    found = entry(content, key, where)
    if not isinstance(found, list) or not found:
        raise UserError(f"{where}: '{key}' must be a list that is not empty")
    return found


def array(value: Any, shape: tuple[int, ...], where: object) -> np.ndarray:
    """A float64 array, from any nesting with the right number of elements (row-major).

    Raises:
        UserError: the number of elements is wrong, or one is not a finite number.
    """
    try:
        if np.iscomplexobj(value):
            raise TypeError("complex")
        numbers = np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise UserError(f"{where}: must be {_shape_name(shape)} of numbers") from error
    if numbers.size != np.prod(shape, dtype=int):
        raise UserError(f"{where}: must be {_shape_name(shape)} of numbers, has {numbers.size}")
    if not np.isfinite(numbers).all():
        raise UserError(f"{where}: holds NaN or infinity; calibrate this camera again or leave it out")
    return numbers.reshape(shape)


def number(value: Any, where: object) -> float:
    """One finite number.

    Raises:
        UserError: it is none.
    """
    if isinstance(value, bool) or value is None:
        raise UserError(f"{where}: must be a number, is {value}")
    return float(array(value, (), where))


def size(width: Any, height: Any, where: object) -> tuple[int, int] | tuple[None, None]:
    """Width and height of the pictures in pixels; none if the file says neither.

    Raises:
        UserError: one is missing, or they are no positive whole numbers.
    """
    if width is None and height is None:
        return None, None
    both = number(width, f"{where}: width"), number(height, f"{where}: height")
    if not all(value >= 1 and value == int(value) for value in both):
        raise UserError(f"{where}: a picture of {both[0]:g} x {both[1]:g} pixels is impossible; correct its size")
    return int(both[0]), int(both[1])


def text(value: Any, where: object) -> str:
    """A name.

    Raises:
        UserError: it is no text, or empty.
    """
    if not isinstance(value, str) or not value:
        raise UserError(f"{where}: must be a text that is not empty")
    return value


def unit(content: Mapping[str, Any], where: object, *, default: str | None = None) -> str | None:
    """The world's unit as our writers note it under `unit`; empty means unknown.

    Raises:
        UserError: it is no text.
    """
    value = content.get("unit", default)
    if value is not None and not isinstance(value, str):
        raise UserError(f"{where}: 'unit' must be a text such as mm")
    return value or None


def lens(coefficients: Any, where: object, *, model: LensModel = "polynomial") -> Lens:
    """Distortion from coefficients in OpenCV's order; zeros at the end may be as many as a file likes.

    Raises:
        UserError: there are more coefficients than the model has, or one is not a finite number.
    """
    try:
        values = np.asarray(coefficients, dtype=np.float64)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise UserError(f"{where}: distortion coefficients must be numbers") from error
    if values.ndim == 0:
        raise UserError(f"{where}: distortion coefficients must be a list")
    trimmed = np.trim_zeros(values.ravel(), "b")
    if len(trimmed) > COEFFICIENTS[model]:
        raise UserError(
            f"{where}: {len(trimmed)} distortion coefficients; the {model} model here has {COEFFICIENTS[model]} "
            "(no thin prism, no tilt): calibrate with fewer"
        )
    return Lens(tuple(array(trimmed, trimmed.shape, f"{where}: distortion").tolist()), model)


def named_lens(values: Mapping[str, float], where: object, *, model: LensModel = "polynomial") -> Lens:
    """Distortion from coefficients by OpenCV's names; what is not named is 0."""
    names = FISHEYE_NAMES if model == "fisheye" else POLYNOMIAL_NAMES
    return lens([values.get(name, 0.0) for name in names], where, model=model)


def pinhole(fx: float, fy: float, cx: float, cy: float) -> Float[np.ndarray, "3 3"]:
    """The matrix of a camera without skew."""
    return np.array([[fx, 0.0, cx], [0.0, fy, cy], [0.0, 0.0, 1.0]])


def move_origin(intrinsics: Float[np.ndarray, "3 3"], offset: float) -> Float[np.ndarray, "3 3"]:
    """The same camera in pixel coordinates that are larger by `offset`."""
    moved = intrinsics.copy()
    moved[:2, 2] += offset
    return moved


def rigid(rotation: Float[np.ndarray, "3 3"], translation: Float[np.ndarray, "3"]) -> Float[np.ndarray, "4 4"]:
    """[[R, t], [0, 1]]."""
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = rotation, translation
    return matrix


def rotation_of(value: Any, where: object) -> Float[np.ndarray, "3 3"]:
    """A rotation matrix from itself (9 numbers) or from its Rodrigues vector (3 numbers).

    Raises:
        UserError: there are neither 9 nor 3 finite numbers.
    """
    if np.size(np.asarray(value, dtype=object)) == 3:
        return Rotation.from_rotvec(array(value, (3,), where)).as_matrix()
    return array(value, (3, 3), where)


def in_natural_order(names: Iterable[str]) -> list[str]:
    """Names sorted so that cam_2 comes before cam_10."""
    return sorted(names, key=_natural_key)


def files_in(directory: Path, *patterns: str) -> list[Path]:
    """Files of a directory that match any pattern, in natural order of their names."""
    names = {path.name for pattern in patterns for path in directory.glob(pattern) if path.is_file()}
    return [directory / name for name in in_natural_order(names)]


def names_of_pictures(pictures: list[Path]) -> list[str]:
    """Names of cameras after their pictures: file stems, or whole paths without suffix where stems repeat."""
    stems = [picture.stem for picture in pictures]
    return stems if len(set(stems)) == len(stems) else [picture.with_suffix("").as_posix() for picture in pictures]


def _natural_key(name: str) -> list[tuple[int, str]]:
    parts = re.split(r"(\d+)", name)
    return [(int(part), "") if part.isdecimal() and len(part) < 19 else (-1, part) for part in parts]


def _starts_like_json(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(64).lstrip(b"\xef\xbb\xbf \t\r\n")[:1] in (b"{", b"[")


def _shape_name(shape: tuple[int, ...]) -> str:
    return {0: "one", 1: f"a list of {shape[0] if shape else 0}"}.get(len(shape), "x".join(map(str, shape)))
