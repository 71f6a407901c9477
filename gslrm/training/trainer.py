"""The training loop, written out."""

import contextlib
import logging
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gslrm.cli import progress
from gslrm.config import Config
from gslrm.data import build_dataset, load_batches
from gslrm.model import build_model
from gslrm.model.adapt import trainable_table
from gslrm.model.gslrm import GSLRM
from gslrm.model.sharded import write_sharded
from gslrm.model.spread import gathered
from gslrm.model.utils_losses import Losses, LossReport, require_alive
from gslrm.reconstruct import build_reconstructor
from gslrm.training.adaptation import Adaptation
from gslrm.training.best import Best, BestMetric
from gslrm.training.checkpoint import CheckpointFolder, load_checkpoint
from gslrm.training.compilation import compile_blocks
from gslrm.training.cost import PassClock
from gslrm.training.course import Course
from gslrm.training.guard import GuardedUpdate
from gslrm.training.interrupt import Interrupted, StopSignals
from gslrm.training.log import METRICS_FILE, RunLog
from gslrm.training.optim import build_optimizer
from gslrm.training.plan import PassPlan, Position, require_same_place
from gslrm.training.processes import ALONE, Processes
from gslrm.training.profile import Tracer
from gslrm.training.recorder import Recorder
from gslrm.training.report import write_report
from gslrm.training.run_state import RunState
from gslrm.training.runtime import random_state, require_machine, restore_random_state, seed_everything, seed_process
from gslrm.training.saver import Saver
from gslrm.training.sharding import Spread, agree_on_losses
from gslrm.training.spoiled import render_targets
from gslrm.training.validation import Validation
from gslrm.types import Batch, Rendering

logger = logging.getLogger(__name__)


