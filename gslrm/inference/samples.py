"""The samples of an inference run, whose names become the names of folders."""

import hashlib
import logging
import os
from collections import Counter
from pathlib import Path

from gslrm.data.lists import find_samples
from gslrm.data.sample import CAMERA_FILE, read_sample
from gslrm.errors import UserError

RECIPE, REJECTED, PARTIAL = "prepare.json", "rejected", ".partial"  # of scripts/prepare_data.py
_logger = logging.getLogger(__name__)


def choose_samples(path: Path) -> list[Path]:
    """Directories of the samples that `path` names: a sample, a directory of samples, a list, a prepared recording.

    Of a recording that is being prepared those moments are taken that are complete.

    Raises:
        UserError: nothing is there, or two samples have the same name.
    """
    directories = [Path(os.path.normpath(found.absolute())) for found in find_samples(path)]  # "." has no name
    if (path / RECIPE).is_file():
        directories = [directory for directory in directories if not directory.name.endswith(PARTIAL)]
        rejected = len(list((path / REJECTED).glob("*.json")))
        _logger.info("%s: a prepared recording, %d samples, %d moments rejected", path, len(directories), rejected)
        if not directories:
            raise UserError(f"{path}: no moment of this recording is prepared completely; let prepare_data.py go on")
    name, count = Counter(directory.name for directory in directories).most_common(1)[0]
    if count > 1:
        places = " and ".join(str(directory) for directory in directories if directory.name == name)
        raise UserError(
            f"{path}: several samples are called {name!r} ({places}), their outputs would be mixed; list each once, or "
            "give the recordings to separate runs"
        )
    return directories


def input_digest(directory: Path) -> str:
    """One word for a sample's files: its camera file, and the sizes of the images and masks that it names.

    Times do not count, so that a copy elsewhere is the same sample.
    """
    try:
        views = read_sample(directory).views
        found = hashlib.sha256((directory / CAMERA_FILE).read_bytes())
    except (UserError, OSError):
        return "unreadable"
    for path in (path for view in views for path in (view.image_path, view.mask_path)):
        found.update(f"{path.stat().st_size if path.is_file() else None}\n".encode())
    return found.hexdigest()
