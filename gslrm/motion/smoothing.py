"""Smoothing of a quantity over time that leaves what moves evenly exactly as it is."""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor

OUTLIER = 6.0  # times the usual departure from the neighbours; noise alone stays below
Triple = tuple[int, int, int]
TRIPLES: tuple[Triple, ...] = ((0, 1, 2), (0, 2, 1), (1, 0, 2))  # lines from both sides, from before, from after
IGNORED = 1e-9  # weight of an outlier: where only outliers are near, they still give a value


def smooth_over_time(times: Sequence[float], values: Float[Tensor, "t k"], *, reach: int) -> Float[Tensor, "t k"]:
    """Each value replaced by that of a line fitted to its neighbours in time, nearer ones counting more.

    Local regression with tricube weights (LOWESS, Cleveland 1979). A line is reproduced exactly, at the ends and where
    frames are missing too, so constant velocity is preserved. A bend is cut: under constant acceleration a, over the
    time h that `reach` + 1 frames take, a value moves by less than a h^2 / 2. Instead of Cleveland's robust weights,
    which take the start of a real movement for an outlier, only single frames that leave and return are not counted.

    Args:
        times: seconds, ascending.
        values: a vector per time.
        reach: frames on either side that count, at the usual distance between frames; 0 changes nothing.

    Raises:
        ValueError: times do not ascend.
    """
    at = torch.tensor(times, dtype=torch.float64)
    steps = at.diff()
    if not (steps > 0).all():
        raise ValueError("times must ascend")
    if not reach or len(at) < 3:
        return values.clone()
    apart = at[None] - at[:, None]
    width = (reach + 1) * float(steps.median())
    near = (1 - (apart.abs() / width).clamp(max=1) ** 3) ** 3
    weights = near * torch.where(_is_outlier(at, values.double()), IGNORED, 1.0)
    return _fit_lines(apart, weights, values.double()).to(values.dtype)


def departures(times: Sequence[float], values: Float[Tensor, "t k"]) -> Float[Tensor, "t-2"]:
    """How far each value but the ends lies from the line between its neighbours: 0 under constant velocity."""
    at = torch.tensor(times, dtype=torch.float64)
    return (values[1:-1] - _on_line(at, values, (0, 1, 2))).norm(dim=1)


def _fit_lines(
    apart: Float[Tensor, "t t"], weights: Float[Tensor, "t t"], values: Float[Tensor, "t k"]
) -> Float[Tensor, "t k"]:
    """At every time the value there of the weighted least-squares line; the mean where all weight is at one time."""
    total = weights.sum(dim=1, keepdim=True)
    mean_apart = (weights * apart).sum(dim=1, keepdim=True) / total
    centred = apart - mean_apart
    spread = (weights * centred.square()).sum(dim=1, keepdim=True)
    slope = (weights * centred) @ values / spread.clamp_min(1e-300)
    return weights @ values / total - mean_apart * slope


def _is_outlier(at: Float[Tensor, "t"], values: Float[Tensor, "t k"]) -> Bool[Tensor, "t"]:
    """Single frames that leave and return.

    They are far from the lines through the two frames before, the two after, the one before with the one after: by the
    usual measure, and by that of their neighbours' distance. A corner of a path lies on one of these lines.
    """
    count = len(at)
    nearest = torch.full((count,), torch.inf, dtype=torch.float64)
    for triple in TRIPLES:
        inside = slice(triple[1], count - 2 + triple[1])
        distance = (values[inside] - _on_line(at, values, triple)).norm(dim=1)
        nearest[inside] = torch.minimum(nearest[inside], distance)
    around = torch.full((count,), torch.inf, dtype=torch.float64)
    around[1:-1] = (values[2:] - values[:-2]).norm(dim=1)
    return (nearest > OUTLIER * nearest.median()) & (nearest > around)


def _on_line(at: Float[Tensor, "t"], values: Float[Tensor, "t k"], triple: Triple) -> Float[Tensor, "t-2 k"]:
    """In each run of three values, where the line through two of them is at the time of the third.

    `triple` is the place of the first, of the one asked for, of the other in the run.
    """
    first, asked, other = (slice(place, len(at) - 2 + place) for place in triple)
    share = ((at[asked] - at[first]) / (at[other] - at[first]))[:, None]
    return values[first] * (1 - share) + values[other] * share
