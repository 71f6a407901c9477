"""The reader of PlayCanvas' .sog, version 2, bundled or as a folder."""

import io
import json
import lzma
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from gslrm import harmonics as sh
from gslrm.errors import UserError
from gslrm.export.codebook import ENTRIES
from gslrm.export.files import AnyPath, read_bytes
from gslrm.export.quaternions import from_smallest_three
from gslrm.export.scene import as_read
from gslrm.export.sog import FIRST_MODE, HIGHEST, PALETTE_COLUMNS, VERSION
from gslrm.types import Gaussians

META = "meta.json"
MAX_META_BYTES = 10_000_000
MAX_PALETTE = 65536
SPARE_PIXELS = 65536  # writers pad pictures to whole rows or blocks
MAX_COUNT_PER_BYTE = 4  # of the file; lossless pictures of real Gaussians need several bytes for one
FREE_COUNT = 1_000_000  # below that many, any file may hold them
# What zipfile, its decoders, json, Pillow, numpy, and our own look-ups raise at files that are not what they claim.
DAMAGE: tuple[type[Exception], ...] = (
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    RuntimeError,
    Image.DecompressionBombError,
)
DAMAGE += (ArithmeticError, LookupError, TypeError, ValueError)

Source = Callable[[str], bytes]


def read_sog(path: AnyPath) -> Gaussians:
    """Read a bundled .sog, or the folder (or its `meta.json`) of an unbundled one.

    Raises:
        UserError: the file is missing, damaged or of another version.
    """
    path = Path(path)
    path = path.parent if path.name == META else path
    try:
        if path.is_dir():
            return as_read(_decode(lambda name: read_bytes(path / name), path, _bytes_of(path)), path)
        with zipfile.ZipFile(path) as bundle:
            return as_read(_decode(lambda name: _member(bundle, name), path, path.stat().st_size), path)
    except OSError as error:
        raise UserError(f"cannot read {path}: {error}; copy or export it again") from error
    except DAMAGE as error:
        raise UserError(f"{path} is damaged or no .sog of version {VERSION}: {error}; export it again") from error


def _decode(source: Source, path: Path, size: int) -> Gaussians:
    meta = json.loads(source(META))
    if not isinstance(meta, dict) or meta.get("version") != VERSION:
        raise ValueError(f"it does not say version {VERSION}")
    count = meta["count"]
    if not isinstance(count, int) or not 0 <= count <= max(FREE_COUNT, MAX_COUNT_PER_BYTE * size):
        raise ValueError(f"{size} bytes cannot hold {count} Gaussians")
    rotations = _pixels(source, meta["quats"], 0, count)
    if count and rotations[:, 3].min() < FIRST_MODE:
        raise ValueError("its rotations are of another kind")
    colours = _pixels(source, meta["sh0"], 0, count)
    base = _book(meta["sh0"])[colours[:, :3]]
    rest = _harmonics(source, meta["shN"], count) if "shN" in meta else np.zeros((count, 0, 3))
    return Gaussians(
        means=torch.from_numpy(_means(source, meta["means"], count)),
        scales=torch.from_numpy(_book(meta["scales"])[_pixels(source, meta["scales"], 0, count)[:, :3]]).exp(),
        rotations=torch.from_numpy(
            from_smallest_three(rotations[:, 3].astype(np.int64) - FIRST_MODE, rotations[:, :3] / 255 * 2 - 1)
        ),
        opacities=torch.from_numpy(colours[:, 3] / 255),
        harmonics=torch.from_numpy(np.concatenate([base[:, None], rest], axis=1)),
    )


def _means(source: Source, section: dict[str, Any], count: int) -> np.ndarray:
    low, high = np.array(section["mins"], dtype=np.float64), np.array(section["maxs"], dtype=np.float64)
    if low.shape != (3,) or high.shape != (3,):
        raise ValueError("its positions have no range")
    lower, upper = (_pixels(source, section, index, count)[:, :3].astype(np.float64) for index in range(2))
    curved = low + (lower + 256 * upper) / HIGHEST * (high - low)
    with np.errstate(over="ignore"):  # infinity is found later, with all other numbers that cannot be
        return np.sign(curved) * np.expm1(np.abs(curved))


def _harmonics(source: Source, section: dict[str, Any], count: int) -> np.ndarray:
    degree, entries = section["bands"], section["count"]
    if degree not in range(1, sh.MAX_DEGREE + 1) or entries not in range(MAX_PALETTE + 1):
        raise ValueError(f"a palette of {entries} colours of degree {degree}")
    columns = sh.coefficient_count(degree) - 1
    picture = _picture(source, section, 0, MAX_PALETTE * columns + SPARE_PIXELS)
    if picture.shape[1] != PALETTE_COLUMNS * columns or picture.shape[0] * PALETTE_COLUMNS < entries:
        raise ValueError("the picture of its palette has another size")
    table = _book(section)[picture[..., :3].reshape(-1, columns, 3)[:entries]]
    labels = _pixels(source, section, 1, count).astype(np.int64)
    return table[labels[:, 0] + 256 * labels[:, 1]]


def _book(section: dict[str, Any]) -> np.ndarray:
    book = np.array(section["codebook"], dtype=np.float64)
    if book.shape != (ENTRIES,):
        raise ValueError(f"a codebook of shape {book.shape}, {ENTRIES} numbers expected")
    return book


def _pixels(source: Source, section: dict[str, Any], index: int, count: int) -> np.ndarray:
    """The bytes of the Gaussians [count, 4]."""
    rows = _picture(source, section, index, 2 * count + SPARE_PIXELS).reshape(-1, 4)
    if len(rows) < count:
        raise ValueError(f"{section['files'][index]} has {len(rows)} pixels for {count} Gaussians")
    return rows[:count]


def _picture(source: Source, section: dict[str, Any], index: int, limit: int) -> np.ndarray:
    """RGBA bytes [h, w, 4]; the size is known and judged before anything is decoded."""
    name = section["files"][index]
    with Image.open(io.BytesIO(source(_plain(name)))) as image:
        if image.width * image.height > limit:
            raise ValueError(f"{name} has {image.width} x {image.height} pixels, more than its Gaussians need")
        return np.asarray(image.convert("RGBA"))


def _plain(name: object) -> str:
    """A name that stays in the folder."""
    if not isinstance(name, str) or Path(name).name != name:
        raise ValueError(f"{name!r} is no name of a file")
    return name


def _member(bundle: zipfile.ZipFile, name: str) -> bytes:
    """One file of the bundle; pictures are compressed already, so what claims to grow much is no picture."""
    entry = bundle.getinfo(name)
    if entry.file_size > MAX_META_BYTES + 2 * entry.compress_size:
        raise ValueError(f"{name} claims to be {entry.file_size} bytes")
    with bundle.open(entry) as file:
        return file.read(MAX_META_BYTES + 2 * entry.compress_size)


def _bytes_of(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.iterdir() if file.is_file())
