"""Loss terms of depth: z along the optical axis, in world units."""

import torch
from jaxtyping import Float
from torch import Tensor

from gslrm.config import ModelConfig
from gslrm.model.comparison import FOREGROUND, Comparison
from gslrm.model.loss_gaussians import pixel_means
from gslrm.model.visual_hull import hull_depth


def hull(c: Comparison, *, half_range: float, samples: int) -> Float[Tensor, ""]:
    """Mean distance between rendered depth and the visual hull of the input masks.

    Over foreground pixels whose rays meet the hull, weighted by the rendered alpha: where hardly anything is drawn, the
    depth of it says nothing and its gradient is large.
    """
    views = c.batch.target
    shown = views.masks[:, :, 0] > FOREGROUND
    depth = hull_depth(c.inputs, views.cameras, shown, half_range=half_range, samples=samples)
    return _mean_distance(c, depth.flatten(0, 1)[:, None])


def mapped(c: Comparison) -> Float[Tensor, ""]:
    """Mean distance between rendered depth and the target views' depth maps, over pixels that have one.

    Weighted as `hull`.

    Raises:
        ValueError: the batch was loaded without depths.
    """
    return _mean_distance(c, _known(c.batch.target.depths).flatten(0, 1))


def pixel(c: Comparison, *, model: ModelConfig) -> Float[Tensor, ""]:
    """Mean distance between input pixels' Gaussians and the input views' depth maps.

    Over foreground pixels that have both. Rendering leaves it open which of many faint Gaussians stand for a surface;
    this puts each on it. Of two Gaussians of a pixel the first counts.

    Raises:
        ValueError: the batch was loaded without depths.
    """
    depths, views = _known(c.inputs.depths)[:, :, 0], c.inputs.cameras
    counts = (depths > 0) & (c.inputs.masks[:, :, 0] > FOREGROUND)
    place = _hull_places(c, model) if model.depth_anchor == "corrected_hull" else counts.nonzero()
    scene, view, row, column = place.unbind(1)
    if model.depth_anchor == "corrected_hull":
        means = _surface_means(c, model, place)
    else:
        means = pixel_means(c, patch=model.image_tokenizer.patch_size)[scene, view, row, column]
    pose = views.world_from_camera[scene, view]
    z = ((means - pose[:, :3, 3]) * pose[:, :3, 2]).sum(dim=-1)
    kept = counts[scene, view, row, column]
    return (kept * (z - depths[scene, view, row, column]).abs()).sum() / c.batch_share(kept.sum())


def _hull_places(c: Comparison, model: ModelConfig) -> Tensor:
    """Scene, view, row and column of the pixels to which `HullGSLRM` gives Gaussians, in its order."""
    return (c.inputs.masks[:, :, 0] > model.hull.covered).nonzero()


def _surface_means(c: Comparison, model: ModelConfig, place: Tensor) -> Float[Tensor, "n 3"]:
    """Positions of the pixels' first Gaussians, which follow those of the learned tokens in each scene."""
    free = model.gaussians.n_gaussians * model.hull.splats_per_token
    counts = torch.bincount(place[:, 0], minlength=len(c.gaussians.means)).tolist()
    return torch.cat([means[free : free + count] for means, count in zip(c.gaussians.means, counts, strict=True)])


def _mean_distance(c: Comparison, depth: Float[Tensor, "n 1 h w"]) -> Float[Tensor, ""]:
    weight = c.alpha.detach() * (depth > 0)
    return (weight * (c.depth - depth).abs()).sum() / c.batch_share(weight.sum())


def _known(depths: Tensor | None) -> Tensor:
    if depths is None:
        raise ValueError("the batch has no depths; build its data set with depths=True")
    return depths
