"""AdamW with decay groups, its schedule, and the guard that decides whether an update is taken."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from gslrm.config import OptimizerConfig, RuntimeConfig


def build_optimizer(model: nn.Module, config: OptimizerConfig, *, fused: bool) -> torch.optim.AdamW:
    """AdamW over trainable parameters: group 0 decays matrices, group 1 holds norms without decay.

    The order inside the groups is FaceLift's, so that its optimiser state could be taken over.
    """
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    groups = [
        {"params": [p for p in trainable if p.ndim >= 2], "weight_decay": config.weight_decay},
        {"params": [p for p in trainable if p.ndim < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=config.lr, betas=(config.beta1, config.beta2), fused=fused)


def learning_rate(update: int, *, peak: float, warmup: int, total: int) -> float:
    """Linear warm-up from 0 over `warmup` updates, then half a cosine to 0 at `total`."""
    if update < warmup:
        return peak * update / max(1, warmup)
    share = (update - warmup) / max(1, total - warmup)
    return peak * max(0.0, 0.5 * (1 + math.cos(math.pi * min(1.0, share))))


@dataclass(frozen=True)
class UpdateReport:
    """What became of one update."""

    taken: bool
    gradient_norm: float


class GuardedUpdate:
    """Clips gradients, takes or skips the update, and never leaves the scaler half done."""

    def __init__(self, optimizer: torch.optim.Optimizer, config: RuntimeConfig, *, scale: bool, device: str) -> None:
        """`scale` turns on gradient scaling, which float16 needs."""
        self.optimizer = optimizer
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
