"""Saving that training outlives: at once or in the background, and without ending the run when a disk is full."""

import logging
import threading
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any

from gslrm.errors import UserError
from gslrm.training.best import Best
from gslrm.training.checkpoint import CheckpointFolder, step_of
from gslrm.training.processes import ALONE, Processes
from gslrm.training.writing import in_host_memory, remove, write_file

logger = logging.getLogger(__name__)


class Saver:
    """Writes the checkpoints of a run; one that cannot be written is counted and told, and the run goes on."""

    def __init__(
        self,
        folder: CheckpointFolder,
        *,
        asynchronous: bool = False,
        processes: Processes = ALONE,
        write: Callable[[Mapping[str, Any], Path], object] = write_file,
        in_parts: bool = False,
    ) -> None:
        """Saver into a folder.

        Args:
            folder: of the run.
            asynchronous: copy the state to host memory, and write it in a thread while training goes on.
            processes: those of the run; the main one writes, and all learn whether it could.
            write: a state to a file or folder of parts, flushed to the disk.
            in_parts: whether every process writes its part, so that all call `write`; not in the background.
        """
        self.folder = folder
        assert not (asynchronous and in_parts), "the configuration refuses this"
        self.asynchronous = asynchronous
        self.in_parts = in_parts
        self.processes = processes
        self.failed = 0
        self._write = write
        self._best: Best | None = None
        self._newest: tuple[int, Best | None] | None = None
        self._pending: _Background | None = None

    def __enter__(self) -> "Saver":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.wait()
        elif issubclass(kind, Exception) and self._pending is not None:  # a second Ctrl-C waits for nothing
            self._pending.result()  # others may be elsewhere in the run, so there is nothing to agree on

    @property
    def best(self) -> Best | None:
        """The best checkpoint of the run that is on the disk; one that was deleted by hand is none."""
        self.wait()
        lost = self._best is not None and self.folder.find(self._best.step) is None
        if not self.processes.all(not lost):
            logger.warning(
                "%s: the best checkpoint is gone, so the next validated one becomes it", self.folder.directory
            )
            self._best = None
        return self._best

    def go_on(self, best: Best | None) -> None:
        """Know the best checkpoint of the run that is resumed, and let its link name it."""
        self._best = best
        best = self.best
        if self.processes.main and self.folder.directory.is_dir():
            self.folder.point_at(best)

    def save(self, state: Mapping[str, Any], *, step: int, best: Best | None = None, required: bool = False) -> None:
        """Write the state after `step` passes, unless the newest checkpoint is that.

        Args:
            state: what a run needs to go on; with `apart`.
            step: passes that it holds.
            best: the best checkpoint of the run once this one is written.
            required: write at once, and take a failure for the end of the run.

        Raises:
            UserError: it is required and could not be written; earlier checkpoints are intact.
        """
        self.wait()
        if self._newest == (step, best):
            return
        if self.asynchronous and not required:
            copied = in_host_memory(state, apart=True) if self.processes.main else {}
            self._pending = _Background(partial(self._write_alone, copied, step=step, best=best), step, best)
            return
        attempt = self._write_parts if self.in_parts else self._write_alone
        self._settle(attempt(state, step=step, best=best), step=step, best=best, required=required)

    def wait(self) -> None:
        """Let the save in the background end, and learn whether it succeeded."""
        if self._pending is not None:
            pending, self._pending = self._pending, None
            self._settle(pending.result(), step=pending.step, best=pending.best)

    def scalars(self, *, settled: bool = False) -> dict[str, float]:
        """What to log: how many saves failed, once any did; `settled` waits for the one in the background."""
        if settled:
            self.wait()
        return {"train/failed_saves": float(self.failed)} if self.failed else {}

    def _write_alone(self, state: Mapping[str, Any], *, step: int, best: Best | None) -> OSError | None:
        if not self.processes.main:
            return None
        return _failure(partial(self.folder.save, partial(self._write, state), step=step, best=best))

    def _write_parts(self, state: Mapping[str, Any], *, step: int, best: Best | None) -> OSError | None:
        temporary, main = self.folder.temporary(step), self.processes.main
        stages: list[tuple[bool, Callable[[], object]]] = [
            (main, partial(self.folder.prepare, step)),
            (True, partial(self._write, state, temporary)),
            (main, partial(self.folder.complete, temporary, step=step, best=best)),
        ]
        for takes_part, stage in stages:  # each only where the one before succeeded everywhere
            error = _failure(stage) if takes_part else None
            if not self.processes.all(error is None):
                if main:
                    remove(temporary)
                return error or OSError("another process could not write its part")
        return None

    def _settle(self, error: OSError | None, *, step: int, best: Best | None, required: bool = False) -> None:
        if self.processes.all(error is None):
            self._newest, self._best = (step, best), best
            return
        self.failed += 1
        why = "the main process could not" if error is None else error.strerror or error
        fact = f"{self.folder.directory}: cannot write the checkpoint of pass {step} ({why}); {self._what_remains()}"
        if required:
            raise UserError(f"{fact}: free some space and give the same command again")
        logger.warning("%s, and the run goes on: free some space", fact)

    def _what_remains(self) -> str:
        paths = self.folder.steps()
        return f"that of pass {step_of(paths[-1])} is intact" if paths else "there is none yet"


class _Background:
    """A write in a thread, whose failure is kept for whoever asks."""

    def __init__(self, write: Callable[[], OSError | None], step: int, best: Best | None) -> None:
        self.step, self.best = step, best
        self._failure: OSError | None = None
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, args=(write,), name="checkpoint", daemon=True)
        self._thread.start()

    def result(self) -> OSError | None:
        """Why the disk did not take it, once the thread has ended; what else went wrong is raised."""
        self._thread.join()
        if self._error is not None:
            raise self._error
        return self._failure

    def _run(self, write: Callable[[], OSError | None]) -> None:
        try:
            self._failure = write()
        except BaseException as error:  # noqa: BLE001  # raised again where the result is asked for
            self._error = error


def _failure(action: Callable[[], object]) -> OSError | None:
    """Why the disk did not do it, if so."""
    try:
        action()
    except OSError as error:
        return error
    return None
