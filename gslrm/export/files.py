"""Whole files or none: what is written takes its place only when it is complete.

A reader never meets half a file, and an interrupted run leaves the previous one in place.
"""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from gslrm.errors import UserError

AnyPath = str | os.PathLike[str]


@contextmanager
def replacing(path: AnyPath) -> Iterator[Path]:
    """A temporary path beside `path` to write to; it takes the place of `path` when the block ends without an error.

    Raises:
        UserError: the file cannot be written there.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")  # encoders look at the suffix
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        temporary.replace(path)
    except OSError as error:
        raise UserError(f"cannot write {path}: {error}; free some space or choose another output folder") from error
    finally:
        if temporary.exists():
            temporary.unlink()


def write_json(path: AnyPath, data: Any) -> None:
    """Write numbers, strings, lists and mappings as indented JSON; NaN and infinity are refused (ValueError)."""
    text = json.dumps(data, indent=1, allow_nan=False) + "\n"
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def read_bytes(path: Path) -> bytes:
    """The content of a file.

    Raises:
        UserError: it cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from error
