"""The guard that decides whether an update is taken."""

import math
from collections import deque
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from gslrm.config import RuntimeConfig
from gslrm.training.skips import Reason, UpdateReport

FIRST_SCALE = 2.0**16
REMEMBERED = 5  # reports kept for a diagnosis


class GuardedUpdate:
    """Clips gradients, takes or skips the update, and never leaves the scaler half done.

    A skipped update moves neither weights nor the optimiser's moments. `last` are the latest reports.
    """

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        config: RuntimeConfig,
        *,
        scale: bool,
        device: str,
        pull: Callable[[], None] | None = None,
        agree: Callable[[bool], bool] = bool,
    ) -> None:
        """Guard of an optimiser's updates.

        Args:
            optimizer: what is stepped.
            config: the limits.
            scale: turn on gradient scaling, which float16 needs.
            device: type of the device of the gradients.
            pull: adds to gradients that are no longer scaled.
            agree: whether what is true here is true in all processes; it is called equally often in each of them, and
                before anything is stepped.
        """
        self.optimizer = optimizer
        self.pull = pull
        self.config = config
        self.agree = agree
        self.last: deque[UpdateReport] = deque(maxlen=REMEMBERED)
        self.scaler = torch.amp.GradScaler(device, init_scale=FIRST_SCALE, enabled=scale)
        self.scaler.scale(torch.zeros((), device=device))  # from here on its scale is there, also without a gradient

    def backward(self, loss: Tensor) -> None:
        """Accumulate gradients of a loss already divided by the number of passes per update."""
        self.scaler.scale(loss).backward()

    def __call__(self, *, losses_finite: bool) -> UpdateReport:
        """Take the update, unless a loss or a gradient is not finite or the gradients' norm is far beyond the clip.

        Gradients are cleared, and the scaler is updated, in any case. A gradient that is not finite counts as an
        overflow of float16 as long as the loss scale can fall, from above 1.

        Args:
            losses_finite: whether the losses of all accumulated passes are.
        """
        parameters = [p for group in self.optimizer.param_groups for p in group["params"] if p.grad is not None]
        norm = self._unscaled_norm(parameters)
        reason = self._reason(norm, losses_finite=losses_finite)
        if reason is None:
            if self.config.grad_clip_norm:
                nn.utils.clip_grads_with_norm_(parameters, self.config.grad_clip_norm, norm)
            self.scaler.step(self.optimizer)
        scale = self._update_scale(unscaled=bool(parameters))
        if reason == "gradient" and 1 < scale > self.scaler.get_scale():
            reason = "overflow"
        self.optimizer.zero_grad(set_to_none=True)
        self.last.append(UpdateReport(float(norm), scale, reason))
        return self.last[-1]

    def _unscaled_norm(self, parameters: Sequence[nn.Parameter]) -> Tensor:
        """The norm of all gradients at their true size, nan if there are none."""
        if not parameters:
            return torch.tensor(math.nan)
        self.scaler.unscale_(self.optimizer)
        if self.pull is not None:
            self.pull()
        norm = nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])
        return norm.full_tensor() if hasattr(norm, "full_tensor") else norm  # of sharded gradients it is sharded too

    def _reason(self, norm: Tensor, *, losses_finite: bool) -> Reason | None:
        """Why all processes skip this update, if they do."""
        limit = self.config.grad_clip_norm * self.config.allowed_gradnorm_factor
        checks: dict[Reason, bool] = {
            "loss": losses_finite,
            "gradient": bool(norm.isfinite()),
            "norm": not limit or bool(norm <= limit),
        }
        agreed = {reason: self.agree(fine) for reason, fine in checks.items()}
        return next((reason for reason, fine in agreed.items() if not fine), None)

    def _update_scale(self, *, unscaled: bool) -> float:
        """Make the scaler ready for the next pass, and return the scale so far.

        Halving cannot bring an infinite scale back, so that begins anew.
        """
        scale = self.scaler.get_scale()
        if unscaled:
            self.scaler.update()
        if not unscaled or not math.isfinite(self.scaler.get_scale()):
            self.scaler.update(scale if math.isfinite(scale) else FIRST_SCALE)
        return scale
