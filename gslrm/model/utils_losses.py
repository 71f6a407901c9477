"""The weighted sum of the loss terms that a configuration enables.

All terms are computed in float32 outside autocast: SSIM in bfloat16 on mostly white pictures was wrong by a factor of
three, because its variances are small differences of large numbers.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn

from gslrm.config import LossesConfig, LossTerm, ModelConfig, ScheduleConfig
from gslrm.errors import UserError
from gslrm.exact import exact_float32
from gslrm.model import loss_depth, loss_gaussians, loss_pictures, loss_ssim
from gslrm.model.comparison import BatchShare, Comparison, compare, whole_batch
from gslrm.model.perceptual import LpipsDistance, VggDistance
from gslrm.types import Batch, Gaussians, Rendering

POINTSDIST_WARMUP, POINTSDIST_WARMUP_WEIGHT = 1000, 0.1  # FaceLift's first stage: passes that bring points into view
AFTER_POINTSDIST = {"l2_loss", "background_loss", "perceptual_loss"}  # wait until there is something to see
AFTER_L2 = {"perceptual_loss", "lpips_loss"}  # begin after `l2_warmup_steps`

Function = Callable[[Comparison], Tensor]


@dataclass(frozen=True)
class LossReport:
    """The weighted sum, each term that counts before weighting under its logged name, and those that begin here."""

    total: Float[Tensor, ""]
    terms: dict[str, Tensor]
    begins: frozenset[str] = field(default_factory=frozenset)


@dataclass(frozen=True)
class Term:
    """One term and its weight over the passes of a run."""

    function: Function
    weight: float
    start: int = 0
    ramp: int = 1
    """Passes over which the weight grows linearly from `start` on."""
    before: float = 0.0
    """Weight until `start`."""

    def weight_at(self, step: int) -> float:
        """Weight in pass `step`, counted from 0."""
        if step < self.start:
            return self.before
        return self.weight * min(1.0, (step - self.start + 1) / self.ramp)

    @property
    def begins(self) -> int:
        """The first pass in which the term counts."""
        return 0 if self.before else self.start


class Losses(nn.Module):
    """The enabled terms of a `training.losses` section."""

    def __init__(
        self,
        config: LossesConfig,
        schedule: ScheduleConfig,
        *,
        model: ModelConfig,
        batch_share: BatchShare = whole_batch,
    ) -> None:
        """Load what the enabled terms need; see `Comparison` for `batch_share`.

        Raises:
            UserError: weights or a package are missing, with the cure; or no term counts in some passes.
        """
        super().__init__()
        self.networks = _networks(config)
        self.batch_share = batch_share
        self.warmup = POINTSDIST_WARMUP if config.warmup_pointsdist else 0
        functions = _functions(config, model) | {name: self._distance(name) for name in self.networks}
        terms = {
            name: _scheduled(name, weight, functions[name], config, schedule)
            for name, weight in _weights(config).items()
            if name in functions
        }
        self.terms: dict[str, Term] = {name: term for name, term in terms.items() if term.weight or term.before}
        if not self.terms:
            raise UserError("training.losses: every weight is 0, so nothing can be learned; set l2_loss_weight: 1.0")
        for step in (0, self.warmup):
            if not any(term.weight_at(step) for term in self.terms.values()):
                raise UserError(
                    f"training.losses: no term counts in pass {step}; set l2_loss_weight, or let one begin earlier "
                    "(starts, schedule.l2_warmup_steps)"
                )

    def forward(self, gaussians: Gaussians, rendering: Rendering, batch: Batch, *, step: int) -> LossReport:
        """Compare a rendering [B, T] with the batch's target views; terms that do not count yet are left out."""
        weights = {name: term.weight_at(step) for name, term in self.terms.items()}
        active = [name for name, weight in weights.items() if weight]
        with exact_float32(rendering.rgb.device.type):
            comparison = compare(gaussians.float(), rendering.float(), batch.float(), self.batch_share)
            values = {name: self.terms[name].function(comparison) for name in active}
        total = torch.stack([weights[name] * values[name] for name in active]).sum()
        return LossReport(total, values, frozenset(name for name in active if self.terms[name].begins == step))

    def warming_up(self, step: int) -> bool:
        """Whether pass `step` is one of points-dist's warm-up, in which Gaussians must not be clipped."""
        return step < self.warmup

    def _distance(self, name: str) -> Function:
        return lambda c: self.networks[name](c.rendered, c.target)


