"""Gradient steps on Gaussians towards pictures, with what keeps few views from being learned by heart."""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from gslrm.config import RefineConfig
from gslrm.refine.between import Between
from gslrm.refine.filler import filler
from gslrm.refine.target import Target
from gslrm.render import Rasterizer
from gslrm.tensor_struct import concatenate
from gslrm.types import Gaussians
from gslrm.unbounded import bounded, unbounded

MIN_OPACITY = 0.005  # fainter Gaussians change no pixel by more than one grey level, nor do their gradients
# Adam's, per step; those of means are in pixels of the pictures. Chosen on synthetic mice, see docs/refinement.md.
RATES = {"means": 0.25, "scales": 2e-2, "rotations": 5e-3, "opacities": 0.3, "harmonics": 4e-2}
LAST_RATE = 0.3  # of the first, reached at the last step


def coarsened(gaussians: Gaussians, share: float) -> Gaussians:
    """An even choice of the visible Gaussians `[N]`, each larger by as much as keeps the area they cover.

    A network gives several thin Gaussians to every pixel of every view. So many bend to the given pictures without
    telling the others anything; a quarter of them fits unseen cameras as well or better, in less time.
    """
    visible = gaussians[gaussians.opacities > MIN_OPACITY]
    if share == 1:
        return visible
    chosen = torch.rand(len(visible.means), generator=torch.Generator().manual_seed(0)) < share
    kept = visible[chosen.to(visible.means.device)]
    return replace(kept, scales=kept.scales * share**-0.5)


class Fit:
    """Gaussians `[N]` on their way from a start to targets.

    Colours and silhouettes count, how far centres went, and how large the object looks between the given views: what
    none of them needs fades, and with it the phantoms that the silhouettes of few views allow.
    """

    def __init__(
        self, start: Gaussians, targets: Sequence[Target], *, rasterizer: Rasterizer, config: RefineConfig, steps: int
    ) -> None:
        self.targets, self.rasterizer, self.config = targets, rasterizer, config
        self.pixel = sum(target.pixel for target in targets) / len(targets)
        with torch.inference_mode(False):  # leaves of a graph cannot be made there
            surface = coarsened(start.map(Tensor.clone), config.share)
            self.surface = len(surface.means)
            self.between = Between(targets, surface.means) if config.area and self.surface else None
            fillers = filler(surface, targets, config.fill, rasterizer=rasterizer)
            self.raw = unbounded(concatenate([surface, fillers]))
            self.start = self.raw["means"].detach().clone()
        scaled = {**RATES, "means": RATES["means"] * self.pixel}
        groups = [{"params": [self.raw[name]], "lr": rate} for name, rate in scaled.items()]
        self.optimizer = torch.optim.Adam(groups, fused=True)
        self.schedule = torch.optim.lr_scheduler.ExponentialLR(self.optimizer, LAST_RATE ** (1 / max(1, steps)))
        self.shown = 0

    @property
    def gaussians(self) -> Gaussians:
        """The Gaussians as they are now."""
        with torch.no_grad():
            return bounded(self.raw).detach()

    def step(self) -> None:
        """One step towards the next `views_per_step` targets."""
        with torch.inference_mode(False), torch.enable_grad():
            self.optimizer.zero_grad(set_to_none=True)
            count = min(self.config.views_per_step, len(self.targets))
            for _ in range(count):  # one graph at a time: memory of one view
                (self._error(self.targets[self.shown % len(self.targets)]) / count).backward()
                self.shown += 1
            self._regularisation().backward()
            self.optimizer.step()
            self.schedule.step()

    def _error(self, target: Target) -> Tensor:
        view = target.view.to(self.start.device)
        drawn = target.render(bounded(self.raw), self.rasterizer)
        colour = (drawn.rgb - view.images).square().mean()
        silhouette = (drawn.alpha - view.masks).square().mean()
        return colour + self.config.silhouette * silhouette

    def _regularisation(self) -> Tensor:
        config = self.config
        away = (self.raw["means"] - self.start) / self.pixel
        total = config.anchor * away.square().mean()
        if config.opacity:
            total = total + config.opacity * torch.sigmoid(self.raw["opacities"][: self.surface]).mean()
        if self.between is not None:
            total = total + config.area * self.between.area(bounded(self.raw), self.rasterizer)
        return total
