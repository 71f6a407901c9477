"""What can be predicted without any model, for every score to be compared with."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from gslrm.cameras import Cameras
from gslrm.types import Rendering, Views


def white_baseline(target: Views) -> Rendering:
    """The rendering of nothing on white paper: what every method has to beat."""
    empty = torch.zeros_like(target.masks)
    return Rendering(torch.ones_like(target.images), empty, empty)


def nearest_input_view(target: Cameras, inputs: Cameras, center: Float[Tensor, "3"]) -> Int[Tensor, "*batch t"]:
    """For every target camera `[*, t]` the index of the input camera `[*, v]` that sees `center` most alike.

    Copying that input view is the baseline of a method without any 3D.
    """
    toward_target = torch.nn.functional.normalize(target.position - center, dim=-1)
    toward_input = torch.nn.functional.normalize(inputs.position - center, dim=-1)
    return (toward_target @ toward_input.mT).argmax(dim=-1)
