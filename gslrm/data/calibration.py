"""The door for calibration files: every format becomes a `Rig`, checked once."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from gslrm.data.formats import (
    anipose,
    colmap,
    dannce,
    easymocap,
    explicit,
    facelift,
    filestorage,
    jarvis,
    mammal,
    nerfstudio,
    opencv,
    reading,
)
from gslrm.data.rig import Rig
from gslrm.data.rig_checks import check_rig, rigid_rig, unit_warning
from gslrm.errors import UserError


class Format(NamedTuple):
    """A family of calibration files.

    `matches` tells by content whether an existing path is one, and never raises for a readable path.
    """

    what: str
    matches: Callable[[Path], bool]
    read: Callable[[Path], Rig]
    write: Callable[[Path, Rig], None] | None = None


FORMATS = {
    "dannce": Format("Label3D or DANNCE .mat, or a directory of *_params.mat", dannce.matches, dannce.read),
    "mammal": Format("MAMMAL new_cam.pkl", mammal.matches, mammal.read),
    "anipose": Format("Anipose calibration.toml", anipose.matches, anipose.read, anipose.write),
    "jarvis": Format("directory of JARVIS .yaml files, one per camera", jarvis.matches, jarvis.read),
    "easymocap": Format("EasyMocap intri.yml and extri.yml", easymocap.matches, easymocap.read),
    "opencv": Format("directory of OpenCV .yml files, one per camera", opencv.matches, opencv.read),
    "colmap": Format("COLMAP model, text or binary", colmap.matches, colmap.read),
    "nerfstudio": Format("nerfstudio or NeRF transforms.json", nerfstudio.matches, nerfstudio.read, nerfstudio.write),
    "facelift": Format("FaceLift opencv_cameras.json", facelift.matches, facelift.read, facelift.write),
    "explicit": Format("JSON list of cameras with K, dist, w2c", explicit.matches, explicit.read),
}
WRITABLE = tuple(name for name, entry in FORMATS.items() if entry.write is not None)
PARSERS: dict[str, Callable[[Path], object]] = {
    ".json": reading.read_json,
    ".toml": anipose.parse,
    ".yaml": filestorage.parse,
    ".yml": filestorage.parse,
}  # to say what is wrong with a damaged text file


def read_calibration(path: Path, *, format: str | None = None) -> Rig:
    """The rig of a calibration file or directory, checked, with exact rotations.

    Args:
        path: file or directory.
        format: a key of `FORMATS`; none finds it out from the content.

    Raises:
        UserError: there is no such path, its format is unknown or ambiguous, it is damaged, or no lab has such a rig.
    """
    try:
        if not path.exists():
            raise UserError(f"{path}: there is no such file or directory")
        name = _detect(path) if format is None else _known(format)
        rig = FORMATS[name].read(path)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from error
    check_rig(rig)
    return rigid_rig(rig)


def write_calibration(path: Path, rig: Rig, *, format: str) -> None:
    """Write names, sizes, lenses, poses and the unit of a rig's cameras; its sync table and labels stay behind.

    Args:
        path: the file, overwritten if it is there.
        rig: what to write; reading it again gives the same cameras.
        format: one of `WRITABLE`.

    Raises:
        UserError: the format cannot be written, cannot carry something a camera has, or the file cannot be written.
    """
    writer = FORMATS[_known(format)].write
    if writer is None:
        raise UserError(f"format {format} can only be read; formats that can be written: {', '.join(WRITABLE)}")
    writer(path, rig)


def check_unit(rig: Rig, unit: str | None) -> Rig:
    """The rig in the unit that a user states, refused where its distances cannot be in that unit.

    Args:
        rig: cameras of a file.
        unit: mm, cm or m; `any` if it is unknown or does not matter; none for what the file's format says.

    Raises:
        UserError: the cameras would stand within 5 mm of what they look at, or 50 m away.
    """
    if unit is not None:
        rig = replace(rig, unit=None if unit == "any" else unit)
    warning = unit_warning(rig)
    if warning is not None:
        raise UserError(f"{warning}: state the unit (--unit mm, cm, m; any to go on without one)")
    return rig


def describe_formats() -> str:
    """One line per format."""
    return "\n".join(f"  {name:<11}{entry.what}" for name, entry in FORMATS.items())


def _known(format_name: str) -> str:
    if format_name not in FORMATS:
        raise UserError(f"calibration format {format_name!r} is unknown; known are {', '.join(FORMATS)}")
    return format_name


def _detect(path: Path) -> str:
    found = [name for name, entry in FORMATS.items() if entry.matches(path)]
    if len(found) > 1:
        raise UserError(f"{path}: could be {' or '.join(found)}; name the format, or the file itself")
    if not found:
        PARSERS.get(path.suffix.lower(), _nothing)(path)
        raise UserError(f"{path}: is no calibration in a known format; known are\n{describe_formats()}")
    return found[0]


def _nothing(path: Path) -> None:
    """Files of other kinds have no parser that could say more."""
