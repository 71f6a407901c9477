"""Reads the YAML files that OpenCV's FileStorage writes.

Every scalar stays text until a number is asked for: camera `01` must not become 1, and OpenCV writes `.Nan`.
"""

from pathlib import Path
from typing import Any

import yaml

from gslrm.data.formats import reading
from gslrm.errors import UserError

PATTERNS = ("*.yaml", "*.yml")
SUFFIXES = (".yaml", ".yml")
DIRECTIVE = "%YAML"


def parse(path: Path) -> dict[str, Any]:
    """The mapping of a file; see `elements` for its matrices.

    Raises:
        UserError: it cannot be read, or is no such file.
    """
    text = reading.read_text(path)
    if text.startswith(DIRECTIVE):
        text = text.partition("\n")[2]  # OpenCV writes %YAML:1.0, which no YAML reader takes
    try:
        content = yaml.load(text, Loader=yaml.BaseLoader)
    except (yaml.YAMLError, ValueError, RecursionError, AttributeError, LookupError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{path}: is not valid YAML ({reason}); export the calibration again") from error
    if not isinstance(content, dict):
        raise UserError(f"{path}: must be a mapping as OpenCV's FileStorage writes it")
    return content


def files_of(path: Path) -> list[Path]:
    """A file itself, or all YAML files of a directory."""
    return reading.files_in(path, *PATTERNS) if path.is_dir() else [path]


def parse_if_any(path: Path) -> dict[str, Any]:
    """The mapping of a file if it is one, else an empty one."""
    if not path.is_file():
        return {}
    with path.open("rb") as file:
        is_marked = file.read(len(DIRECTIVE)) == DIRECTIVE.encode()
    try:
        return parse(path) if is_marked or path.suffix.lower() in SUFFIXES else {}
    except UserError:
        return {}


def elements(value: Any) -> Any:
    """The numbers of a matrix, row by row; other values as they are."""
    return value["data"] if isinstance(value, dict) and "data" in value else value
