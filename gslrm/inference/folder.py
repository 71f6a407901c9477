"""The folder of an inference run: samples appear in it whole or not at all, all made in the same way."""

import json
import shutil
import tempfile
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gslrm.errors import UserError
from gslrm.export import write_json
from gslrm.inference.samples import input_digest
from gslrm.inference.task import changes, digest

SETTINGS = "inference.json"
DONE = "done.json"  # in a sample's folder, which only complete ones have
FAILURES = "failures.json"
UNFINISHED = ".unfinished"
ASIDE = ".old"
NAMED_CHANGES = 4
PROBE_BYTES = 1 << 20  # a full disk still takes a few


@dataclass(frozen=True)
class OutputFolder:
    """`root` with `inference.json`, and per sample a folder that is moved into it when it is complete."""

    root: Path

    def require_writable(self) -> None:
        """Make the folder, and see that files can be written there.

        Raises:
            UserError: they cannot.
        """
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.root) as file:
                file.write(bytes(PROBE_BYTES))
        except OSError as error:
            raise UserError(
                f"--output {self.root}: cannot be written ({error.strerror or error}); make room, allow writing, or "
                "name another directory"
            ) from error

    def open(self, settings: Mapping[str, Any], samples: Sequence[Path], *, redo: bool = False) -> list[Path]:
        """Begin a run, or go on with one of the same settings.

        Args:
            settings: from `describe_settings`.
            samples: directories of the run's samples.
            redo: make those again that are complete, with other settings if all that are there are among them.

        Returns:
            The samples that remain to be done.

        Raises:
            UserError: the folder holds samples of other settings, of other files, or folders of somebody else.
        """
        self._recover()
        complete = {path.parent.name: _read(path) for path in self.root.glob(f"*/{DONE}")}
        before = _read(self.root / SETTINGS) if (self.root / SETTINGS).is_file() else None
        self._refuse_strangers(samples, complete)
        self._refuse_other_settings(before, settings, {sample.name for sample in samples}, complete, redo=redo)
        if not redo:
            self._refuse_other_files(samples, complete)
        write_json(self.root / SETTINGS, settings)
        (self.root / FAILURES).unlink(missing_ok=True)
        known = digest(settings)
        done = {name for name, record in complete.items() if record.get("settings") == known and not redo}
        return [sample for sample in samples if sample.name not in done]

    def begin(self, name: str) -> Path:
        """An empty folder for a sample's files."""
        folder = self.root / UNFINISHED / name
        self.discard(name)
        folder.mkdir(parents=True)
        return folder

    def discard(self, name: str) -> None:
        """Remove what was begun of a sample."""
        shutil.rmtree(self.root / UNFINISHED / name, ignore_errors=True)

    def complete(self, sample: Path, settings: Mapping[str, Any], about: Mapping[str, Any]) -> Path:
        """Give a sample's folder its name, in place of an earlier one.

        Returns:
            Where it is.

        Raises:
            OSError: the disk is full or not writable.
        """
        begun, final = self.root / UNFINISHED / sample.name, self.root / sample.name
        aside = begun.with_name(begun.name + ASIDE)
        record = {"settings": digest(settings), "input": input_digest(sample), "source": str(sample), **about}
        write_json(begun / DONE, record)
        if final.exists():
            final.rename(aside)
        begun.rename(final)
        shutil.rmtree(aside, ignore_errors=True)
        return final

    def note_failures(self, failures: Sequence[Mapping[str, str]]) -> None:
        """List the samples that could not be done, each with the reason."""
        write_json(self.root / FAILURES, list(failures))

    def close(self) -> None:
        """Remove what only a running run needs."""
        shutil.rmtree(self.root / UNFINISHED, ignore_errors=True)

    def _recover(self) -> None:
        """Give folders their name back that were being replaced when a run was killed, and remove half-written ones."""
        for aside in (self.root / UNFINISHED).glob(f"*{ASIDE}"):
            final = self.root / aside.name.removesuffix(ASIDE)
            if not final.exists():
                aside.rename(final)
        self.close()

    def _refuse_strangers(self, samples: Sequence[Path], complete: Mapping[str, Any]) -> None:
        for sample in samples:
            folder = self.root / sample.name
            if sample.name not in complete and folder.exists() and any(folder.iterdir()):
                raise UserError(
                    f"{folder}: holds files that are no complete output of inference.py; remove it, or name another "
                    "--output"
                )

    def _refuse_other_settings(
        self,
        before: Mapping[str, Any] | None,
        settings: Mapping[str, Any],
        asked: Set[str],
        complete: Mapping[str, Mapping[str, Any]],
        *,
        redo: bool,
    ) -> None:
        """A run with --redo may leave samples of earlier settings when it is stopped, which the next goes on with."""
        others = {name for name, record in complete.items() if record.get("settings") != digest(settings)}
        goes_on = redo or before == settings
        if not others or (goes_on and others <= asked):
            return
        changed = "; ".join(changes(before or {}, settings)[:NAMED_CHANGES]) or "by a run with --redo that was stopped"
        cure = "repeat the earlier options to go on, name another directory, or let --redo make all of them again"
        if goes_on:
            cure = f"name another directory, or give all of them again, also {min(others - asked)}"
        raise UserError(f"--output {self.root}: its samples were made otherwise ({changed}); {cure}")

    def _refuse_other_files(self, samples: Sequence[Path], complete: Mapping[str, Mapping[str, Any]]) -> None:
        for sample in samples:
            record = complete.get(sample.name)
            if record is not None and record.get("input") != input_digest(sample):
                raise UserError(
                    f"--output {self.root}: {sample.name} was made of other files, those of {record.get('source')} as "
                    "they were then; name another directory, or let --redo make it again"
                )


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read ({error}); remove it with the samples beside it") from error
    if not isinstance(content, dict):
        raise UserError(f"{path}: holds no JSON object; remove it with the samples beside it")
    return content
