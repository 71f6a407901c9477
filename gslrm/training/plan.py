"""Which passes a run takes, and at which of them it updates, saves, ends."""

from dataclasses import dataclass

from gslrm.config import Config


@dataclass(frozen=True)
class Position:
    """Where a run stands: passes done, updates taken, updates skipped in a row and in all."""

    passes: int = 0
    updates: int = 0
    skipped: int = 0
    skipped_total: int = 0


@dataclass(frozen=True)
class PassPlan:
    """The passes of a run, counted from 1; `accumulate` of them make an update."""

    total: int
    """Passes of the whole schedule."""
    stop: int
    """The pass after which this run ends: an early stop, completed to a whole update, so that the run can go on."""
    accumulate: int
    save_every: int

    @staticmethod
    def of(config: Config, *, samples: int) -> "PassPlan":
        """The plan for a data set of `samples`: `max_fwdbwd_passes`, or `num_epochs` when that is less."""
        schedule, accumulate = config.training.schedule, config.training.runtime.grad_accum_steps
        per_epoch = -(-samples // config.training.dataloader.batch_size_per_gpu)
        total = min(schedule.max_fwdbwd_passes, schedule.num_epochs * per_epoch)
        epochs = schedule.early_stop_after_epochs
        early = [schedule.early_stop_after, None if epochs is None else epochs * per_epoch]
        whole_updates = [-(-stop // accumulate) * accumulate for stop in early if stop is not None]
        stop = min([total, *whole_updates])
        return PassPlan(total, stop, accumulate, config.training.checkpointing.checkpoint_every)

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
