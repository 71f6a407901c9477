"""Other readings of a camera file: the same numbers under another convention, unit or order of views."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import permutations

import numpy as np

from gslrm.proof.pinholes import Pinholes
from gslrm.proof.sentences import Cause
from gslrm.proof.tangents import Rims, tangents

UNITS = {"mm instead of cm": 10.0, "mm instead of inches": 25.4, "cm instead of m": 100.0, "mm instead of m": 1000.0}
UNIT_MISFIT = 2.5  # cameras of one rig differ in distance by less than this factor
EXHAUSTIVE = 6  # views: up to 720 orders are tried one by one
OUTLIER = 0.04  # image widths at which an error counts no more when orders are compared

OPENCV_FROM_OPENGL = np.diag([1.0, -1.0, -1.0])


def readings(cameras: Pinholes) -> Iterator[tuple[Cause, Pinholes]]:
    """Named cameras that the same numbers would mean under another convention."""
    turned = cameras.rotation.transpose(0, 2, 1)
    shift = -np.einsum("vij,vj->vi", cameras.rotation, cameras.position)  # the last column of w2c
    yield "inverted", replace(cameras, rotation=turned, position=shift)
    yield "transposed", replace(cameras, rotation=turned, position=-np.einsum("vij,vj->vi", cameras.rotation, shift))
    yield "opengl", replace(cameras, rotation=OPENCV_FROM_OPENGL @ cameras.rotation)
    yield "inverted_opengl", replace(cameras, rotation=OPENCV_FROM_OPENGL @ turned, position=shift)
    mirror = np.array([-1.0, 1.0])
    edge = np.stack([cameras.size[:, 0], np.zeros(len(cameras))], axis=1)
    yield "mirrored", replace(cameras, focal=cameras.focal * mirror, center=edge + cameras.center * mirror)


def other_unit(cameras: Pinholes) -> tuple[list[int], str, Pinholes] | None:
    """Cameras whose distance from the origin is another unit's, the two units, and all in one; none if there are none.

    The unit of the majority stands.
    """
    distance = np.linalg.norm(cameras.position, axis=1)
    ratio = distance / max(float(np.median(distance)), 1e-12)
    odd = [view for view in range(len(cameras)) if not 1 / UNIT_MISFIT < ratio[view] < UNIT_MISFIT]
    if not odd:
        return None
    position, names = cameras.position.copy(), []
    for view in odd:
        larger = ratio[view] > 1
        inverse = ratio[view] if larger else 1 / max(ratio[view], 1e-12)
        name = min(UNITS, key=lambda unit: abs(np.log(UNITS[unit] / inverse)))
        position[view] *= 1 / UNITS[name] if larger else UNITS[name]
        names.append(name if larger else " instead of ".join(reversed(name.split(" instead of "))))
    return odd, names[0], replace(cameras, position=position)


def best_order(rims: Rims, cameras: Pinholes) -> list[int]:
    """For each view the camera whose numbers fit it: all orders of few views, else the best exchanges of two."""
    views = len(cameras)
    cost = _exchange_costs(rims, cameras)
    if views <= EXHAUSTIVE:
        return list(min(permutations(range(views)), key=lambda order: _total(cost, list(order))))
    order = list(range(views))
    while True:
        trials = [_exchanged(order, a, b) for a in range(views) for b in range(a)]
        best = min(trials, key=lambda trial: _total(cost, trial))
        if not _total(cost, best) < _total(cost, order):
            return order
        order = best


def _exchange_costs(rims: Rims, cameras: Pinholes) -> np.ndarray:
    """[i, a, j, b]: capped tangent error in pixels of picture i with camera a against picture j with camera b."""
    views = len(cameras)
    picture, camera = np.divmod(np.arange(views * views), views)
    combined = Rims(rims.pixel[picture], rims.on_border[picture])
    found = tangents(combined, cameras.take(camera.tolist()))
    cap = OUTLIER * float(cameras.size[:, 0].mean())
    error = np.where(found.usable, np.minimum(np.abs(found.error), cap), cap)
    cost = np.zeros((views * views, views * views))
    np.add.at(cost, (found.first, found.second), error)
    return (cost + cost.T).reshape(views, views, views, views)


def _total(cost: np.ndarray, order: Sequence[int]) -> float:
    index, camera = np.arange(len(order)), np.array(order)
    return float(cost[index[:, None], camera[:, None], index, camera].sum())


def _exchanged(order: list[int], a: int, b: int) -> list[int]:
    trial = order.copy()
    trial[a], trial[b] = order[b], order[a]
    return trial
