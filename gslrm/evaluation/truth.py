"""What scoring may find beside pictures: a sample's mesh, and perceptual weights on this machine."""

from collections.abc import Callable
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from gslrm.data.sample import Sample
from gslrm.errors import UserError
from gslrm.model.perceptual import LpipsDistance

VGG16_FILE = "vgg16-397923af.pth"  # torchvision's name of the weights that LPIPS builds on


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
