"""Triangulated keypoints seen again: how far each lies from where its camera marked it."""

import numpy as np
from jaxtyping import Float

from gslrm.proof.pinholes import Pinholes, triangulate

ROUNDS = 3  # weights depend on the point's distances, which settle at once


def reprojection_errors(pixel: Float[np.ndarray, "v j 2"], cameras: Pinholes) -> Float[np.ndarray, "v j"]:
    """Pixels between marked keypoints and the projection of the point that fits all views best.

    Args:
        pixel: marked keypoints in the views' own pixels; NaN where a view does not show one.
        cameras: the views' cameras.

    Returns:
        NaN where a keypoint is not marked, or is marked in fewer than two views.
    """
    error = np.full(pixel.shape[:2], np.nan)
    for joint in range(pixel.shape[1]):
        views = np.flatnonzero(np.isfinite(pixel[:, joint]).all(axis=1))
        if len(views) < 2:
            continue
        point = _point(pixel[:, joint], views, cameras)
        for view in views:
            seen, depth = cameras.project(int(view), point)
            error[view, joint] = np.linalg.norm(seen - pixel[view, joint]) if depth > 0 else np.inf
    return error


def _point(pixel: Float[np.ndarray, "v 2"], views: np.ndarray, cameras: Pinholes) -> Float[np.ndarray, "3"]:
    """The point with the least squared errors in pixels, nearly: distances to rays weighted by pixels per unit."""
    origin = cameras.position[views]
    direction = np.stack([cameras.directions(int(view), pixel[view]) for view in views])
    weight = np.ones(len(views))
    for _ in range(ROUNDS):
        point = triangulate(origin, direction, weight)
        distance = np.linalg.norm(point - origin, axis=1)
        weight = (np.abs(cameras.focal[views]).mean(axis=1) / np.maximum(distance, 1e-12)) ** 2
        weight = weight / weight.max()
    return point
