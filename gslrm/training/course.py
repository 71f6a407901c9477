"""The course of a run: passes gathered into updates that are taken or skipped, and counted."""

import logging
from collections.abc import Sequence
from dataclasses import replace

from gslrm.config import TrainingConfig
from gslrm.errors import UserError
from gslrm.training.adaptation import Adaptation
from gslrm.training.guard import GuardedUpdate
from gslrm.training.optim import learning_rate
from gslrm.training.plan import PassPlan, Position
from gslrm.training.processes import Processes
from gslrm.training.run_state import Boundary
from gslrm.training.skips import UpdateReport, describe, diagnose

logger = logging.getLogger(__name__)


class Course:
    """Where a run stands, and how it gets on.

    `position` counts passes and updates, `boundary` is the last whole update, and `names` are the samples of the passes
    that the next update accumulates.
    """

    def __init__(
        self,
        config: TrainingConfig,
        update: GuardedUpdate,
        *,
        plan: PassPlan,
        processes: Processes,
        adaptation: Adaptation,
    ) -> None:
        """Course of a run that has not begun; its boundary is the random state of this moment.

        Args:
            config: the schedule, the rate, and how many updates may be skipped.
            update: what takes or skips one.
            plan: the passes of the run.
            processes: those of the run; all of them take and skip the same updates.
            adaptation: what follows an update that was taken.
        """
        self.config = config
        self.update = update
        self.plan = plan
        self.processes = processes
        self.adaptation = adaptation
        self.position = Position()
        self.boundary = Boundary.here(self.position)
        self.names: list[str] = []
        self._losses_finite = True

    def go_on(self, boundary: Boundary) -> None:
        """Stand where a checkpoint was written."""
        self.boundary, self.position = boundary, boundary.position

    def begin_schedule(self) -> None:
        """Let the schedule of the rate begin anew with the next update."""
        self.boundary = replace(self.boundary, schedule_start=self.position.updates)

    def gather(self, names: Sequence[str], *, losses_finite: bool) -> None:
        """Count a pass whose gradients, if its losses were finite in all processes, were accumulated."""
        self.position = replace(self.position, passes=self.position.passes + 1)
        begins = self.plan.begins_update(self.position.passes)
        self._losses_finite = losses_finite and (begins or self._losses_finite)
        self.names = [*([] if begins else self.names), *names]

    def set_learning_rate(self) -> float:
        """Set the rate of the next update from the number of updates taken; skipped ones do not advance it."""
        start = self.boundary.schedule_start
        rate = learning_rate(
            self.position.updates + 1 - start,
            peak=self.config.optimizer.lr,
            warmup=self.config.schedule.warmup,
            total=self.plan.updates - start + 1,
        )
        for group in self.update.optimizer.param_groups:
            group["lr"] = rate * group["lr_share"]
        return rate

    def take_update(self) -> dict[str, float]:
        """Take or skip the update that was gathered, and return what to log of it."""
        report, position = self.update(losses_finite=self._losses_finite), self.position
        self.position = replace(position, updates=position.updates + report.taken, skips=position.skips.after(report))
        if report.taken:
            self.adaptation.after_update()
        else:
            self._warn_of_skip(report)
        self.boundary = Boundary.here(self.position, self.boundary.schedule_start)
        scale = {"train/scale": report.scale} if self.update.scaler.is_enabled() else {}
        figures = {"train/grad_norm": report.gradient_norm, **self.position.skips.figures(), **scale}
        return figures | self.adaptation.scalars()

    def _warn_of_skip(self, report: UpdateReport) -> None:
        names = [name for own in self.processes.gather(self.names) for name in own]
        if self.processes.main:
            logger.warning("pass %d: update skipped: %s", self.position.passes, describe(report, names))

    def require_progress(self) -> None:
        """Refuse to go on where updates are skipped again and again.

        Raises:
            UserError: too many of them were skipped in a row.
        """
        config, skips = self.config.runtime, self.position.skips
        if skips.strikes >= config.max_skipped_updates:
            raise UserError(diagnose(skips, self.update.last, self.names, config))
