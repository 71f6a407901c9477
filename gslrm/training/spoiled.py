"""Passes whose Gaussians are not finite, and which therefore have no picture."""

import torch

from gslrm.render import Rasterizer
from gslrm.types import Batch, Gaussians, Rendering


def render_targets(rasterizer: Rasterizer, gaussians: Gaussians, batch: Batch) -> Rendering:
    """Pictures of the batch's target views; of nothing but nan if a Gaussian is not finite.

    A loss of them is nan, so the update is skipped; backends differ in what they make of such a Gaussian: the CPU's
    refuses it, gsplat drops it, and the loss would look as if all were well.
    """
    if is_finite(gaussians):
        return rasterizer(gaussians, batch.target.cameras, batch.background)
    rgb, mask = torch.full_like(batch.target.images, torch.nan), torch.full_like(batch.target.masks, torch.nan)
    return Rendering(rgb, mask, mask)


def is_finite(gaussians: Gaussians) -> bool:
    """Whether all numbers of the Gaussians are; a sum is finite only then, and costs one look at each."""
    parts = (gaussians.means, gaussians.scales, gaussians.rotations, gaussians.opacities, gaussians.harmonics)
    return bool(torch.stack([part.detach().sum() for part in parts]).isfinite().all())
