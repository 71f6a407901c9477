"""Scores on disk, sample by sample, so that a scorecard that was interrupted goes on where it stopped."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from gslrm.errors import UserError
from gslrm.evaluation.scoring import ViewScore
from gslrm.export import write_json
from gslrm.scorecard.settings import Setting

FOLDER = "settings"
BLOCK = 2**20  # bytes read at once


@dataclass(frozen=True)
class Store:
    """A folder of scores that belong to one `identity`: checkpoint, options, views."""

    folder: Path
    identity: Mapping[str, Any]

    def missing(self, setting: Setting, directories: Sequence[Path]) -> list[Path]:
        """The samples that have no scores yet.

        Raises:
            UserError: the file belongs to another identity.
        """
        known = self._read(setting)
        return [directory for directory in directories if str(directory) not in known]

    def add(self, setting: Setting, directory: Path, scores: Sequence[ViewScore]) -> None:
        """Keep the scores of one sample."""
        known = self._read(setting) | {str(directory): [asdict(score) for score in scores]}
        write_json(self._path(setting.name), {"identity": self._identity(setting), "samples": known})

    def scores(self, setting: Setting, directories: Sequence[Path]) -> list[ViewScore]:
        """The kept scores of samples, in their order; samples without any are left out."""
        known = self._read(setting)
        views = [view for directory in directories for view in known.get(str(directory), [])]
        return [ViewScore(**{**view, "inputs": tuple(view["inputs"])}) for view in views]

    def once(self, name: str, measure: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """What was measured before under the name, or is measured now.

        Raises:
            UserError: the file belongs to another identity.
        """
        path = self._path(name)
        if path.is_file():
            return dict(_content(path, dict(self.identity))["measured"])
        measured = measure()
        write_json(path, {"identity": dict(self.identity), "measured": measured})
        return measured

    def _read(self, setting: Setting) -> dict[str, list[dict[str, Any]]]:
        path = self._path(setting.name)
        return dict(_content(path, self._identity(setting))["samples"]) if path.is_file() else {}

    def _path(self, name: str) -> Path:
        return self.folder / FOLDER / f"{name}.json"

    def _identity(self, setting: Setting) -> dict[str, Any]:
        return {**self.identity, "setting": json.loads(json.dumps(asdict(setting)))}


def fingerprint(path: Path) -> str:
    """SHA-256 of a file's content.

    Raises:
        UserError: it cannot be read.
    """
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while block := file.read(BLOCK):
                digest.update(block)
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from error
    return digest.hexdigest()


def _content(path: Path, identity: dict[str, Any]) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        stored = dict(content["identity"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path}: is no file of scores ({error}); delete it to measure again") from error
    differing = sorted(key for key in {*stored, *identity} if stored.get(key) != identity.get(key))
    if differing:
        raise UserError(
            f"{path}: was measured with another {', '.join(differing)}; name another --output, or delete it to measure "
            "again"
        )
    return dict(content)
