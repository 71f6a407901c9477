"""How much of the pictures each Gaussian paints."""

from collections.abc import Sequence
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from gslrm import harmonics as sh
from gslrm.cameras import Cameras
from gslrm.render import Rasterizer
from gslrm.types import Gaussians


def contributions(gaussians: Gaussians, cameras: Sequence[Cameras], rasterizer: Rasterizer) -> Float[Tensor, "n"]:
    """Blending weight of each Gaussian summed over a picture's pixels, in the picture that shows most of it.

    A picture is linear in the Gaussians' colours, and the derivative of the sum of its pixels by one colour is the
    sum of that Gaussian's weights: exactly what the blending used, occlusion and early stop included.

    Args:
        gaussians: one scene [N].
        cameras: each [1], in the Gaussians' world.
        rasterizer: any backend.
    """
    device = gaussians.means.device
    largest = torch.zeros(len(gaussians.means), device=device)
    with torch.inference_mode(False), torch.enable_grad():
        scene = gaussians.detach().map(torch.clone).float()
        colour = torch.zeros(len(largest), 1, 3, device=device, requires_grad=True)  # grey, away from the clamp at 0
        painted = replace(scene, harmonics=colour)[None]
        for camera in cameras:
            picture = rasterizer(painted, camera[None].float().to(device), torch.zeros(1, 3, device=device)).rgb
            (gradient,) = torch.autograd.grad(picture[..., 0, :, :].sum(), colour)
            largest = torch.maximum(largest, gradient[:, 0, 0] / sh.DEGREE_0)
    return largest
