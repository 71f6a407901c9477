"""Small errors of single cameras that only many samples together can show.

Ragged masks hide a camera that is turned by a tenth of a degree in any one sample. The raggedness is another every
time, the error is the same: summed over samples it stands out.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

LEAST_PIXELS = 0.25  # of a picture 512 wide; less is below what calibrations promise
LEAST_SIGNIFICANCE = 8.0  # standard deviations; errors of neighbouring moments are not independent
LEAST_SAMPLES = 20
LEAST_SCALE = 0.1  # px
ROUNDS = 10


@dataclass(frozen=True)
class Drift:
    """One camera that is off in all samples: by an angle, in pixels, and how many standard deviations that is."""

    view: int
    degrees: float
    pixels: float
    significance: float


def find_drift(
    planes: Float[np.ndarray, "n 7"], focal: Float[np.ndarray, "n 2"], *, samples: int, width: float
) -> list[Drift]:
    """Cameras that must be turned to bring all samples together, the worst first.

    One camera after the other is let free to turn (left-right, up-down) as long as one stands out: few bad cameras are
    likelier than many slightly bad ones.

    Args:
        planes: tangent planes of many samples as in `Proof.record`: first view, second view, error in px, and how a
            shift of either view changes it.
        focal: focal lengths in px of the two views of each plane.
        samples: how many samples they are from; too few tell nothing.
        width: of the pictures in px.
    """
    if samples < LEAST_SAMPLES or not len(planes):
        return []
    pair, error = planes[:, :2].astype(int), planes[:, 2]
    views = int(pair.max()) + 1
    slope = np.zeros((len(planes), 2 * views))  # px per radian
    for side in (0, 1):
        for axis in (0, 1):
            slope[np.arange(len(planes)), 2 * pair[:, side] + axis] += planes[:, 3 + 2 * side + axis] * focal[:, side]
    free: list[int] = []
    middle = float(np.median(focal))
    while len(free) < views - 1:
        trials = [_trial(slope, error, [*free, view]) for view in range(views) if view not in free]
        significance, view = max((trial.significance[-1], trial.views[-1]) for trial in trials)
        best = next(trial for trial in trials if trial.views[-1] == view)
        if significance < LEAST_SIGNIFICANCE or best.angle[-1] * middle < LEAST_PIXELS * width / 512:
            break
        free.append(view)
    if not free:
        return []
    final = _trial(slope, error, free)
    found = [
        Drift(view, math.degrees(angle), angle * middle, significance)
        for view, angle, significance in zip(final.views, final.angle, final.significance, strict=True)
    ]
    return sorted(found, key=lambda drift: -drift.pixels)


@dataclass(frozen=True)
class _Trial:
    """Angles in radians of the free views, and their sizes in standard deviations."""

    views: Sequence[int]
    angle: list[float]
    significance: list[float]


def _trial(slope: Float[np.ndarray, "n p"], error: Float[np.ndarray, "n"], free: list[int]) -> _Trial:
    """Turn the free views by robust (Cauchy) least squares."""
    columns = slope[:, [2 * view + axis for view in free for axis in (0, 1)]]
    turn, left = np.zeros(columns.shape[1]), error
    for _ in range(ROUNDS):
        scale = max(1.5 * float(np.median(np.abs(left))), LEAST_SCALE)
        weight = 1 / (1 + (left / scale) ** 2)
        normal = (columns * weight[:, None]).T @ columns
        normal += 1e-9 * np.trace(normal) * np.eye(len(normal))
        turn = np.linalg.solve(normal, -(columns * weight[:, None]).T @ error)
        left = error + columns @ turn
    covariance = np.linalg.inv(normal) * scale**2
    angles, significance = [], []
    for index in range(len(free)):
        part = slice(2 * index, 2 * index + 2)
        angles.append(float(np.linalg.norm(turn[part])))
        significance.append(float(np.sqrt(turn[part] @ np.linalg.solve(covariance[part, part], turn[part]))))
    return _Trial(free, angles, significance)
