"""What this process and those that it started hold and use, as Linux tells it."""

import os
import time
from dataclasses import dataclass
from functools import cache
from pathlib import Path


@dataclass(frozen=True)
class Stamp:
    """A moment, in seconds of the clock and of the processor."""

    wall: float
    processor: float

    @staticmethod
    def now() -> "Stamp":
        """This moment."""
        return Stamp(time.perf_counter(), tree_seconds())

    def __sub__(self, other: "Stamp") -> "Stamp":
        return Stamp(self.wall - other.wall, self.processor - other.processor)

    def __add__(self, other: "Stamp") -> "Stamp":
        return Stamp(self.wall + other.wall, self.processor + other.processor)

    def __truediv__(self, count: float) -> "Stamp":
        return Stamp(self.wall / count, self.processor / count)


def tree_seconds() -> float:
    """Processor time of this process and of all that it started, also those that have ended."""
    ticks = 0
    for process in (os.getpid(), *descendants()):
        fields = stat_fields(process)
        ticks += sum(map(int, fields[11:15])) if fields else 0  # user, system, and the same of ended children
    return ticks / os.sysconf("SC_CLK_TCK")


def descendants() -> list[int]:
    """Processes that this one started, and those that they started."""
    parents = {}
    for path in Path("/proc").iterdir():
        if path.name.isdigit() and (fields := stat_fields(int(path.name))):
            parents[int(path.name)] = int(fields[1])
    found = [os.getpid()]
    for process in found:  # grows while it is walked
        found += [child for child, parent in parents.items() if parent == process]
    return found[1:]


def stat_fields(process: int) -> list[str]:
    """Fields of /proc/PID/stat from the state on; none if the process is gone."""
    try:
        return Path(f"/proc/{process}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    except OSError:
        return []


def resident(process: int) -> float:
    """Bytes of a process in memory."""
    try:
        return int(Path(f"/proc/{process}/statm").read_text(encoding="utf-8").split()[1]) * page_size()
    except OSError:
        return 0.0


@cache
def page_size() -> int:
    """Bytes of a page."""
    return os.sysconf("SC_PAGE_SIZE")
