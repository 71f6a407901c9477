"""All formats of Gaussians by name, and files of any of them by what they hold."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from gslrm.errors import UserError
from gslrm.export.compressed_ply import read_compressed_ply, write_compressed_ply
from gslrm.export.files import AnyPath
from gslrm.export.ply import read_ply, write_lgm_ply, write_ply
from gslrm.export.ply_header import read_header
from gslrm.export.sog import write_sog
from gslrm.export.sog_reader import META, read_sog
from gslrm.export.splat import ROW, read_splat, write_splat
from gslrm.export.spz import GZIP_MAGIC, MAGIC, read_spz, write_spz
from gslrm.types import Gaussians

ZIP_MAGIC = b"PK"


@dataclass(frozen=True)
class Format:
    """One way to write Gaussians: how its files end, the writer, the reader."""

    suffix: str
    write: Callable[[Gaussians, AnyPath], None]
    read: Callable[[AnyPath], Gaussians]


FORMATS = {
    "ply": Format(".ply", write_ply, read_ply),
    "lgm_ply": Format(".lgm.ply", write_lgm_ply, read_ply),
    "compressed_ply": Format(".compressed.ply", write_compressed_ply, read_compressed_ply),
    "splat": Format(".splat", write_splat, read_splat),
    "spz": Format(".spz", write_spz, read_spz),
    "sog": Format(".sog", write_sog, read_sog),
}


def read_gaussians(path: AnyPath) -> Gaussians:
    """Read Gaussians from a file of any format, told by its content and not by its name.

    A folder is taken for an unbundled .sog.

    Raises:
        UserError: the file is missing, damaged or of no known format.
    """
    return FORMATS[format_of(path)].read(path)


def write_gaussians(gaussians: Gaussians, path: AnyPath, name: str | None = None) -> None:
    """Write Gaussians `[N]` in the format of that name, or the one that the file's name ends in.

    Raises:
        UserError: there is no such format.
        ValueError: the Gaussians are batched or hold NaN or infinity.
    """
    FORMATS[name or format_by_suffix(path)].write(gaussians, path)


def format_by_suffix(path: AnyPath) -> str:
    """The format whose suffix, the longest that fits, a file's name has.

    Raises:
        UserError: no format has this suffix.
    """
    lower = Path(path).name.lower()
    fitting = [name for name, form in FORMATS.items() if lower.endswith(form.suffix)]
    if not fitting:
        suffixes = ", ".join(form.suffix for form in FORMATS.values())
        raise UserError(f"{path}: no format has this ending; choose one of {suffixes}")
    return max(fitting, key=lambda name: len(FORMATS[name].suffix))


def format_of(path: AnyPath) -> str:
    """The format of an existing file, by its content.

    Raises:
        UserError: the file is missing or of no known format.
    """
    path = Path(path)
    if path.is_dir() or path.name == META:
        return "sog"
    try:
        with path.open("rb") as file:
            start = file.read(4)
            file.seek(0)
            if start[:3] == b"ply":
                names = [element.name for element in read_header(file, path)]
                return "compressed_ply" if "chunk" in names else "ply"
            size = path.stat().st_size
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from error
    known = {GZIP_MAGIC: "spz", MAGIC: "spz", ZIP_MAGIC: "sog"}
    found = [name for magic, name in known.items() if start.startswith(magic)]
    if not found and (not size or size % ROW.itemsize):
        raise UserError(f"{path} is no file of Gaussians; give one of {', '.join(FORMATS)}")
    return found[0] if found else "splat"
