"""Loss terms, and their weighted sum.

All terms are computed in float32 outside autocast: SSIM in bfloat16 on mostly white pictures was wrong by a factor of
three, because its variances are small differences of large numbers.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from pytorch_msssim import ssim as windowed_ssim
from torch import Tensor, nn

from gslrm.config import LossesConfig, ScheduleConfig
from gslrm.errors import UserError
from gslrm.model.perceptual import LpipsDistance, VggDistance
from gslrm.types import Rendering, Views

NEUTRAL = 0.5  # both pictures outside the mask in the masked SSIM
FOREGROUND = 0.5  # mask above which a pixel counts as foreground
SSIM_WINDOW = 11  # pixels


@dataclass(frozen=True)
class LossReport:
    """The weighted sum, and each enabled term before weighting under its logged name."""

    total: Float[Tensor, ""]
    terms: dict[str, Tensor]


@dataclass(frozen=True)
class Comparison:
    """What the terms look at, all [N, ., H, W] float32 with batch and views flattened."""

    rendered: Tensor
    alpha: Tensor
    target: Tensor
    mask: Tensor
    background: Tensor


@dataclass(frozen=True)
class Term:
    """One term: its weight and the first pass in which it counts."""

    weight: float
    function: Callable[[Comparison], Tensor]
    start: int = 0


class Losses(nn.Module):
    """The enabled terms of a `training.losses` section."""

    def __init__(self, config: LossesConfig, schedule: ScheduleConfig) -> None:
        """Load what the enabled terms need.

        Raises:
            UserError: weights or a package are missing, with the cure; or no term is enabled.
        """
        super().__init__()
        self.networks = nn.ModuleDict()
        terms = {
            "l2_loss": Term(config.l2_loss_weight, masked_l2 if config.masked_l2_loss else l2),
            "background_loss": Term(config.background_loss_weight, background),
            "alpha_loss": Term(config.alpha_loss_weight, silhouette),
            "ssim_loss": Term(config.ssim_loss_weight, masked_ssim if config.masked_ssim_loss else ssim),
        }
        if config.perceptual_loss_weight:
            path = Path(config.perceptual_weights) if config.perceptual_weights else None
            self.networks["perceptual"] = VggDistance.from_checkpoint(path)
            terms["perceptual_loss"] = self._network_term("perceptual", config.perceptual_loss_weight, schedule)
        if config.lpips_loss_weight:
            self.networks["lpips"] = LpipsDistance()
            terms["lpips_loss"] = self._network_term("lpips", config.lpips_loss_weight, schedule)
        self.terms = {name: term for name, term in terms.items() if term.weight}
        if not self.terms:
            raise UserError("training.losses: every weight is 0, so nothing can be learned; set l2_loss_weight: 1.0")
        self.starts = {term.start for term in self.terms.values()}
        if 0 not in self.starts:
            raise UserError(
                "training.losses: no term counts from the first pass; set l2_loss_weight or l2_warmup_steps: 0"
            )

    def forward(
        self, rendering: Rendering, target: Views, background: Float[Tensor, "b 3"], *, step: int
    ) -> LossReport:
        """Compare a rendering [B, V] with its target views; terms that have not begun are left out."""
        with torch.autocast(rendering.rgb.device.type, enabled=False):
            comparison = compare(rendering.float(), target.float(), background.float())
            values = {name: term.function(comparison) for name, term in self.terms.items() if step >= term.start}
        total = torch.stack([self.terms[name].weight * value for name, value in values.items()]).sum()
        return LossReport(total, values)

    def _network_term(self, name: str, weight: float, schedule: ScheduleConfig) -> Term:
        return Term(weight, lambda c: self.networks[name](c.rendered, c.target), start=schedule.l2_warmup_steps)


def compare(rendering: Rendering, target: Views, background: Float[Tensor, "b 3"]) -> Comparison:
    """Flatten batch and views."""
    views = target.images.shape[1]
    return Comparison(
        rendered=rendering.rgb.flatten(0, 1),
        alpha=rendering.alpha.flatten(0, 1),
        target=target.images.flatten(0, 1),
        mask=target.masks.flatten(0, 1),
        background=background.repeat_interleave(views, dim=0)[:, :, None, None],
    )


def require_alive(report: LossReport) -> None:
    """Refuse to go on from a pass in which a term begins and one is dead.

    Raises:
        UserError: a term is not finite, or exactly 0 although nothing has been learned yet.
    """
    for name, term in report.terms.items():
        value = term.item()
        if not math.isfinite(value):
            raise UserError(f"training.losses: {name} is {value} where it begins; check cameras and images")
        if value == 0:
            raise UserError(
                f"training.losses: {name} is exactly 0 where it begins; its inputs (masks?) are missing, or set its "
                "weight to 0"
            )


def l2(c: Comparison) -> Float[Tensor, ""]:
    """Mean squared error over all pixels and channels."""
    return (c.rendered - c.target).square().mean()


def masked_l2(c: Comparison) -> Float[Tensor, ""]:
    """Squared error summed over foreground pixels, divided by their number times 3 (at least one pixel)."""
    foreground = (c.mask > FOREGROUND).float()
    return ((c.rendered - c.target).square() * foreground).sum() / (3 * foreground.sum().clamp_min(1))


def background(c: Comparison) -> Float[Tensor, ""]:
    """Squared distance to the background colour, averaged over the pixels outside the mask."""
    outside = (c.mask <= FOREGROUND).float()
    return ((c.rendered - c.background).square() * outside).sum() / (3 * outside.sum().clamp_min(1))


def silhouette(c: Comparison) -> Float[Tensor, ""]:
    """Mean squared difference of rendered alpha and mask."""
    return (c.alpha - c.mask).square().mean()


def ssim(c: Comparison) -> Float[Tensor, ""]:
    """1 - SSIM, with SSIM bounded to [0, 1] (Wang et al. 2004; 11x11 Gaussian window of sigma 1.5)."""
    return _one_minus_ssim(c.rendered, c.target)


def masked_ssim(c: Comparison) -> Float[Tensor, ""]:
    """1 - SSIM of pictures that are both neutral grey outside the mask."""
    foreground = c.mask > FOREGROUND
    neutral = c.rendered.new_tensor(NEUTRAL)
    return _one_minus_ssim(torch.where(foreground, c.rendered, neutral), torch.where(foreground, c.target, neutral))


def _one_minus_ssim(rendered: Tensor, target: Tensor) -> Tensor:
    if min(rendered.shape[-2:]) < SSIM_WINDOW:
        raise UserError(f"SSIM needs images of at least {SSIM_WINDOW} pixels; set training.losses.ssim_loss_weight: 0")
    per_image = windowed_ssim(rendered, target, data_range=1.0, size_average=False)
    return (1 - per_image.clamp(0, 1)).mean()
