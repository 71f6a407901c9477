"""Gaussians as parameters without bounds, which an optimiser can move freely."""

import torch
from torch import Tensor

from gslrm.types import Gaussians

OPACITY_LIMIT = 1e-4  # opacities of 0 and 1 have no finite logit


def unbounded(gaussians: Gaussians) -> dict[str, Tensor]:
    """Leaves that require gradients: scales as logarithms, opacities as logits; undone by `bounded`."""
    values = {
        "means": gaussians.means,
        "scales": gaussians.scales.log(),
        "rotations": gaussians.rotations,
        "opacities": torch.logit(gaussians.opacities, eps=OPACITY_LIMIT),
        "harmonics": gaussians.harmonics,
    }
    return {name: value.clone().requires_grad_() for name, value in values.items()}


def bounded(parameters: dict[str, Tensor]) -> Gaussians:
    """The Gaussians of `unbounded` parameters; quaternions are normalised."""
    return Gaussians(
        means=parameters["means"],
        scales=parameters["scales"].exp(),
        rotations=torch.nn.functional.normalize(parameters["rotations"], dim=-1),
        opacities=torch.sigmoid(parameters["opacities"]),
        harmonics=parameters["harmonics"],
    )
