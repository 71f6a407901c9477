"""Many numbers or vectors told by few."""

import numpy as np
import torch
from jaxtyping import Float, Int

ENTRIES = 256  # what a byte can choose from
ROUNDS = 12
HISTOGRAM_BINS = 4096
PALETTE_ROUNDS = 8
BLOCK = 4096  # vectors compared with the palette at a time


def codebook(values: Float[np.ndarray, " n"]) -> Float[np.ndarray, " 256"]:
    """Ascending 256 numbers near which the values lie.

    They start as dense as the cube root of the values' own density, which is best for many (Panter, Dite 1951); rounds
    of Lloyd's algorithm do the rest.

    Up to 256 different values are kept as they are.
    """
    different = np.unique(values)
    if len(different) <= ENTRIES:
        padding = np.full(ENTRIES - len(different), different[-1] if len(different) else 0.0)
        return np.concatenate([different, padding])
    count, edges = np.histogram(values, HISTOGRAM_BINS)
    share = np.concatenate([[0], np.cumsum(np.cbrt(count))])
    centres = np.interp((np.arange(ENTRIES) + 0.5) / ENTRIES * share[-1], share, edges)
    for _ in range(ROUNDS):
        index = nearest(values, centres)
        count = np.bincount(index, minlength=ENTRIES)
        total = np.bincount(index, values, minlength=ENTRIES)
        centres = np.sort(np.where(count > 0, total / np.maximum(count, 1), centres))
    return centres


def nearest(values: Float[np.ndarray, "*n"], centres: Float[np.ndarray, " k"]) -> Int[np.ndarray, "*n"]:
    """Index of the nearest of ascending centres."""
    return np.searchsorted((centres[1:] + centres[:-1]) / 2, values)


def palette(vectors: Float[np.ndarray, "n d"], size: int) -> tuple[Float[np.ndarray, "k d"], Int[np.ndarray, " n"]]:
    """At most `size` vectors and for each given one its nearest of them: k-means from an even choice, reproducible."""
    different, inverse = np.unique(vectors, axis=0, return_inverse=True)
    if len(different) <= size:
        return different, inverse.reshape(-1)
    points = torch.from_numpy(vectors).float()
    centres = points[torch.linspace(0, len(points) - 1, size).round().long()].clone()
    for _ in range(PALETTE_ROUNDS):
        label = _labels(points, centres)
        count = torch.bincount(label, minlength=size)[:, None]
        total = torch.zeros_like(centres).index_add_(0, label, points)
        centres = torch.where(count > 0, total / count.clamp_min(1), centres)
    return centres.double().numpy(), _labels(points, centres).numpy()


def _labels(points: torch.Tensor, centres: torch.Tensor) -> torch.Tensor:
    return torch.cat([torch.cdist(block, centres).argmin(dim=1) for block in points.split(BLOCK)])
