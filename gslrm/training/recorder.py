"""What is written down of training passes: figures, pictures."""

import math
from collections.abc import Sequence

import torch

from gslrm.config import LoggingConfig
from gslrm.metrics import has_foreground, mask_iou
from gslrm.training.cost import PassClock, peak_memory
from gslrm.training.log import RunLog
from gslrm.training.processes import ALONE, Processes
from gslrm.training.runtime import Runtime
from gslrm.types import Batch, Rendering
from gslrm.visualize import depth_alpha_grid, gt_vs_pred_grid


class Recorder:
    """Writes a pass into the log where its number asks for it; all processes call it alike."""

    def __init__(
        self,
        log: RunLog | None,
        config: LoggingConfig,
        *,
        runtime: Runtime,
        clock: PassClock,
        processes: Processes = ALONE,
    ) -> None:
        """Recorder into an open log, which process 0 alone has; `clock` has timed the passes."""
        self.processes = processes
        self.log = log
        self.config = config
        self.runtime = runtime
        self.clock = clock

    def figures(
        self,
        step: int,
        values: dict[str, float],
        batch: Batch,
        rendering: Rendering,
        *,
        names: Sequence[str],
        ask: bool,
    ) -> None:
        """Losses, cost, overlap of masks and `names` of samples: every `log_every` passes, at the first, when asked."""
        if step % self.config.wandb.log_every and step != 1 and not ask:
            return
        if math.isfinite(values["train/loss"]):
            values = values | self._overlap(batch, rendering)
        cost = self.clock.means() | peak_memory(self.runtime.device)
        everyones = [name for own in self.processes.gather(list(names)) for name in own]
        if self.log is not None:
            self.log.scalars(step, values | {f"train/{name}": value for name, value in cost.items()}, everyones)

    def _overlap(self, batch: Batch, rendering: Rendering) -> dict[str, float]:
        """Mean over the views of all processes that show something."""
        seen = has_foreground(batch.target.masks)
        iou = mask_iou(rendering.alpha.detach().cpu()[seen], batch.target.masks[seen])
        total, count = self.processes.total(torch.stack([iou.double().sum(), seen.double().sum()])).tolist()
        return {"train/mask_iou": total / count} if count else {}

    def pictures(self, step: int, batch: Batch, rendering: Rendering) -> None:
        """The first sample of the batch, every `vis_every` passes, unless it has no picture (see `spoiled`)."""
        drawn = rendering[0].detach()
        if self.log is None or step % self.config.vis_every or not drawn.rgb.isfinite().all():
            return
        views, given = batch.target_index[0].tolist(), batch.input_index[0].tolist()
        is_input = [view in given for view in views]
        self.log.picture(step, "train/gt_vs_pred", gt_vs_pred_grid(batch.target[0], drawn, views, is_input=is_input))
        self.log.picture(step, "train/depth_alpha", depth_alpha_grid(drawn, views, is_input=is_input))
