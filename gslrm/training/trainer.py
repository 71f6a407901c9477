"""The training loop, written out."""

import logging
import uuid
from dataclasses import replace
from pathlib import Path
from typing import Any

from gslrm.cli import progress
from gslrm.config import Config
from gslrm.data import build_dataset, load_batches
from gslrm.errors import UserError
from gslrm.model import build_model
from gslrm.model.adapt import trainable_table
from gslrm.model.utils_losses import Losses, LossReport, require_alive
from gslrm.reconstruct import build_reconstructor
from gslrm.training.adaptation import Adaptation
from gslrm.training.checkpoint import CheckpointFolder, load_checkpoint
from gslrm.training.cost import PassClock
from gslrm.training.guard import GuardedUpdate, UpdateReport
from gslrm.training.log import METRICS_FILE, RunLog
from gslrm.training.optim import build_optimizer, learning_rate
from gslrm.training.plan import PassPlan, Position
from gslrm.training.recorder import Recorder
from gslrm.training.report import write_report
from gslrm.training.run_state import Boundary, RunState
from gslrm.training.runtime import random_state, restore_random_state, seed_everything
from gslrm.training.validation import Validation
from gslrm.types import Batch, Rendering

logger = logging.getLogger(__name__)


class Trainer:
    """One run: model, data, optimiser and their place on disk."""

    def __init__(self, config: Config, run_dir: Path) -> None:
        """Build everything; nothing is written yet.

        Raises:
            UserError: data, weights or settings cannot be used, with the cure.
        """
        seed_everything(config.training.runtime.seed)
        self.config = config
        self.run_dir = run_dir
        self.dataset = build_dataset(config)
        self.model = build_model(config.model)
        self.reconstructor = build_reconstructor(self.model, config)
        self.adaptation = Adaptation(self.model, config.training.adapt)
        self.validation = Validation(config, run_dir / METRICS_FILE)
        self.runtime = self.reconstructor.runtime
        self.losses = Losses(config.training.losses, config.training.schedule, model=config.model).to(
            self.runtime.device
        )
        self.model.recompute_every(config.training.runtime.grad_checkpoint_every)
        if config.training.runtime.torch_compile:
            self.model.compile()
        self.update = self._build_update()
        self.state = RunState(self.adaptation, self.update)
        options = config.training.checkpointing
        folder = Path(options.checkpoint_dir) if options.checkpoint_dir else run_dir / "checkpoints"
        self.checkpoints = CheckpointFolder(folder, options.keep_last)
        self.plan = PassPlan.of(config, samples=len(self.dataset))
        self.position = Position()
        self.boundary = Boundary.here(self.position)
        self.losses_finite = True
        self.clock = PassClock(self.runtime.device)
        self.wandb_id = uuid.uuid4().hex[:8]

    def _build_update(self) -> GuardedUpdate:
        training = self.config.training
        decay = training.adapt.layer_lr_decay
        optimizer = build_optimizer(self.model, training.optimizer, fused=True, layer_lr_decay=decay)
        scale, device = self.runtime.needs_scaler, self.runtime.device.type
        return GuardedUpdate(optimizer, training.runtime, scale=scale, device=device, pull=self.adaptation.pull)

    def run(self) -> None:
        """Train to the end of the schedule, or to the early stop.

        Raises:
            UserError: a sample is broken, updates are skipped again and again, or random weights would be kept.
        """
        self.adaptation.require_loaded()
        adapt, rate = self.config.training.adapt, self.config.training.optimizer.lr
        logger.info("%s", trainable_table(self.model, adapt, rate=rate))
        done, stop, options = self.position.passes, self.plan.stop, self.config.training.logging
        batches = load_batches(self.dataset, self.config, start=done, stop=stop)
        self.model.train()
        with (
            RunLog(self.run_dir, self.config, done=done, wandb_id=self.wandb_id) as log,
            progress("training", stop, done=done, every=options.print_every) as bar,
        ):
            recorder = Recorder(log, options, runtime=self.runtime, clock=self.clock)
            self.clock.start()
            for batch in batches:
                self.clock.lap("data")
                values, rendering = self.train_pass(batch)
                self.clock.stop()
                bar.advance(note=f"loss {values['train/loss']:.4f}")
                self.after_pass(recorder, values, batch, rendering)
                self.clock.start()
        write_report(self.run_dir)

    def train_pass(self, batch: Batch) -> tuple[dict[str, float], Rendering]:
        """Forward and backward of one batch, and an update when enough passes are accumulated."""
        report, rendering = self.step(batch.to(self.runtime.device))
        require_alive(report)
        finite = bool(report.total.isfinite())
        if finite:
            self.update.backward(report.total / self.plan.accumulate)
        self.clock.lap("backward")
        self.position = replace(self.position, passes=self.position.passes + 1)
        self.losses_finite = finite and (self.plan.begins_update(self.position.passes) or self.losses_finite)
        values = {f"train/{name}": float(value.detach()) for name, value in report.terms.items()}
        values |= {"train/loss": float(report.total.detach()), "train/lr": self.set_learning_rate()}
        if self.plan.ends_update(self.position.passes):
            values["train/grad_norm"] = self.take_update(batch).gradient_norm
            values["train/skipped_updates"] = self.position.skipped
            values |= self.adaptation.scalars()
            values["train/skipped_total"] = self.position.skipped_total
        self.clock.lap("update")
        return values, rendering

    def step(self, batch: Batch) -> tuple[LossReport, Rendering]:
        """Views to Gaussians to pictures to losses."""
        if self.config.model.clip_xyz:
            self.model.clip(not self.losses.warming_up(self.position.passes))
        with self.runtime.autocast():
            gaussians = self.model(batch.input)
        self.clock.lap("forward")
        rendering = self.reconstructor.rasterizer(gaussians.float(), batch.target.cameras, batch.background)
        self.clock.lap("render")
        report = self.losses(gaussians, rendering, batch, step=self.position.passes)
        self.clock.lap("loss")
        return report, rendering

    def set_learning_rate(self) -> float:
        """Set the rate of the next update from the number of updates taken; skipped ones do not advance it."""
        optimizer, schedule = self.config.training.optimizer, self.config.training.schedule
        start = self.boundary.schedule_start
        rate = learning_rate(
            self.position.updates + 1 - start,
            peak=optimizer.lr,
            warmup=schedule.warmup,
            total=self.plan.updates - start + 1,
        )
        for group in self.update.optimizer.param_groups:
            group["lr"] = rate * group["lr_share"]
        return rate

    def take_update(self, batch: Batch) -> UpdateReport:
        """Take or skip the accumulated update.

        Raises:
            UserError: too many updates were skipped in a row.
        """
        report = self.update(losses_finite=self.losses_finite)
        position = self.position
        if report.taken:
            self.position = replace(position, updates=position.updates + 1, skipped=0)
            self.adaptation.after_update()
        else:
            self.position = replace(position, skipped=position.skipped + 1, skipped_total=position.skipped_total + 1)
            self._warn_of_skip(report, batch)
        self.boundary = Boundary.here(self.position, self.boundary.schedule_start)
        return report

    def _warn_of_skip(self, report: UpdateReport, batch: Batch) -> None:
        names = ", ".join(batch.names)
        logger.warning(
            "pass %d: update skipped (gradient norm %.3g, samples %s)",
            self.position.passes, report.gradient_norm, names,
        )  # fmt: skip
        if self.position.skipped >= self.config.training.runtime.max_skipped_updates:
            raise UserError(
                f"{self.position.skipped} updates in a row were skipped (last gradient norm "
                f"{report.gradient_norm:.3g}, samples {names}); check these samples' cameras, lower "
                "training.optimizer.lr, or raise training.runtime.allowed_gradnorm_factor"
            )

    def after_pass(self, recorder: Recorder, values: dict[str, float], batch: Batch, rendering: Rendering) -> None:
        """Log, draw, validate and save where the pass number asks for it."""
        step, last = self.position.passes, self.position.passes == self.plan.stop
        recorder.figures(step, values, batch, rendering, ask=last or bool(values.get("train/skipped_updates")))
        recorder.pictures(step, batch, rendering)
        if self.config.validation.enabled and (step % self.config.validation.val_every == 0 or last):
            self.validate(recorder.log, step)
        if self.plan.saves(step):
            self.save()

    def validate(self, log: RunLog, step: int) -> None:
        """Score samples that are not trained on; training goes on as if nothing had happened."""
        state = random_state()
        self.model.eval()
        with self.adaptation.averaged():
            report = self.validation.run(self.reconstructor)
        self.model.train()
        restore_random_state(state)
        log.scalars(step, report.scalars)
        log.picture(step, "val/gt_vs_pred", report.picture)

    def save(self) -> None:
        """Write a checkpoint of the last whole update."""
        config = self.config.model_dump(mode="json")
        state = self.state.capture(self.boundary, wandb_id=self.wandb_id, config=config)
        self.checkpoints.save(state, step=self.boundary.position.passes)

    def restore(self, content: dict[str, Any], *, path: Path, foreign: bool = False) -> None:
        """Go on from a checkpoint's content."""
        self.boundary = self.state.restore(content, path=path, foreign=foreign)
        self.position = self.boundary.position
        self.wandb_id = content["wandb_id"]

    def restore_foreign(self, path: Path) -> None:
        """Go on from another run's checkpoint, where `reset_lr` and `reset_weight_decay` take effect.

        Not so from the run's own: its schedule would begin anew at every interruption.
        """
        self.restore(load_checkpoint(path), path=path, foreign=True)
        optimizer = self.config.training.optimizer
        if optimizer.reset_lr:
            self.boundary = replace(self.boundary, schedule_start=self.position.updates)
        if optimizer.reset_weight_decay:
            self.state.reset_weight_decay(optimizer)
