"""Gaussians themselves against ground truth, in whatever world and unit they are in."""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from gslrm.types import Gaussians, Views

MIN_OPACITY = 1 / 255  # fainter Gaussians are not drawn
SOLID = 0.1  # opacity from which a Gaussian can stand for a piece of surface
HULL_TOLERANCE = 2.0  # pixels by which a centre may miss a mask: blurred edges, the splat's own extent
F_SCORE_TOLERANCE = 0.01  # of the surface's diagonal: 1.4 mm on a mouse
MAX_QUERIES = 5000  # points whose nearest neighbour is looked up; an even choice of more moves means by a percent


def gaussian_statistics(gaussians: Gaussians) -> dict[str, float]:
    """What the drawn Gaussians of one scene are like, means and quantiles weighted by opacity.

    `count` and `effective_count`, (sum of opacities)^2 / sum of their squares; `opacity_median`; `haze`, the share of
    all opacity in Gaussians below 0.5; `scale_median` and `scale_p99` of the longest axis in world units;
    `anisotropy_median`, longest over shortest axis.
    """
    opacity = gaussians.opacities.double()
    drawn = opacity >= MIN_OPACITY
    opacity = opacity[drawn]
    if not len(opacity):
        return {"count": 0.0, "effective_count": 0.0}
    longest, shortest = gaussians.scales[drawn].double().amax(dim=-1), gaussians.scales[drawn].double().amin(dim=-1)
    total = opacity.sum()
    statistics = {
        "effective_count": total.square() / opacity.square().sum(),
        "opacity_median": _quantile(opacity, opacity, 0.5),
        "haze": opacity[opacity < 0.5].sum() / total,
        "scale_median": _quantile(longest, opacity, 0.5),
        "scale_p99": _quantile(longest, opacity, 0.99),
        "anisotropy_median": _quantile(longest / shortest.clamp_min(1e-12), opacity, 0.5),
    }
    return {"count": float(len(opacity))} | {name: value.item() for name, value in statistics.items()}


def floater_share(gaussians: Gaussians, views: Sequence[Views], tolerance: float = HULL_TOLERANCE) -> float:
    """Share of all opacity in Gaussians whose centres lie outside the visual hull of the views' masks.

    Raises:
        ValueError: no Gaussian is opaque at all.
    """
    opacity = gaussians.opacities.double()
    if not opacity.sum() > 0:
        raise ValueError("all Gaussians are transparent, so that none can float")
    outside = outside_hull(gaussians.means.double(), views, tolerance)
    return float(opacity[outside].sum() / opacity.sum())


def outside_hull(
    points: Float[Tensor, "n 3"], views: Sequence[Views], tolerance: float = HULL_TOLERANCE
) -> Bool[Tensor, "n"]:
    """Whether world points lie outside the visual hull: farther than `tolerance` pixels from the mask of some view.

    A camera that does not have a point in its picture cannot tell; a point that no camera has is outside.

    Args:
        points: world points.
        views: masks with cameras, each [1]; sizes may differ.
        tolerance: pixels, rounded up.
    """
    seen = torch.zeros(len(points), dtype=torch.bool, device=points.device)
    outside = torch.zeros_like(seen)
    for view in views:
        inside, background = background_sighting(points, view, tolerance)
        seen |= inside
        outside |= background
    return outside | ~seen


def background_sighting(
    points: Float[Tensor, "n 3"], view: Views, tolerance: float = HULL_TOLERANCE
) -> tuple[Bool[Tensor, "n"], Bool[Tensor, "n"]]:
    """Whether one view [1] has world points in its picture, and whether it then sees background there.

    Background is what lies farther than `tolerance` pixels, rounded up, from the mask.
    """
    reach = int(-(-tolerance // 1))
    camera = view.cameras.to(points.dtype)
    mask = torch.nn.functional.max_pool2d(view.masks, 2 * reach + 1, stride=1, padding=reach)[0, 0] > 0.5
    pixel, depth = camera.project(points[None])
    column, row = pixel[0].floor().nan_to_num(-1, -1, -1).clamp(-1, 1e6).long().unbind(-1)
    inside = (depth[0] > 0) & (row >= 0) & (row < camera.height) & (column >= 0) & (column < camera.width)
    background = torch.zeros_like(inside)
    background[inside] = ~mask[row[inside], column[inside]]
    return inside, background


def surface_scores(gaussians: Gaussians, surface: Float[Tensor, "m 3"]) -> dict[str, float]:
    """How near the Gaussians' centres are to points of the true surface, and the surface to them, in world units.

    `accuracy` is the mean distance from centres to the surface, weighted by opacity; `completeness` the mean distance
    from the surface to the nearest solid centre; `chamfer` the mean of both; `f_score` the harmonic mean of the shares
    within 1 % of the surface's diagonal. Without a solid Gaussian only `f_score` exists, and is 0.
    """
    solid = gaussians.opacities >= SOLID
    if not solid.any():
        return {"f_score": 0.0}
    surface = surface.double()
    centres, opacity = gaussians.means[solid].double(), gaussians.opacities[solid].double()
    tolerance = F_SCORE_TOLERANCE * (surface.amax(dim=0) - surface.amin(dim=0)).norm()
    chosen = _even(len(centres))
    weight = opacity[chosen] / opacity[chosen].sum()
    outward = _nearest(centres[chosen], surface)
    inward = _nearest(surface[_even(len(surface))], centres)
    precision, recall = (weight * (outward <= tolerance)).sum(), (inward <= tolerance).double().mean()
    accuracy, completeness = (weight * outward).sum(), inward.mean()
    scores = {
        "accuracy": accuracy,
        "completeness": completeness,
        "chamfer": (accuracy + completeness) / 2,
        "f_score": 2 * precision * recall / (precision + recall).clamp_min(1e-12),
    }
    return {name: value.item() for name, value in scores.items()}


def _even(count: int) -> Tensor:
    return torch.linspace(0, count - 1, min(count, MAX_QUERIES)).round().long()


def _nearest(points: Tensor, others: Tensor) -> Tensor:
    """Distance of each point to its nearest other: the partner by matrix products, the distance by subtraction."""
    middle = others.mean(dim=0)
    queries, table = (points - middle).float(), (others - middle).float()
    partner = torch.cat([torch.cdist(block, table).argmin(dim=1) for block in queries.split(1024)])
    return (points - others[partner]).norm(dim=1)


def _quantile(values: Tensor, weights: Tensor, share: float) -> Tensor:
    """The smallest value that at least `share` of all weight does not exceed."""
    ordered, order = values.sort()
    total = weights[order].cumsum(dim=0)
    return ordered[torch.searchsorted(total, share * total[-1]).clamp_max(len(values) - 1)]
