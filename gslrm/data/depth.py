"""Depth maps of samples: z along the optical axis, where a renderer or a sensor knows it."""

import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from gslrm.cameras import Cameras
from gslrm.data.placement import Placement
from gslrm.data.sample import SampleView
from gslrm.data.transforms import HALF, homography
from gslrm.errors import UserError
from gslrm.types import Views

DEPTH_PER_UNIT = 100  # pixel values per world unit of a `depth/` folder without scale.json, as synthetic mice have


def read_depth(view: SampleView) -> Float[Tensor, "1 1 h w"] | None:
    """True z along the optical axis in world units, 0 where nothing is; none when the sample has no such file.

    `depth/` beside `images/` holds 16-bit pictures of the same names; `depth/scale.json` says {"depth_scale": values
    per world unit}, else there are 100 per unit.

    Raises:
        UserError: the file is damaged, has another size than its camera, or is not 16-bit.
    """
    path = _depth_path(view)
    if not path.is_file():
        return None
    try:
        with Image.open(path) as image:
            stored = np.asarray(image)
    except (OSError, SyntaxError) as error:
        raise UserError(f"{path}: depth picture cannot be read ({error}); restore it or remove the folder") from error
    expected = (view.camera.height, view.camera.width)
    if stored.dtype != np.uint16 or stored.shape != expected:
        raise UserError(
            f"{path}: is {stored.dtype} {stored.shape}, but depth pictures are 16-bit with one channel and, for this "
            f"camera, {expected[1]}x{expected[0]}; write it again or remove the folder"
        )
    return torch.from_numpy(stored.astype(np.float32) / _depth_scale(path.parent))[None, None]


def with_depths(placed: Views, views: list[SampleView], placement: Placement) -> Views:
    """The network's pictures [V] of stored views with their true depths, in the network's world.

    Raises:
        UserError: a view has no depth map, or a damaged one.
    """
    depths = []
    for view in views:
        stored = read_depth(view)
        if stored is None:
            raise UserError(
                f"{view.image_path}: has no depth map in {_depth_path(view).parent}, which the depth terms of "
                "training.losses ask for; render it, or set depth_target: hull and pixel_depth_loss_weight: 0"
            )
        depths.append(resample_depth(stored[0, 0], view.camera, placement.crop_camera(view.camera)))
    scale = float(placement.world_from_source.scale)
    return replace(placed, depths=scale * torch.stack(depths)[:, None])


def resample_depth(depth: Float[Tensor, "h w"], source: Cameras, target: Cameras) -> Float[Tensor, "p q"]:
    """A depth map of `source` at the pixels of `target`, which is at the same place: z along the target's axis.

    The nearest sample is taken, for a mean over an edge is a place where nothing is. 0 stays 0: not known.
    """
    matrix = np.linalg.inv(HALF) @ homography(source, target) @ HALF
    flags = cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP
    nearest = torch.from_numpy(cv2.warpPerspective(depth.numpy(), matrix, (target.width, target.height), flags=flags))
    _, direction = target.rays()
    along_source = direction @ source.world_from_camera[:3, 2]
    along_target = direction @ target.world_from_camera[:3, 2]
    turned = torch.where(
        along_source > 0, along_target / along_source.clamp_min(torch.finfo(along_source.dtype).eps), 0
    )
    return (nearest * turned).float()


def _depth_path(view: SampleView) -> Path:
    return view.image_path.parent.parent / "depth" / view.image_path.with_suffix(".png").name


def _depth_scale(folder: Path) -> float:
    path = folder / "scale.json"
    if not path.is_file():
        return float(DEPTH_PER_UNIT)
    try:
        scale = float(json.loads(path.read_text())["depth_scale"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f'{path}: must say {{"depth_scale": values per world unit}} ({error!r}); repair it') from error
    if not 0 < scale < float("inf"):
        raise UserError(f"{path}: depth_scale {scale} must be positive; repair it")
    return scale
