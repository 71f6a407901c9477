"""What a sample may hold beside images for scoring only: depth maps, a mesh; and perceptual weights on this machine."""

import json
from collections.abc import Callable
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from gslrm.data.sample import Sample, SampleView
from gslrm.errors import UserError
from gslrm.model.perceptual import LpipsDistance

DEPTH_PER_UNIT = 100  # pixel values per world unit of a `depth/` folder without scale.json, as synthetic mice have
VGG16_FILE = "vgg16-397923af.pth"  # torchvision's name of the weights that LPIPS builds on


def read_depth(view: SampleView) -> Float[Tensor, "1 1 h w"] | None:
    """True z along the optical axis in world units, 0 where nothing is; none when the sample has no such file.

    `depth/` beside `images/` holds 16-bit pictures of the same names; `depth/scale.json` says {"depth_scale": values
    per world unit}, else there are 100 per unit.

    Raises:
        UserError: the file is damaged, has another size than its camera, or is not 16-bit.
    """
    path = view.image_path.parent.parent / "depth" / view.image_path.with_suffix(".png").name
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


def read_surface(sample: Sample) -> Float[Tensor, "m 3"] | None:
    """Vertices of the true mesh in world units, from `mesh.npz`; none when the sample has no such file.

    Raises:
        UserError: the file holds no vertices.
    """
    path = sample.directory / "mesh.npz"
    if not path.is_file():
        return None
    try:
        with np.load(path) as content:
            vertices = np.asarray(content["vertices"], dtype=np.float64)
    except (OSError, ValueError, KeyError) as error:
        raise UserError(f"{path}: holds no array `vertices` [m, 3] ({error}); write it again or remove it") from error
    if vertices.ndim != 2 or vertices.shape[1] != 3 or not len(vertices) or not np.isfinite(vertices).all():
        raise UserError(
            f"{path}: `vertices` is {vertices.shape}, not finite points [m, 3]; write it again or remove it"
        )
    return torch.from_numpy(vertices)


@cache
def perceptual_distance() -> Callable[[Tensor, Tensor], Tensor] | None:
    """LPIPS where its packages and weights are on this machine already; nothing is fetched for a score."""
    installed = all(find_spec(name) is not None for name in ("lpips", "torchvision"))
    if not installed or not (Path(torch.hub.get_dir()) / "checkpoints" / VGG16_FILE).is_file():
        return None
    return LpipsDistance.pretrained()


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