def require_alive(report: LossReport) -> None:
    """Refuse to go on from a pass in which a term begins and is dead.

    Raises:
        UserError: the term is not finite, or exactly 0 although nothing has been learned from it yet.
    """
    for name in sorted(report.begins):
        value = report.terms[name].item()
        if not math.isfinite(value):
            raise UserError(f"training.losses: {name} is {value} where it begins; check cameras and images")
        if value == 0:
            raise UserError(
                f"training.losses: {name} is exactly 0 where it begins; its inputs (masks?) are missing, or set its "
                "weight to 0"
            )


def _weights(config: LossesConfig) -> dict[LossTerm, float]:
    return {
        "l2_loss": config.l2_loss_weight,
        "background_loss": config.background_loss_weight,
        "alpha_loss": config.alpha_loss_weight,
        "alpha_iou_loss": config.alpha_iou_loss_weight,
        "fringe_loss": config.fringe_loss_weight,
        "ssim_loss": config.ssim_loss_weight,
        "perceptual_loss": config.perceptual_loss_weight,
        "lpips_loss": config.lpips_loss_weight,
        "depth_loss": config.depth_loss_weight,
        "pixel_depth_loss": config.pixel_depth_loss_weight,
        "opacity_loss": config.opacity_loss_weight,
        "scale_loss": config.scale_loss_weight,
        "pixelalign_loss": config.pixelalign_loss_weight,
        "pointsdist_loss": config.pointsdist_loss_weight,
    }


def _functions(config: LossesConfig, model: ModelConfig) -> dict[str, Function]:
    """All terms that need no network."""
    masked_ssim = {"neutral": loss_ssim.masked_ssim, "windows": loss_ssim.foreground_ssim}[config.ssim_mask]
    hull = partial(loss_depth.hull, half_range=model.hull_range, samples=model.hull_samples)
    patch, masked = model.image_tokenizer.patch_size, config.masked_pixelalign_loss
    return {
        "l2_loss": loss_pictures.masked_l2 if config.masked_l2_loss else loss_pictures.l2,
        "background_loss": loss_pictures.background,
        "alpha_loss": loss_pictures.silhouette,
        "alpha_iou_loss": loss_pictures.silhouette_iou,
        "fringe_loss": loss_pictures.fringe,
        "ssim_loss": masked_ssim if config.masked_ssim_loss else loss_ssim.ssim,
        "depth_loss": loss_depth.mapped if config.depth_target == "maps" else hull,
        "pixel_depth_loss": partial(loss_depth.pixel, model=model),
        "opacity_loss": loss_gaussians.opacity,
        "scale_loss": loss_gaussians.scale,
        "pixelalign_loss": partial(loss_gaussians.pixelalign, patch=patch, masked=masked),
        "pointsdist_loss": partial(loss_gaussians.points_distance, patch=patch),
    }


def _networks(config: LossesConfig) -> nn.ModuleDict:
    networks = nn.ModuleDict()
    if config.perceptual_loss_weight:
        path = Path(config.perceptual_weights) if config.perceptual_weights else None
        networks["perceptual_loss"] = VggDistance.from_file(path)
    if config.lpips_loss_weight:
        networks["lpips_loss"] = LpipsDistance.pretrained()
    return networks


def _scheduled(
    name: LossTerm, weight: float, function: Function, config: LossesConfig, schedule: ScheduleConfig
) -> Term:
    """A term that begins where `starts` says, or where FaceLift's schedule has it."""
    start = config.starts.get(name, schedule.l2_warmup_steps if name in AFTER_L2 else 0)
    before = 0.0
    if config.warmup_pointsdist and name in AFTER_POINTSDIST:
        start = max(start, POINTSDIST_WARMUP)
    if config.warmup_pointsdist and name == "pointsdist_loss":
        start, before = POINTSDIST_WARMUP, POINTSDIST_WARMUP_WEIGHT
    return Term(function, weight, start, config.ramps.get(name, 1), before)
