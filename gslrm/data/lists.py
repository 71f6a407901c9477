"""Which samples a LIST, a SAMPLE or a directory of samples means."""

import json
from pathlib import Path

from gslrm.data.sample import CAMERA_FILE
from gslrm.errors import UserError


def find_samples(path: Path) -> list[Path]:
    """Sample directories named by `path`: a sample, its camera file, a directory of samples, or a list file.

    A list file holds one sample directory or camera file per line, absolute, or relative to the list file or else to
    the working directory.

    Raises:
        UserError: nothing is there, the list is empty, or a line names no sample.
    """
    if path.suffix == ".json" and path.is_file():
        return [path.parent]
    if path.is_dir():
        return _in_directory(path)
    if not path.is_file():
        raise UserError(f"{path}: no such sample, directory of samples or list file")
    try:
        lines = [line.strip() for line in path.read_text().splitlines()]
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not a text file; a list holds one sample directory per line") from error
    lines = [line for line in lines if line]
    if not lines:
        raise UserError(f"{path}: the list is empty; write one sample directory per line")
    return [_resolve(path, number, line) for number, line in enumerate(lines, start=1)]


def require_images(directories: list[Path]) -> None:
    """See that every image named by the camera files is there, before hours are spent on the others.

    Camera files that cannot be read are left to `read_sample`, which says what is wrong with them.

    Raises:
        UserError: names the first missing images and their number.
    """
    missing = [path for directory in directories for path in _named_images(directory) if not path.is_file()]
    if missing:
        first = ", ".join(str(path) for path in missing[:3])
        more = " ..." if len(missing) > 3 else ""
        raise UserError(f"{first}{more}: image is missing ({len(missing)} in all); restore it")


def _named_images(directory: Path) -> list[Path]:
    try:
        frames = json.loads((directory / CAMERA_FILE).read_text())["frames"]
        return [directory / frame["file_path"] for frame in frames]
    except (OSError, ValueError, KeyError, TypeError):
        return []


def _in_directory(directory: Path) -> list[Path]:
    if (directory / CAMERA_FILE).is_file():
        return [directory]
    samples = sorted(file.parent for file in directory.glob(f"*/{CAMERA_FILE}"))
    if not samples:
        raise UserError(f"{directory}: neither it nor its sub-directories hold an {CAMERA_FILE}")
    return samples


def _resolve(list_file: Path, number: int, line: str) -> Path:
    for base in (list_file.parent, Path.cwd()):
        candidate = base / line
        if candidate.is_file() and candidate.suffix == ".json":
            return candidate.parent
        if (candidate / CAMERA_FILE).is_file():
            return candidate
    hint = (
        "the path is absolute and not of this machine; make it relative to the list file"
        if Path(line).is_absolute()
        else f"tried it relative to {list_file.parent} and to the working directory"
    )
    raise UserError(f"{list_file}, line {number}: no sample at {line!r} ({CAMERA_FILE} not found); {hint}")
