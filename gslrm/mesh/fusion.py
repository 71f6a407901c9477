"""Depth pictures fused into a truncated signed distance on a grid (Curless, Levoy 1996).

Distances are positive outside, in units of the truncation. What no picture shows is inside: cameras are all around, so
that only the object's interior stays unseen.
"""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float32

from gslrm.cameras import Cameras
from gslrm.compiled import kernel
from gslrm.types import Rendering

SURFACE = 0.5  # coverage from which a pixel shows the object
TRUNCATION_VOXELS = 4.0
LEAST_TRUST = 0.01


@dataclass(frozen=True)
class Grid:
    """Sums over pictures at the grid's points `origin + step * (i, j, k)`, in world units."""

    origin: Float[np.ndarray, "3"]
    step: float
    distance: Float32[np.ndarray, "x y z"]
    weight: Float32[np.ndarray, "x y z"]
    colour: Float32[np.ndarray, "x y z 3"]
    colour_weight: Float32[np.ndarray, "x y z"]

    @staticmethod
    def around(center: Float[np.ndarray, "3"], half_sides: Float[np.ndarray, "3"], resolution: int) -> "Grid":
        """An empty grid over a box, with `resolution` points along its longest side."""
        step = float(2 * half_sides.max() / (resolution - 1))
        shape = tuple(2 * math.ceil(float(half) / step) + 1 for half in half_sides)
        origin = center - step * (np.array(shape) - 1) / 2
        empty = np.zeros(shape, np.float32)
        return Grid(origin, step, empty, empty.copy(), np.zeros((*shape, 3), np.float32), empty.copy())

    def add(self, rendering: Rendering, camera: Cameras) -> None:
        """Fuse one picture `[1, ...]` of an unbatched camera; its colours are on black."""
        pose = camera.camera_from_world.double().numpy()[:3]
        lens = np.concatenate([camera.focal.double().numpy(), camera.center.double().numpy()])
        trust = facing(rendering.depth[0, 0].double().numpy(), lens)
        picture = np.concatenate([rendering.depth[0], rendering.alpha[0], rendering.rgb[0], trust[None]]).astype(
            np.float32
        )
        place = np.array([*self.origin, self.step, TRUNCATION_VOXELS * self.step])
        _fuse(pose, lens, picture, place, self.distance, self.weight, self.colour, self.colour_weight)

    def signed_distance(self) -> Float32[np.ndarray, "x y z"]:
        """Mean distance over the pictures, -1 where none looked."""
        return np.where(self.weight > 0, self.distance / np.maximum(self.weight, 1e-6), np.float32(-1))


def facing(depth: Float[np.ndarray, "h w"], lens: Float[np.ndarray, "4"]) -> Float[np.ndarray, "h w"]:
    """Fourth power of the cosine between each pixel's ray and the surface there, by differences between neighbours.

    Splats have one depth each, their centre's. On a slanted surface those in front hide those behind, which brings the
    surface nearer: pictures that face it know better.
    """
    height, width = depth.shape
    column, row = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
    ray = np.stack([(column - lens[2]) / lens[0], (row - lens[3]) / lens[1], np.ones_like(depth)], axis=-1)
    across, down = (np.gradient(depth[..., None] * ray, axis=axis) for axis in (1, 0))
    normal = np.cross(across, down)
    length = np.linalg.norm(normal, axis=-1) * np.linalg.norm(ray, axis=-1)
    cosine = (normal * ray).sum(axis=-1) / np.maximum(length, 1e-30)
    return np.maximum(cosine**4, LEAST_TRUST)


@kernel
def _fuse(pose, lens, picture, place, distance, weight, colour, colour_weight):
    size_x, size_y, size_z = distance.shape
    height, width = picture.shape[1:]
    for i in range(size_x):
        for j in range(size_y):
            for k in range(size_z):
                x, y, z = place[0] + i * place[3], place[1] + j * place[3], place[2] + k * place[3]
                forward = pose[2, 0] * x + pose[2, 1] * y + pose[2, 2] * z + pose[2, 3]
                if forward <= 0:
                    continue
                right = pose[0, 0] * x + pose[0, 1] * y + pose[0, 2] * z + pose[0, 3]
                down = pose[1, 0] * x + pose[1, 1] * y + pose[1, 2] * z + pose[1, 3]
                column = math.floor(lens[0] * right / forward + lens[2])
                row = math.floor(lens[1] * down / forward + lens[3])
                if column < 0 or row < 0 or column >= width or row >= height:
                    continue
                alpha = picture[1, row, column]
                ahead = (picture[0, row, column] - forward) / place[4] if alpha >= SURFACE else 1.0
                if ahead < -1:
                    continue
                trust = picture[5, row, column] if alpha >= SURFACE else 1.0
                distance[i, j, k] += trust * min(ahead, 1.0)
                weight[i, j, k] += trust
                if alpha >= SURFACE and ahead < 1:
                    colour_weight[i, j, k] += trust
                    for channel in range(3):
                        colour[i, j, k, channel] += trust * picture[2 + channel, row, column] / alpha
