"""The guard that decides whether an update is taken."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from gslrm.config import RuntimeConfig


@dataclass(frozen=True)
class UpdateReport:
    """What became of one update."""

    taken: bool
    gradient_norm: float


class GuardedUpdate:
    """Clips gradients, takes or skips the update, and never leaves the scaler half done."""

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        config: RuntimeConfig,
        *,
        scale: bool,
        device: str,
        pull: Callable[[], None] | None = None,
    ) -> None:
        """`scale` turns on gradient scaling, which float16 needs; `pull` adds to unscaled gradients."""
        self.optimizer = optimizer
        self.pull = pull
        self.config = config
        self.scaler = torch.amp.GradScaler(device, enabled=scale)

    def backward(self, loss: Tensor) -> None:
        """Accumulate gradients of a loss already divided by the number of passes per update."""
        self.scaler.scale(loss).backward()

    def __call__(self, *, losses_finite: bool) -> UpdateReport:
        """Take the update, unless a loss or the gradient norm is not finite or the norm is far beyond the clip.

        Gradients are cleared, and the scaler is updated whenever there were any.
        """
        parameters = [p for group in self.optimizer.param_groups for p in group["params"] if p.grad is not None]
        if not parameters:  # every accumulated loss was not finite; a scaler cannot be updated without gradients
            return UpdateReport(taken=False, gradient_norm=math.nan)
        self.scaler.unscale_(self.optimizer)
        if self.pull is not None:
            self.pull()
        norm = torch.nn.utils.get_total_norm([p.grad for p in parameters])
        clip = self.config.grad_clip_norm
        taken = losses_finite and bool(norm.isfinite())
        if clip and taken:
            taken = bool(norm <= clip * self.config.allowed_gradnorm_factor)
            torch.nn.utils.clip_grads_with_norm_(parameters, clip, norm)
        if taken:
            self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)
        return UpdateReport(taken, float(norm))
