"""Gaussians to a closed, coloured surface: depth from all around, fused, then marching cubes."""

from dataclasses import dataclass
from importlib.util import find_spec

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy import ndimage
from scipy.spatial import cKDTree

from gslrm.errors import UserError
from gslrm.look_around import cameras_around, extent, solid_box
from gslrm.mesh.front_depth import render_front
from gslrm.mesh.fusion import TRUNCATION_VOXELS, Grid
from gslrm.render import BatchRasterizer, visible
from gslrm.types import Gaussians

VIEWS = 48
PIXELS_PER_POINT = 2.0  # of the pictures, per point along the grid's longest side
SMALLEST_PART = 0.005  # of the largest part's volume: smaller ones are floaters


@dataclass(frozen=True)
class Mesh:
    """Triangles in the Gaussians' world; seen from outside their corners go round anticlockwise.

    Colours are RGB in [0, 1], as in pictures.
    """

    vertices: Float[np.ndarray, "n 3"]
    faces: Int[np.ndarray, "m 3"]
    colours: Float[np.ndarray, "n 3"]


def extract_mesh(gaussians: Gaussians, rasterizer: BatchRasterizer, *, resolution: int = 192) -> Mesh:
    """The surface of one scene `[N]`.

    Args:
        gaussians: what to mesh, on the CPU.
        rasterizer: renders depth and colour.
        resolution: grid points along the longest side of the object's box.

    Raises:
        UserError: scikit-image is not installed, or the Gaussians have no surface.
    """
    if find_spec("skimage") is None:
        raise UserError("a mesh needs scikit-image: pip install scikit-image")
    try:
        grid = _fused(gaussians, rasterizer, resolution)
    except ValueError as error:
        raise UserError(f"no mesh: {error}; check the Gaussians' opacities") from error
    field = closed_field(grid.signed_distance())
    if not (field < 0).any():
        raise UserError("no mesh: no picture from any side is covered by half; check the Gaussians' opacities")
    return _triangles(grid, field)


def _fused(gaussians: Gaussians, rasterizer: BatchRasterizer, resolution: int) -> Grid:
    size = int(resolution * PIXELS_PER_POINT)
    cameras = cameras_around(gaussians, VIEWS, size)
    drawn = visible(gaussians.detach())
    low, high = solid_box(gaussians)
    margin = 0.05 * extent(gaussians)[1] + TRUNCATION_VOXELS * float((high - low).max()) / resolution
    grid = Grid.around(((low + high) / 2).numpy(), ((high - low) / 2 + margin).numpy(), resolution)
    with torch.inference_mode():
        for index in range(VIEWS):
            grid.add(render_front(drawn, cameras[index], rasterizer), cameras[index])
    return grid


def closed_field(field: np.ndarray) -> np.ndarray:
    """The field without small separate parts or cavities, with a border of outside, so that the surface is closed."""
    field = field.copy()
    for axis in range(3):
        np.moveaxis(field, axis, 0)[[0, -1]] = 1
    label, _ = ndimage.label(field < 0)
    volume = np.bincount(label.ravel())
    volume[0] = 0
    small = volume < SMALLEST_PART * volume.max()
    small[0] = False
    field[small[label]] = 1
    inside = field < 0
    field[ndimage.binary_fill_holes(inside) & ~inside] = -1
    return field


def _triangles(grid: Grid, field: np.ndarray) -> Mesh:
    from skimage.measure import marching_cubes

    points, faces, _, _ = marching_cubes(field, 0.0, gradient_direction="descent")
    at = points.T.astype(np.float64)
    weight = ndimage.map_coordinates(grid.colour_weight, at, order=1)
    channels = [ndimage.map_coordinates(grid.colour[..., channel], at, order=1) for channel in range(3)]
    seen = weight > 0
    colours = np.stack(channels, axis=1) / np.where(seen, weight, 1)[:, None]
    if seen.any() and not seen.all():  # in a fold that no picture shows: as next to it
        colours[~seen] = colours[seen][cKDTree(points[seen]).query(points[~seen])[1]]
    return Mesh(grid.origin + grid.step * at.T, faces.astype(np.int64), np.clip(colours, 0, 1).astype(np.float64))
