"""What has become of the samples of a run, and where its time went."""

import logging
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from gslrm import cli
from gslrm.errors import UserError
from gslrm.inference.folder import OutputFolder

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Failure:
    """A sample that could not be done."""

    sample: str
    source: str
    reason: str


class Tally:
    """Counts samples of one run as they end, in whatever thread they do, and shows progress."""

    def __init__(self, output: OutputFolder, total: int, progress: cli.Progress) -> None:
        """`total` samples are to be done."""
        self.done = 0
        self.failures: list[Failure] = []
        self.seconds: dict[str, float] = defaultdict(float)
        self._output, self._total, self._progress = output, total, progress
        self._lock = threading.Lock()
        self._start = time.perf_counter()

    @property
    def elapsed(self) -> float:
        """Seconds since the start."""
        return time.perf_counter() - self._start

    @contextmanager
    def timed(self, part: str) -> Iterator[None]:
        """Add the seconds that the block takes to a part of the work."""
        start = time.perf_counter()
        try:
            yield
        finally:
            with self._lock:
                self.seconds[part] += time.perf_counter() - start

    def succeed(self, folder: Path) -> None:
        """A sample is complete; its folder is reported."""
        with self._lock:
            self.done += 1
            cli.report(str(folder))
            self._advance()

    def fail(self, sample: Path, error: UserError | OSError) -> None:
        """A sample cannot be done; the run goes on, and the list of failures is written at once."""
        with self._lock:
            self.failures.append(Failure(sample.name, str(sample), str(error)))
            _logger.warning("%s failed: %s", sample.name, error)
            self._output.note_failures([vars(failure) for failure in self.failures])
            self._advance()

    def _advance(self) -> None:
        ended = self.done + len(self.failures)
        rate = ended / max(self.elapsed, 1e-9)
        left = (self._total - ended) / rate
        self._progress.advance(note=f"{rate:.2f} frames/s, {left:.0f} s left")
