"""The folder that a preparation writes: complete samples, the rejected, and what made them."""

import errno
import json
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gslrm.data.sample import CAMERA_FILE, write_sample
from gslrm.errors import UserError
from gslrm.export import write_json
from gslrm.prepare.sample import PreparedView
from gslrm.similarity import Similarity
from gslrm.tensor_struct import stack

RECIPE = "prepare.json"
RECORD = "proof.json"
REJECTED = "rejected"
PARTIAL = ".partial"
REJECTED_PICTURES = 100

Record = dict[str, Any]


@dataclass(frozen=True)
class OutputFolder:
    """Samples appear in it whole or not at all, so that a run may be killed at any moment and go on later."""

    root: Path

    def open(self, recipe: dict[str, Any]) -> None:
        """Make the folder, or go on in one of the same recipe.

        Raises:
            UserError: it holds something else, or samples that were made otherwise.
        """
        path = self.root / RECIPE
        try:
            if path.is_file():
                self._require_same(json.loads(path.read_text()), recipe)
            elif self.root.exists() and any(self.root.iterdir()):
                raise UserError(f"--output {self.root}: holds other files; name an empty or new directory")
            (self.root / REJECTED).mkdir(parents=True, exist_ok=True)
            for left in self.root.glob(f"*{PARTIAL}"):
                shutil.rmtree(left)
            if not path.is_file():
                write_json(path, recipe)
        except (OSError, ValueError) as error:
            raise UserError(f"--output {self.root}: cannot be used ({error})") from error

    def recipe(self) -> dict[str, Any] | None:
        """How the samples that are already here were made."""
        path = self.root / RECIPE
        return json.loads(path.read_text()) if path.is_file() else None

    def write(self, views: list[PreparedView], record: Record, world_from_source: Similarity | None) -> int:
        """Write one sample with its record; it gets its name when it is complete.

        Returns:
            Its size in bytes.

        Raises:
            UserError: the disk is full, or the folder cannot be written.
        """
        final = self.root / record["sample"]
        partial = final.with_name(final.name + PARTIAL)
        try:
            shutil.rmtree(partial, ignore_errors=True)
            write_sample(
                partial,
                images=np.stack([view.image for view in views]),
                masks=np.stack([view.mask for view in views]),
                depths=None,
                cameras=stack([view.camera for view in views]),
                camera_names=[view.name for view in views],
                world_from_source=world_from_source,
                name=final.name,
            )
            (partial / RECORD).write_text(json.dumps(record))
            size = sum(path.stat().st_size for path in partial.rglob("*") if path.is_file())
            partial.rename(final)
        except (OSError, UserError) as error:
            shutil.rmtree(partial, ignore_errors=True)
            raise self._stopped(error) from error
        return size

    def reject(self, record: Record, picture: bytes | None) -> None:
        """Note why a moment became no sample, with its picture if there are not many of them yet.

        Raises:
            UserError: the disk is full, or the folder cannot be written.
        """
        path = self.root / REJECTED / f"{record['sample']}.json"
        try:
            if picture is not None and len(list(path.parent.glob("*.jpg"))) < REJECTED_PICTURES:
                path.with_suffix(".jpg").write_bytes(picture)
            write_json(path, record)
        except (OSError, UserError) as error:
            raise self._stopped(error) from error

    def is_done(self, name: str) -> bool:
        """Whether a moment has been written or rejected already."""
        return (self.root / name / CAMERA_FILE).is_file() or (self.root / REJECTED / f"{name}.json").is_file()

    def record(self, name: str) -> Record:
        """What was found out about a moment that is done."""
        path = self.root / name / RECORD
        if not path.is_file():
            path = self.root / REJECTED / f"{name}.json"
        loaded: Record = json.loads(path.read_text())
        return loaded

    def records(self, names: Sequence[str]) -> Iterator[Record]:
        """Records one at a time, in the order of `names`."""
        return (self.record(name) for name in names)

    def picture(self, name: str) -> bytes | None:
        """The picture of a rejected moment, if it has one."""
        path = self.root / REJECTED / f"{name}.jpg"
        return path.read_bytes() if path.is_file() else None

    def free_bytes(self) -> int:
        """Room on the disk."""
        place = self.root
        while not place.exists():
            place = place.parent
        return shutil.disk_usage(place).free

    def _require_same(self, old: dict[str, Any], new: dict[str, Any]) -> None:
        found = {"world_from_source"}  # not asked for, but found by the first run and taken over by the next
        changed = sorted(key for key in (old.keys() | new.keys()) - found if old.get(key) != new.get(key))
        if changed:
            changes = ", ".join(f"{key} was {old.get(key)!r}, now {new.get(key)!r}" for key in changed)
            raise UserError(
                f"--output {self.root}: its samples were made otherwise ({changes}); repeat the earlier options to go "
                "on, or name another directory"
            )

    def _stopped(self, error: Exception) -> UserError:
        cause = error if isinstance(error, OSError) else error.__cause__
        if isinstance(cause, OSError) and cause.errno in (errno.ENOSPC, errno.EDQUOT):
            return UserError(
                f"--output {self.root}: the disk is full; the samples written so far are complete: make room, then "
                "give the same command again"
            )
        return UserError(f"--output {self.root}: cannot be written ({error})")
