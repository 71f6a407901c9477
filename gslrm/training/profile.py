"""Traces of training passes: where their time goes, operator by operator."""

import logging
from pathlib import Path
from types import TracebackType

import torch
from torch.profiler import ProfilerActivity, profile, supported_activities

from gslrm.config import ProfileConfig
from gslrm.training.cost import PassClock

SHOWN = 12  # operators in the log; the trace holds all
MILLISECOND = 1000.0  # the profiler counts microseconds
logger = logging.getLogger(__name__)


class Tracer:
    """Traces the passes that a configuration names into a file for Perfetto or chrome://tracing."""

    def __init__(
        self, config: ProfileConfig, folder: Path, *, clock: PassClock, device: torch.device, wanted: bool = True
    ) -> None:
        """Tracer into `folder` of what `device` does, with the parts of `clock` by name.

        One that is not `wanted`, as beside another process's, or that has no start does nothing.
        """
        self.first = config.start if wanted else None
        self.last = (config.start or 0) + config.passes - 1
        self.folder = folder
        self.clock = clock
        self.device = device
        self._memory = config.memory
        self._profiler: profile | None = None

    def __enter__(self) -> "Tracer":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def reach(self, done: int) -> None:
        """`done` passes are done: begin, go on or end."""
        if self.first is None:
            return
        if self._profiler is not None and done >= self.last:
            self.stop()
        if done == self.first - 1:
            self._start()

    def stop(self) -> None:
        """Write what was traced, if anything is being traced; of a run that ends early what there is."""
        if self._profiler is None:
            return
        profiler, self._profiler = self._profiler, None
        self.clock.traced = False
        profiler.stop()
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / f"passes_{self.first:08d}_{self.last:08d}.json"
        profiler.export_chrome_trace(str(path))
        logger.info("traced passes %d to %d: %s opens in ui.perfetto.dev\n%s", self.first, self.last, path,
                    self._table(profiler))  # fmt: skip

    def _start(self) -> None:
        activities = {ProfilerActivity.CPU} if self.device.type == "cpu" else supported_activities()
        self._profiler = profile(activities=activities, record_shapes=True, profile_memory=self._memory)
        self._profiler.start()
        self.clock.traced = True

    def _table(self, profiler: profile) -> str:
        """The operators that take longest by themselves, on the card if there is one."""
        own = "self_cpu_time_total" if self.device.type == "cpu" else "self_device_time_total"
        rows = sorted(((getattr(row, own), row.key, row.count) for row in profiler.key_averages()), reverse=True)
        total = sum(time for time, _, _ in rows) or 1.0
        head = f"{'ms by itself':>14} {'share':>6} {'calls':>7}  operator"
        lines = [f"{time / MILLISECOND:14.1f} {time / total:6.1%} {n:7d}  {key}" for time, key, n in rows[:SHOWN]]
        return "\n".join([head, *lines])
