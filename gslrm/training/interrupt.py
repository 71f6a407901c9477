"""Signals that end a run early, at a moment when nothing is half done."""

import os
import signal
import threading
from collections.abc import Iterable, Iterator
from types import FrameType, TracebackType
from typing import Any, TypeVar

from gslrm.training.processes import ALONE, Processes

SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)
PATIENCE = 5.0  # seconds that a stop waits for data that are on their way: broken off, a worker complains of its pipe
STDERR = 2
Item = TypeVar("Item")


class Interrupted(BaseException):
    """A run ends early because a signal asked for it; like KeyboardInterrupt no error, and caught by nobody else."""


class StopSignals:
    """Context in which SIGTERM, SIGUSR1 and the first Ctrl-C ask a run to end instead of killing it.

    What was there before is restored at the end. A second Ctrl-C raises KeyboardInterrupt wherever the run is.
    """

    def __init__(self, processes: Processes = ALONE) -> None:
        """Note signals to this one of a run's processes; several stop together, see `check_together`."""
        self.processes = processes
        self.name: str | None = None
        """The signal that asked for the end, if any did."""
        self._waiting = False
        self._presses = 0
        self._before: dict[signal.Signals, Any] = {}

    @property
    def stop_requested(self) -> bool:
        """Whether a signal asked this process to end its run."""
        return self.name is not None

    def __enter__(self) -> "StopSignals":
        if threading.current_thread() is threading.main_thread():  # others can neither set nor receive handlers
            self._before = {number: signal.signal(number, self._note) for number in SIGNALS}
            self._before[signal.SIGALRM] = signal.signal(signal.SIGALRM, self._give_up)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.stop_requested:  # else the timer may be somebody else's
            signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def check(self) -> None:
        """End the run here if a signal asked for it; of several processes none may stop while others go on.

        Raises:
            Interrupted: a signal asked for it.
        """
        if self.processes.count == 1 and self.stop_requested:
            raise Interrupted

    def check_together(self) -> None:
        """End the run here if a signal asked any of its processes for it; all of them must come here.

        Raises:
            Interrupted: a signal asked for it.
        """
        if not self.processes.all(not self.stop_requested):
            raise Interrupted

    def waiting_for(self, items: Iterable[Item]) -> Iterator[Item]:
        """The items; waiting for the next one is broken off soon after a signal.

        Raises:
            Interrupted: a signal came before or while waiting.
        """
        iterator = iter(items)
        while True:
            self.check()
            self._waiting = self.processes.count == 1
            try:
                item = next(iterator)
            except StopIteration:
                return
            except RuntimeError:
                self.check()  # a worker that died of the same signal is no error
                raise
            finally:
                self._waiting = False
            self.check()
            yield item

    def _note(self, number: int, frame: FrameType | None) -> None:
        self._presses += number == signal.SIGINT
        if self._presses > 1:
            raise KeyboardInterrupt
        if self.name is not None:
            return
        self.name = signal.Signals(number).name
        if self.processes.main:  # not through logging: whoever holds its stream may be what was interrupted
            os.write(STDERR, f"\n{self.name}: the run ends after this pass; Ctrl-C again ends it at once\n".encode())
        signal.setitimer(signal.ITIMER_REAL, PATIENCE)

    def _give_up(self, number: int, frame: FrameType | None) -> None:
        if self._waiting:
            raise Interrupted
