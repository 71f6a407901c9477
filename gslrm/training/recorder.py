"""What is written down of training passes: figures, pictures."""

from gslrm.config import LoggingConfig
from gslrm.metrics import has_foreground, mask_iou
from gslrm.training.cost import PassClock, peak_memory
from gslrm.training.log import RunLog
from gslrm.training.runtime import Runtime
from gslrm.types import Batch, Rendering
from gslrm.visualize import depth_alpha_grid, gt_vs_pred_grid


class Recorder:
    """Writes a pass into the log where its number asks for it."""

    def __init__(self, log: RunLog, config: LoggingConfig, *, runtime: Runtime, clock: PassClock) -> None:
        """Recorder into an open log; `clock` has timed the passes."""
        self.log = log
        self.config = config
        self.runtime = runtime
        self.clock = clock

    def figures(self, step: int, values: dict[str, float], batch: Batch, rendering: Rendering, *, ask: bool) -> None:
        """Losses, cost and overlap of masks, every `log_every` passes, at the first, and when asked."""
        if step % self.config.wandb.log_every and step != 1 and not ask:
            return
        seen = has_foreground(batch.target.masks)
        if seen.any():
            iou = mask_iou(rendering.alpha.detach().cpu()[seen], batch.target.masks[seen])
            values = values | {"train/mask_iou": float(iou.mean())}
        cost = self.clock.means() | peak_memory(self.runtime.device)
        self.log.scalars(step, values | {f"train/{name}": value for name, value in cost.items()}, batch.names)

    def pictures(self, step: int, batch: Batch, rendering: Rendering) -> None:
        """The first sample of the batch, every `vis_every` passes."""
        if step % self.config.vis_every:
            return
        drawn, views, given = rendering[0].detach(), batch.target_index[0].tolist(), batch.input_index[0].tolist()
        is_input = [view in given for view in views]
        self.log.picture(step, "train/gt_vs_pred", gt_vs_pred_grid(batch.target[0], drawn, views, is_input=is_input))
        self.log.picture(step, "train/depth_alpha", depth_alpha_grid(drawn, views, is_input=is_input))
