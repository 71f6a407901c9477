"""What all file formats ask of Gaussians."""

from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from gslrm.errors import UserError
from gslrm.export.files import AnyPath
from gslrm.types import Gaussians

MIN_OPACITY = 1e-6  # opacities are stored as logits: 0 and 1 move by this much, far below one grey level
MIN_SCALE = 1e-12  # scales are stored as logarithms: keeps 0 finite
ROUNDING = 1e-6  # of a norm: quaternions that were normalised in float32 are as near to 1
MORTON_BITS = 10  # per axis


def one_scene(gaussians: Gaussians, path: AnyPath) -> Gaussians:
    """The Gaussians `[N]` on the CPU, in float32, with unit quaternions, checked.

    Raises:
        ValueError: the Gaussians are batched or hold NaN or infinity.
    """
    if gaussians.means.ndim != 2:
        raise ValueError(f"{path} takes one scene, got means of shape {tuple(gaussians.means.shape)}")
    gaussians = gaussians.detach().to("cpu").float()
    if _not_finite(gaussians):
        raise ValueError(f"the Gaussians for {path} hold NaN or infinity")
    return replace(gaussians, rotations=_unit(gaussians.rotations))


def as_read(gaussians: Gaussians, path: Path) -> Gaussians:
    """Gaussians from a file in float32, with unit quaternions, checked.

    Raises:
        UserError: the file holds NaN or infinity.
    """
    bad = _not_finite(gaussians.float())
    if bad:
        raise UserError(f"{path} is damaged: NaN or infinity among its {bad}; export it again")
    return replace(gaussians, rotations=_unit(gaussians.rotations.double())).float()


def spatial_order(means: Float[Tensor, "n 3"]) -> Int[Tensor, "n"]:
    """An order in which neighbours in space are neighbours in the file, which makes files small: a Morton curve."""
    if not len(means):
        return torch.zeros(0, dtype=torch.long)
    low, high = means.amin(dim=0), means.amax(dim=0)
    cells = 2**MORTON_BITS - 1
    cell = ((means - low).double() / (high - low).double().clamp_min(1e-30) * cells).round().long()
    code = torch.zeros(len(means), dtype=torch.long)
    for bit in range(MORTON_BITS):
        for axis in range(3):
            code |= ((cell[:, axis] >> bit) & 1) << (3 * bit + axis)
    return code.argsort(stable=True)


def to_levels(values: Tensor | np.ndarray, highest: int) -> np.ndarray:
    """Values in [0, 1] as whole numbers from 0 to `highest`, clamped, rounded to the nearest."""
    return np.rint(np.clip(np.asarray(values, dtype=np.float64), 0, 1) * highest).astype(np.uint32)


def _unit(rotations: Float[Tensor, "n 4"]) -> Float[Tensor, "n 4"]:
    """Quaternions of norm 1; those that have it but for rounding stay as they are, bit for bit."""
    unit = (rotations.norm(dim=-1, keepdim=True) - 1).abs() < ROUNDING
    return torch.where(unit, rotations, torch.nn.functional.normalize(rotations, dim=-1))


def _not_finite(gaussians: Gaussians) -> str:
    """The names of the fields that hold NaN or infinity."""
    names = [field.name for field in fields(gaussians)]
    return ", ".join(name for name in names if not torch.isfinite(getattr(gaussians, name)).all())