class Trainer:
    """One run: model, data, optimiser and their place on disk."""

    def __init__(self, config: Config, run_dir: Path, processes: Processes = ALONE) -> None:
        """Build everything; nothing is written yet. All `processes` of a run build the same.

        Raises:
            UserError: data, weights or settings cannot be used, with the cure.
        """
        require_machine(config)
        seed_everything(config.training.runtime.seed)
        self.config = config
        self.run_dir = run_dir
        self.processes = processes
        self.spread = Spread(config, processes)
        self.dataset = build_dataset(config)
        self.model = build_model(config.model)
        self.reconstructor = build_reconstructor(self.model, config)
        self.adaptation = Adaptation(self.model, config.training.adapt, self.spread.parameters)
        self.validation = Validation(config, run_dir / METRICS_FILE)
        self.runtime = self.reconstructor.runtime
        self.losses = Losses(
            config.training.losses, config.training.schedule, model=config.model, batch_share=processes.batch_share
        ).to(self.runtime.device)
        self.model.recompute_every(config.training.runtime.grad_checkpoint_every)
        if config.training.runtime.torch_compile:
            compile_blocks(self.model)
        self.network = self.spread.forward(self.model)
        self.update = self._build_update()
        self.state = RunState(self.adaptation, self.update, self.spread)
        options = config.training.checkpointing
        folder = Path(options.checkpoint_dir) if options.checkpoint_dir else run_dir / "checkpoints"
        self.checkpoints = CheckpointFolder(folder, options.keep_last, "" if options.sharded else ".pt")
        self.saver = self._build_saver()
        self.best_metric = BestMetric(config, heldout=self.validation.holds_out)
        self.validation_due = False
        self.stop, self.stopped = StopSignals(processes), False
        self.validation.pause = self.stop.check
        self.plan = PassPlan.of(config, samples=len(self.dataset), processes=processes.count)
        if processes.count > 1:
            seed_process(config.training.runtime.seed, rank=processes.rank, passes=0)
        self.course = Course(
            config.training, self.update, plan=self.plan, processes=processes, adaptation=self.adaptation
        )
        self.clock = PassClock(self.runtime.device)
        self.wandb_id = uuid.uuid4().hex[:8]

    def _build_update(self) -> GuardedUpdate:
        training = self.config.training
        decay = training.adapt.layer_lr_decay
        optimizer = build_optimizer(self.model, training.optimizer, fused=True, layer_lr_decay=decay)
        scale, device = self.runtime.needs_scaler, self.runtime.device.type
        pull, agree = self.adaptation.pull, self.processes.all
        return GuardedUpdate(optimizer, training.runtime, scale=scale, device=device, pull=pull, agree=agree)

    def _build_saver(self) -> Saver:
        options, processes = self.config.training.checkpointing, self.processes
        if options.sharded:
            return Saver(self.checkpoints, processes=processes, write=write_sharded, in_parts=True)
        return Saver(self.checkpoints, processes=processes, asynchronous=options.async_save)

    @property
    def position(self) -> Position:
        """Where the run stands."""
        return self.course.position

    def run(self) -> bool:
        """Train to the end of the schedule, or to the early stop, or until a signal asks for the end.

        Returns:
            Whether it came to its end. If not, a signal ended it: there is a checkpoint of the last whole update.

        Raises:
            UserError: a sample is broken, updates are skipped again and again, random weights would be kept, or the
                last checkpoint cannot be written.
        """
        with contextlib.suppress(Interrupted):
            self._take_passes()
        if self.processes.main:
            write_report(self.run_dir)
        return not self.stopped

    def _take_passes(self) -> None:
        self.adaptation.require_loaded()
        require_same_place(self.position, self.processes)
        adapt, rate = self.config.training.adapt, self.config.training.optimizer.lr
        logger.info("%s", trainable_table(self.model, adapt, rate=rate))
        done, stop, options = self.position.passes, self.plan.stop, self.config.training.logging
        part = {"rank": self.processes.rank, "processes": self.processes.count}
        batches = load_batches(self.dataset, self.config, start=done, stop=stop, **part)
        self.model.train()
        with (
            self.stop,
            self._open_log() as log,
            progress("training", stop, done=done, every=options.print_every) as bar,
            self.saver,
            self._saved_when_interrupted(),
            self._open_tracer() as tracer,
        ):
            recorder = Recorder(log, options, runtime=self.runtime, clock=self.clock, processes=self.processes)
            if self.validation_due:
                self.save(self.validate(log, done), required=done == stop)
            tracer.reach(done)
            self.clock.start()
            for batch in self.stop.waiting_for(batches):
                self.clock.lap("data")
                values, rendering = self.train_pass(batch)
                self.clock.stop()
                bar.advance(note=f"loss {values['train/loss']:.4f}")
                self.after_pass(recorder, values, batch, rendering)
                tracer.reach(self.position.passes)
                self.processes.limit(self.config.training.processes.timeout)
                if self.position.passes == stop:
                    break
                self.stop.check_together()
                self.clock.start()

    def _open_tracer(self) -> Tracer:
        config, folder, device = self.config.training.profile, self.run_dir / "profile", self.runtime.device
        return Tracer(config, folder, clock=self.clock, device=device, wanted=self.processes.main)

    def _open_log(self) -> contextlib.AbstractContextManager[RunLog | None]:
        """The run's log, which process 0 alone writes."""
        if not self.processes.main:
            return contextlib.nullcontext()
        done, redo = self.position.passes, self.validation_due
        return RunLog(self.run_dir, self.config, done=done, redo=redo, wandb_id=self.wandb_id)

    @contextlib.contextmanager
    def _saved_when_interrupted(self) -> Iterator[None]:
        try:
            yield
        except Interrupted:
            self.stopped = True
            if self.course.boundary.position.passes:
                self.save(required=True)
            raise

    def train_pass(self, batch: Batch) -> tuple[dict[str, float], Rendering]:
        """Forward and backward of one batch, and an update when enough passes are accumulated."""
        last = self.plan.ends_update(self.position.passes + 1)
        with self.spread.accumulating(self.network, last=last):
            own, rendering = self.step(batch.to(self.runtime.device))
            report, finite = agree_on_losses(own, self.processes)
            require_alive(report)
            with self.clock.part("backward"):
                if finite:
                    self.update.backward(own.total / self.plan.accumulate)
                elif last:
                    self.spread.forget_own_gradients(self.update.optimizer)
        self.course.gather(batch.names, losses_finite=finite)
        values = {f"train/{name}": float(value.detach()) for name, value in report.terms.items()}
        values |= {"train/loss": float(report.total.detach()), "train/lr": self.course.set_learning_rate()}
        with self.clock.part("update"):
            if last:
                values |= self.course.take_update()
        return values, rendering

    def step(self, batch: Batch) -> tuple[LossReport, Rendering]:
        """Views to Gaussians to pictures to losses."""
        if self.config.model.clip_xyz and isinstance(self.model, GSLRM):
            self.model.clip(not self.losses.warming_up(self.position.passes))
        with self.clock.part("forward"), self.runtime.autocast():
            gaussians = self.network(batch.input)
        with self.clock.part("render"):
            rendering = render_targets(self.reconstructor.rasterizer, gaussians.float(), batch)
        with self.clock.part("loss"):
            report = self.losses(gaussians, rendering, batch, step=self.position.passes)
        return report, rendering

    def after_pass(self, recorder: Recorder, values: dict[str, float], batch: Batch, rendering: Rendering) -> None:
        """Log, draw, validate and save where the pass number asks for it.

        Raises:
            UserError: too many updates were skipped in a row.
        """
        step, last, best = self.position.passes, self.position.passes == self.plan.stop, None
        values |= self.saver.scalars(settled=last)
        skipped = bool(values.get("train/skipped_updates"))
        names = self.course.names if skipped else batch.names
        recorder.figures(step, values, batch, rendering, names=names, ask=last or skipped)
        self.course.require_progress()
        recorder.pictures(step, batch, rendering)
        if self.config.validation.enabled and (step % self.config.validation.val_every == 0 or last):
            best = self.validate(recorder.log, step)
        if best is not None or self.plan.saves(step):
            self.save(best, required=last)

    def validate(self, log: RunLog | None, step: int) -> Best | None:
        """Score samples that are not trained on; training goes on as if nothing had happened.

        Returns:
            The run's new best where these weights are the best so far.
        """
        state = random_state()
        self.validation_due = step == self.course.boundary.position.passes  # else a resumed run comes by here again
        self.model.eval()
        with self.adaptation.averaged(), self.spread.whole(self.model):
            report = self.validation.run(self.reconstructor, self.processes)
        self.model.train()
        restore_random_state(state)
        if log is not None and report.picture is not None:
            log.scalars(step, report.scalars)
            log.picture(step, "val/gt_vs_pred", report.picture)
        self.validation_due = False
        return self.best_metric.better(report.scalars, self.saver.best, step=self.course.boundary.position.passes)

    def save(self, best: Best | None = None, *, required: bool = False) -> None:
        """Write a checkpoint of the last whole update, the run's `best` if it is that.

        Raises:
            UserError: it is `required` and cannot be written.
        """
        best = best or self.saver.best
        state = self.state.capture(
            self.course.boundary,
            wandb_id=self.wandb_id,
            config=self.config.model_dump(mode="json"),
            best=best and best.to_content(),
            validation_due=self.validation_due,
            samples_per_pass=self.plan.samples_per_pass,
        )
        if not self.saver.in_parts:
            state = gathered(state, keep=self.processes.main)
        self.saver.save(state, step=self.course.boundary.position.passes, best=best, required=required)

    def restore(self, content: dict[str, Any], *, path: Path, foreign: bool = False) -> None:
        """Go on from a checkpoint's content.

        Raises:
            UserError: it holds another network, or its passes took another number of samples.
        """
        self.plan.require_same_batch(content, path)
        self.course.go_on(self.state.restore(content, path=path, foreign=foreign))
        self.wandb_id = content["wandb_id"]
        if not foreign:
            self.validation_due = content.get("validation_due", False)
            self.saver.go_on(Best(**content["best"]) if content.get("best") else None)

    def restore_foreign(self, path: Path) -> None:
        """Go on from another run's checkpoint, where `reset_lr` and `reset_weight_decay` take effect.

        Not so from the run's own: its schedule would begin anew at every interruption.
        """
        self.restore(load_checkpoint(path), path=path, foreign=True)
        optimizer = self.config.training.optimizer
        if optimizer.reset_lr:
            self.course.begin_schedule()
        if optimizer.reset_weight_decay:
            self.state.reset_weight_decay(optimizer)
