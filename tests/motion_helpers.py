"""A synthetic mouse as true Gaussians, and as the pictures that six cameras take of it."""

from dataclasses import dataclass
from functools import cache

import numpy as np
import torch

from gslrm import harmonics as sh
from gslrm.cameras import Cameras
from gslrm.data.synthetic_mouse import MouseOptions
from gslrm.data.synthetic_raster import photograph
from gslrm.data.synthetic_scene import Views as Photographs
from gslrm.data.synthetic_scene import scene_of
from gslrm.render import BatchRasterizer, build_rasterizer
from gslrm.types import Gaussians, Rendering, Views


@dataclass(frozen=True)
class Mouse:
    """Gaussians on a mouse's whole skin (mm, z up), and the pictures of six cameras on white."""

    gaussians: Gaussians
    views: Views


@cache
def synthetic_mouse(seed: int = 3, size: int = 64) -> Mouse:
    rng = np.random.default_rng(seed)
    mesh, cameras, _ = scene_of(rng, Photographs(size, 0, held_out=False, crop=1.2), MouseOptions(spacing=3.0))
    points = torch.from_numpy(mesh.vertices).float()
    count = len(points)
    skin = Gaussians(
        means=points,
        scales=torch.full((count, 3), 1.6),
        rotations=torch.tensor([1.0, 0, 0, 0]).expand(count, 4),
        opacities=torch.full((count,), 0.95),
        harmonics=sh.degree_0_from_rgb(torch.from_numpy(mesh.colours).float())[:, None],
    )
    taken = photograph(mesh, cameras)
    colour, coverage = torch.from_numpy(taken.colour), torch.from_numpy(taken.coverage)[..., None]
    images = (colour + 1 - coverage).movedim(-1, 1)
    return Mouse(skin, Views(images, coverage.movedim(-1, 1), cameras))


@cache
def rasterizer() -> BatchRasterizer:
    return build_rasterizer("cpu", device="cpu")


def render(gaussians: Gaussians, camera: Cameras, ratio: float = 1.0) -> Rendering:
    """One picture [1, ...] on white."""
    with torch.inference_mode():
        return rasterizer()(gaussians[None], camera[None, None].float(), torch.ones(1, 3), resolution_ratio=ratio)[0]
