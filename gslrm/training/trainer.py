"""The training loop, written out."""

import logging
import uuid
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from gslrm.cli import progress
from gslrm.config import Config
from gslrm.data import build_dataset, load_batches
from gslrm.errors import UserError
from gslrm.metrics import has_foreground, mask_iou
from gslrm.model import build_model
from gslrm.model.adapt import trainable_table
from gslrm.model.utils_losses import Losses, LossReport, require_alive
from gslrm.reconstruct import build_reconstructor
from gslrm.training.adaptation import Adaptation
from gslrm.training.checkpoint import CheckpointFolder, load_checkpoint
from gslrm.training.cost import PassClock, peak_memory
from gslrm.training.log import METRICS_FILE, RunLog
from gslrm.training.optim import GuardedUpdate, UpdateReport, build_optimizer, learning_rate, restore_optimizer
from gslrm.training.report import write_report
from gslrm.training.runtime import random_state, restore_random_state, seed_everything
from gslrm.training.validation import Validation
from gslrm.types import Batch, Rendering
from gslrm.visualize import depth_alpha_grid, gt_vs_pred_grid

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Position:
    """Where a run stands: passes done, updates taken, updates skipped in a row and in all."""

    passes: int = 0
    updates: int = 0
    skipped: int = 0
    skipped_total: int = 0


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
        self.optimizer = build_optimizer(
            self.model, config.training.optimizer, fused=True, layer_lr_decay=config.training.adapt.layer_lr_decay
        )
        self.update = GuardedUpdate(
            self.optimizer,
            config.training.runtime,
            scale=self.runtime.needs_scaler,
            device=self.runtime.device.type,
            pull=self.adaptation.pull,
        )
        options = config.training.checkpointing
        folder = Path(options.checkpoint_dir) if options.checkpoint_dir else run_dir / "checkpoints"
        self.checkpoints = CheckpointFolder(folder, options.keep_last)
        self.position = Position()
        self.losses_finite = True
        self.clock = PassClock(self.runtime.device)
        self.schedule_start = 0
        self.wandb_id = uuid.uuid4().hex[:8]
        self.total_passes = passes_of_run(config, samples=len(self.dataset))

    def run(self) -> None:
        """Train to the end of the schedule, or to the early stop.

        Raises:
            UserError: a sample is broken, updates are skipped again and again, or random weights would be kept.
        """
        self.adaptation.require_loaded()
        adapt, rate = self.config.training.adapt, self.config.training.optimizer.lr
        logger.info("%s", trainable_table(self.model, adapt, rate=rate))
        done = self.position.passes
        batches = load_batches(self.dataset, self.config, start=done, stop=self.stop_pass)
        every = self.config.training.logging.print_every
        self.model.train()
        with (
            RunLog(self.run_dir, self.config, done=done, wandb_id=self.wandb_id) as log,
            progress("training", self.stop_pass, done=done, every=every) as bar,
        ):
            self.clock.start()
            for batch in batches:
                self.clock.lap("data")
                values, rendering = self.train_pass(batch)
                self.clock.stop()
                bar.advance(note=f"loss {values['train/loss']:.4f}")
                self.record(log, values, batch, rendering)
                self.clock.start()
        write_report(self.run_dir)

    @property
    def stop_pass(self) -> int:
        """The pass after which this run ends; an early stop completes its update, so that the run can go on later."""
        schedule, accumulate = self.config.training.schedule, self.config.training.runtime.grad_accum_steps
        epochs = schedule.early_stop_after_epochs
        early = [schedule.early_stop_after, None if epochs is None else epochs * self.passes_per_epoch]
        whole_updates = [-(-stop // accumulate) * accumulate for stop in early if stop is not None]
        return min([self.total_passes, *whole_updates])

    @property
    def passes_per_epoch(self) -> int:
        """Passes in which every sample is seen once, rounded up."""
        return -(-len(self.dataset) // self.config.training.dataloader.batch_size_per_gpu)

    def train_pass(self, batch: Batch) -> tuple[dict[str, float], Rendering]:
        """Forward and backward of one batch, and an update when enough passes are accumulated."""
        accumulate = self.config.training.runtime.grad_accum_steps
        report, rendering = self.step(batch.to(self.runtime.device))
        require_alive(report)
        finite = bool(report.total.isfinite())
        if finite:
            self.update.backward(report.total / accumulate)
        self.clock.lap("backward")
        self.losses_finite = finite and (self.position.passes % accumulate == 0 or self.losses_finite)
        self.position = replace(self.position, passes=self.position.passes + 1)
        values = {f"train/{name}": float(value.detach()) for name, value in report.terms.items()}
        values |= {"train/loss": float(report.total.detach()), "train/lr": self.set_learning_rate()}
        if self.position.passes % accumulate == 0 or self.position.passes == self.stop_pass:
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
        total = -(-self.total_passes // self.config.training.runtime.grad_accum_steps)
        rate = learning_rate(
            self.position.updates + 1 - self.schedule_start,
            peak=optimizer.lr,
            warmup=schedule.warmup,
            total=total - self.schedule_start + 1,
        )
        for group in self.optimizer.param_groups:
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
            return report
        self.position = replace(position, skipped=position.skipped + 1, skipped_total=position.skipped_total + 1)
        logger.warning(
            "pass %d: update skipped (gradient norm %.3g, samples %s)",
            position.passes, report.gradient_norm, ", ".join(batch.names),
        )  # fmt: skip
        if self.position.skipped >= self.config.training.runtime.max_skipped_updates:
            raise UserError(
                f"{self.position.skipped} updates in a row were skipped (last gradient norm "
                f"{report.gradient_norm:.3g}, "
                f"samples {', '.join(batch.names)}); check these samples' cameras, lower training.optimizer.lr, or "
                "raise training.runtime.allowed_gradnorm_factor"
            )
        return report

    def record(self, log: RunLog, values: dict[str, float], batch: Batch, rendering: Rendering) -> None:
        """Log, draw, validate and save where the pass number asks for it."""
        step, last = self.position.passes, self.position.passes == self.stop_pass
        options = self.config.training
        skipped = bool(values.get("train/skipped_updates"))
        if step % options.logging.wandb.log_every == 0 or step == 1 or last or skipped:
            seen = has_foreground(batch.target.masks)
            if seen.any():
                iou = mask_iou(rendering.alpha.detach().cpu()[seen], batch.target.masks[seen])
                values["train/mask_iou"] = float(iou.mean())
            cost = self.clock.means() | peak_memory(self.runtime.device)
            values |= {f"train/{name}": value for name, value in cost.items()}
            log.scalars(step, values, batch.names)
        if step % options.logging.vis_every == 0:
            drawn, views, given = rendering[0].detach(), batch.target_index[0].tolist(), batch.input_index[0].tolist()
            is_input = [view in given for view in views]
            log.picture(step, "train/gt_vs_pred", gt_vs_pred_grid(batch.target[0], drawn, views, is_input=is_input))
            log.picture(step, "train/depth_alpha", depth_alpha_grid(drawn, views, is_input=is_input))
        if self.config.validation.enabled and (step % self.config.validation.val_every == 0 or last):
            self.validate(log, step)
        boundary = step % options.runtime.grad_accum_steps == 0
        if (boundary and self._save_due(step)) or last:
            self.checkpoints.save(self.state(), step=step)

    def _save_due(self, step: int) -> bool:
        """Whether a multiple of `checkpoint_every` lies in the passes of the update that ends here."""
        every, accumulate = (
            self.config.training.checkpointing.checkpoint_every,
            self.config.training.runtime.grad_accum_steps,
        )
        return step // every > (step - accumulate) // every

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

    def state(self) -> dict[str, Any]:
        """Everything that a run needs to go on as if it had not stopped."""
        return {
            **self.adaptation.state(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.update.scaler.state_dict(),
            "fwdbwd_pass_step": self.position.passes,
            "param_update_step": self.position.updates,
            "skipped_updates": self.position.skipped,
            "skipped_total": self.position.skipped_total,
            "schedule_start": self.schedule_start,
            "random_state": random_state(),
            "wandb_id": self.wandb_id,
            "config": self.config.model_dump(mode="json"),
        }

    def restore(self, content: dict[str, Any], *, path: Path, foreign: bool = False) -> None:
        """Go on from a checkpoint's state."""
        self.adaptation.restore(content, path=path, foreign=foreign)
        restore_optimizer(self.optimizer, content["optimizer"])
        self.update.scaler.load_state_dict(content["scaler"])
        self.position = Position(
            passes=content["fwdbwd_pass_step"],
            updates=content["param_update_step"],
            skipped=content["skipped_updates"],
            skipped_total=content.get("skipped_total", 0),  # older checkpoints do not count them
        )
        self.schedule_start = content["schedule_start"]
        self.wandb_id = content["wandb_id"]
        restore_random_state(content["random_state"])

    def restore_foreign(self, path: Path) -> None:
        """Go on from another run's checkpoint, where `reset_lr` and `reset_weight_decay` take effect.

        Not so from the run's own: its schedule would begin anew at every interruption.
        """
        self.restore(load_checkpoint(path), path=path, foreign=True)
        optimizer = self.config.training.optimizer
        if optimizer.reset_lr:
            self.schedule_start = self.position.updates
        if optimizer.reset_weight_decay:
            for group in self.optimizer.param_groups:
                group["weight_decay"] = optimizer.weight_decay if group["decays"] else 0.0


def passes_of_run(config: Config, *, samples: int) -> int:
    """Passes of the whole schedule: `max_fwdbwd_passes`, or `num_epochs` when that is less."""
    per_epoch = -(-samples // config.training.dataloader.batch_size_per_gpu)
    return min(config.training.schedule.max_fwdbwd_passes, config.training.schedule.num_epochs * per_epoch)
