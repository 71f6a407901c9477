"""Which passes a run takes, and at which of them it updates, saves, ends."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gslrm.config import Config
from gslrm.errors import UserError
from gslrm.training.processes import Processes
from gslrm.training.skips import Skips


@dataclass(frozen=True)
class Position:
    """Where a run stands: passes done, updates taken, updates skipped."""

    passes: int = 0
    updates: int = 0
    skips: Skips = Skips()


@dataclass(frozen=True)
class PassPlan:
    """The passes of a run, counted from 1; `accumulate` of them make an update."""

    total: int
    """Passes of the whole schedule."""
    stop: int
    """The pass after which this run ends: an early stop, completed to a whole update, so that the run can go on."""
    accumulate: int
    save_every: int
    samples_per_pass: int
    """Of all processes together."""

    @staticmethod
    def of(config: Config, *, samples: int, processes: int = 1) -> "PassPlan":
        """The plan for a data set of `samples`: `max_fwdbwd_passes`, or `num_epochs` when that is less."""
        schedule, accumulate = config.training.schedule, config.training.runtime.grad_accum_steps
        samples_per_pass = config.training.dataloader.batch_size_per_gpu * processes
        per_epoch = -(-samples // samples_per_pass)
        total = min(schedule.max_fwdbwd_passes, schedule.num_epochs * per_epoch)
        epochs = schedule.early_stop_after_epochs
        early = [schedule.early_stop_after, None if epochs is None else epochs * per_epoch]
        whole_updates = [-(-stop // accumulate) * accumulate for stop in early if stop is not None]
        stop = min([total, *whole_updates])
        return PassPlan(total, stop, accumulate, config.training.checkpointing.checkpoint_every, samples_per_pass)

    def require_same_batch(self, content: Mapping[str, Any], path: Path) -> None:
        """Refuse to go on from a checkpoint whose passes took another number of samples: which ones come next?

        Raises:
            UserError: so it is; how many processes share a batch does not matter.
        """
        options = content["config"]["training"]
        before = content.get("samples_per_pass", options.get("dataloader", {}).get("batch_size_per_gpu", 1))
        if before != self.samples_per_pass:
            raise UserError(
                f"{path}: its passes took {before} samples, now they take {self.samples_per_pass} (processes times "
                "training.dataloader.batch_size_per_gpu), so the schedule and the order of samples do not fit; set "
                f"what makes {before} again, or take its weights only, in a new run: --load"
            )

    @property
    def updates(self) -> int:
        """Updates of the whole schedule."""
        return -(-self.total // self.accumulate)

    def begins_update(self, step: int) -> bool:
        """Whether pass `step` is the first that an update accumulates."""
        return (step - 1) % self.accumulate == 0

    def ends_update(self, step: int) -> bool:
        """Whether an update follows pass `step`."""
        return step % self.accumulate == 0 or step == self.stop

    def saves(self, step: int) -> bool:
        """Whether a checkpoint follows pass `step`: a multiple of `save_every` lies in the update that ends here."""
        if step == self.stop:
            return True
        whole = step % self.accumulate == 0
        return whole and step // self.save_every > (step - self.accumulate) // self.save_every


def require_same_place(position: Position, processes: Processes) -> None:
    """Refuse to train where the processes begin at different passes.

    Raises:
        UserError: not all of them see the same run folder.
    """
    passes = processes.gather(position.passes)
    if len(set(passes)) > 1:
        raise UserError(
            f"the processes begin after different numbers of passes ({', '.join(map(str, passes))}); put --run-dir and "
            "the checkpoints where all machines of the run see the same files"
        )
