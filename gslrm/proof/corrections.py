"""Camera corrections with free numbers, each the undoing of one kind of damage, fitted to the silhouettes.

Whatever is done to a picture alone (shifted, scaled) is undone by the camera that such a picture needs, so that every
correction is a change of cameras and pictures stay as they are.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import cv2
import numpy as np
from jaxtyping import Float

from gslrm.proof.pinholes import Pinholes
from gslrm.proof.tangents import Rims, tangents

STEPS = 25
LEAST_SCALE = 0.5  # px: errors below this are measurement noise and no outliers
DERIVATIVE_STEP = 1e-3  # of a parameter's usual size
SETTLED = 1e-3  # relative change of the cost

Parameters = Float[np.ndarray, "p"]


@dataclass(frozen=True)
class Correction:
    """A change of cameras by parameters of which 0 changes nothing; `usual` is the size that each may well have."""

    usual: Parameters
    apply: Callable[[Pinholes, Parameters], Pinholes]


def turned(view: int) -> Correction:
    """One camera turned about its own centre (rotation vector in its axes, radians)."""

    def apply(cameras: Pinholes, change: Parameters) -> Pinholes:
        rotation = cameras.rotation.copy()
        rotation[view] = cv2.Rodrigues(np.ascontiguousarray(change))[0] @ rotation[view]
        return replace(cameras, rotation=rotation)

    return Correction(np.full(3, 0.2), apply)


def moved_radially(views: int) -> Correction:
    """Each camera at another distance from the world origin (logarithms of the ratios)."""
    return Correction(
        np.full(views, 0.4), lambda cameras, log: replace(cameras, position=cameras.position * np.exp(log)[:, None])
    )


def resized() -> Correction:
    """All intrinsics those of another image size (logarithms of the factors along x and y)."""
    return Correction(np.full(2, 1.0), _resize)


def shifted(cameras: Pinholes) -> Correction:
    """Each picture shifted by its own pixels."""
    usual = 0.2 * cameras.size.ravel()
    return Correction(usual, lambda pinholes, shift: replace(pinholes, center=pinholes.center + shift.reshape(-1, 2)))


def refocused(cameras: Pinholes) -> Correction:
    """One pair of focal lengths for all views is wrong (logarithms), and each principal point by its own pixels."""
    usual = np.concatenate([np.full(2, 0.5), 0.12 * cameras.size.ravel()])
    return Correction(usual, _refocus)


def scaled(cameras: Pinholes) -> Correction:
    """Each picture scaled (logarithm) and shifted by its own pixels."""
    usual = np.concatenate([0.2 * cameras.size, np.full((len(cameras), 1), 0.5)], axis=1).ravel()
    return Correction(usual, _scale)


def fit(correction: Correction, rims: Rims, cameras: Pinholes, start: Parameters | None = None) -> Parameters:
    """Parameters with the least tangent errors: robust (Cauchy) damped least squares; unusual sizes cost a little."""
    inverse = 1 / correction.usual
    value = np.zeros(len(inverse)) if start is None else start.copy()
    error, damping = _errors(correction, rims, cameras, value), 1e-2
    for _ in range(STEPS):
        scale = max(1.5 * float(np.median(np.abs(error))), LEAST_SCALE)
        cost = _cost(error, value * inverse, scale)
        slope = _jacobian(correction, rims, cameras, value, error)
        weighted = slope / (1 + (error / scale) ** 2)[:, None]
        normal, gradient = weighted.T @ slope + np.diag(inverse**2), weighted.T @ error + value * inverse**2
        for _ in range(6):
            trial = value - np.linalg.solve(normal + damping * np.diag(np.diag(normal)), gradient)
            trial_error = _errors(correction, rims, cameras, trial)
            trial_cost = _cost(trial_error, trial * inverse, scale)
            if trial_cost < cost:
                break
            damping *= 5
        else:
            return value
        value, error, damping = trial, trial_error, damping / 5
        if cost - trial_cost < SETTLED * cost:
            return value
    return value


def _errors(correction: Correction, rims: Rims, cameras: Pinholes, value: Parameters) -> np.ndarray:
    found = tangents(rims, correction.apply(cameras, value))
    return np.where(found.usable, found.error, 0.0)


def _jacobian(
    correction: Correction, rims: Rims, cameras: Pinholes, value: Parameters, error: np.ndarray
) -> Float[np.ndarray, "n p"]:
    columns = []
    for index, usual in enumerate(correction.usual):
        moved = value.copy()
        moved[index] += DERIVATIVE_STEP * usual
        columns.append((_errors(correction, rims, cameras, moved) - error) / (DERIVATIVE_STEP * usual))
    return np.stack(columns, axis=1)


def _cost(error: np.ndarray, relative: Parameters, scale: float) -> float:
    return float(scale**2 * np.log1p((error / scale) ** 2).sum() + (relative**2).sum())


def _resize(cameras: Pinholes, log: Parameters) -> Pinholes:
    return replace(cameras, focal=cameras.focal * np.exp(log), center=cameras.center * np.exp(log))


def _refocus(cameras: Pinholes, change: Parameters) -> Pinholes:
    focal = cameras.focal * np.exp(change[:2])
    return replace(cameras, focal=focal, center=cameras.center + change[2:].reshape(-1, 2))


def _scale(cameras: Pinholes, change: Parameters) -> Pinholes:
    rows = change.reshape(-1, 3)
    return replace(cameras, center=cameras.center + rows[:, :2], focal=cameras.focal * np.exp(rows[:, 2:]))
