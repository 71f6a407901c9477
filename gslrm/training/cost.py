"""The cost of training passes: seconds of each part, peak memory."""

import resource
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch.profiler import record_function

GIBIBYTE = 2**30
RSS_UNIT = 1 if sys.platform == "darwin" else 1024  # bytes of one unit of ru_maxrss

Mark = Any  # seconds on a CPU, an event in the stream on a GPU


class PassClock:
    """Splits each pass into parts, without making the device wait for the clock.

    On a GPU the marks are events in its stream: a part is charged with the device's time, which includes waiting for
    data, and nothing is synchronised before the figures are asked for.
    """

    def __init__(self, device: torch.device) -> None:
        """Clock of passes on `device`."""
        self.traced = False
        self._on_gpu = device.type != "cpu"
        self._begin: Mark = 0.0
        self._laps: list[tuple[str, Mark]] = []
        self._passes: list[tuple[Mark, list[tuple[str, Mark]], Mark]] = []

    def start(self) -> None:
        """A pass begins."""
        self._begin, self._laps = self._now(), []

    def lap(self, part: str) -> None:
        """What was done since the lap before, or since the start, was `part`; it may come more than once in a pass."""
        self._laps.append((part, self._now()))

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """What is done within, and since the lap before, is `name`: a lap here, a range while `traced`."""
        with record_function(name) if self.traced else nullcontext():
            yield
        self.lap(name)

    def stop(self) -> None:
        """The pass ends; what follows until the next start is not its cost."""
        self._passes.append((self._begin, self._laps, self._now()))

    def means(self) -> dict[str, float]:
        """Seconds per pass since the last call, in all as `step_time` and by part as `time_<part>`; empty for none."""
        sums: dict[str, float] = {}
        for begin, laps, end in self._passes:
            _add(sums, "step_time", _seconds(begin, end))
            before = begin
            for part, mark in laps:
                _add(sums, f"time_{part}", _seconds(before, mark))
                before = mark
        count = len(self._passes)
        self._passes = []
        return {name: total / count for name, total in sums.items()}

    def _now(self) -> Mark:
        if not self._on_gpu:
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event


def peak_memory(device: torch.device) -> dict[str, float]:
    """The most memory this process has held so far in GiB: of the machine, and of the GPU if there is one."""
    peak = {"memory_host_gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * RSS_UNIT / GIBIBYTE}
    if device.type != "cpu":
        peak["memory_device_gib"] = torch.cuda.max_memory_allocated(device) / GIBIBYTE
    return peak


def _add(sums: dict[str, float], name: str, seconds: float) -> None:
    sums[name] = sums.get(name, 0.0) + seconds


def _seconds(start: Mark, end: Mark) -> float:
    if isinstance(start, torch.cuda.Event):
        end.synchronize()
        return start.elapsed_time(end) / 1000  # events count milliseconds
    return end - start
