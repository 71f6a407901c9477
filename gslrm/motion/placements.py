"""The frames of one recording in one normalised world: a shared scale, axes in common, a centre that moves smoothly."""

from collections.abc import Sequence
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from gslrm.data.placement import Placement
from gslrm.motion.smoothing import smooth_over_time
from gslrm.similarity import Similarity


def smooth_placements(placements: Sequence[Placement], times: Sequence[float], *, reach: int) -> list[Placement]:
    """Placements of a recording's frames without what jumps from frame to frame.

    Each frame by itself takes its scale, and with `crop: fill` its focal length, from its own masks, so that they
    follow posture and noise. Here all frames share the median scale, the mean axes, the shortest focal length (at which
    no frame is cut); centres are smoothed in time, see `smooth_over_time`.

    Args:
        placements: one per frame, from samples that are in one world.
        times: in any unit, ascending.
        reach: frames on either side that a centre is smoothed with; 0 leaves centres as they are.

    Raises:
        ValueError: times do not ascend, or are not as many as the placements.
    """
    if len(times) != len(placements):
        raise ValueError(f"{len(placements)} placements with {len(times)} times")
    centers = smooth_over_time(times, torch.stack([placement.center for placement in placements]), reach=reach)
    scale = torch.stack([placement.world_from_source.scale for placement in placements]).median()
    rotation = _mean_rotation(torch.stack([placement.world_from_source.rotation for placement in placements]))
    focal = min((placement.focal for placement in placements if placement.focal is not None), default=None)
    return [
        _placed(placement, Similarity.about(center, scale=scale, rotation=rotation), center, focal)
        for placement, center in zip(placements, centers, strict=True)
    ]


def rebased(placement: Placement, other_from_source: Similarity) -> Placement:
    """The same placement of a sample whose cameras and Gaussians are in another world."""
    scale = float(other_from_source.scale)
    return replace(
        placement,
        world_from_source=placement.world_from_source.compose(other_from_source.inverse()),
        center=other_from_source.apply(placement.center),
        density=placement.density / scale,
        footprint=None if placement.footprint is None else placement.footprint * scale,
    )


def _placed(
    placement: Placement, world_from_source: Similarity, center: Float[Tensor, "3"], focal: float | None
) -> Placement:
    growth = float(placement.world_from_source.scale / world_from_source.scale)
    moved = replace(placement, world_from_source=world_from_source, center=center)
    if placement.footprint is not None:  # the same width of the network's world
        return replace(moved, footprint=placement.footprint * growth, density=placement.density / growth)
    if placement.focal is not None and focal is not None:
        return replace(moved, focal=focal, density=placement.density * focal / placement.focal)
    return moved


def _mean_rotation(rotations: Float[Tensor, "n 3 3"]) -> Float[Tensor, "3 3"]:
    """The rotation nearest to all: the orthogonal part of their mean."""
    left, _, right = torch.linalg.svd(rotations.mean(dim=0))
    return left @ right
