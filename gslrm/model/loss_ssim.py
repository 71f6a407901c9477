"""Structural similarity as a loss (Wang et al. 2004), without cancellation on plain pictures.

SSIM of a window is (1 - a)(1 - b) with a = (mean_x - mean_y)^2 / (mean_x^2 + mean_y^2 + C1) and
b = var(x - y) / (var(x) + var(y) + C2). The loss is a + b - ab, so it is no difference of numbers near 1. Variances are
of pictures shifted by their medians: on a plain background both terms of E[x^2] - E[x]^2 are then exactly 0, and two
constant pictures are exactly alike in structure.
"""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import conv2d

from gslrm.errors import UserError
from gslrm.model.comparison import Comparison

NEUTRAL = 0.5  # both pictures outside the mask, in the masked SSIM
WINDOW, DEVIATION = 11, 1.5  # pixels
C1, C2 = 0.01**2, 0.03**2
BANDED = {"cpu"}  # devices on which a product with band matrices is exact, and five times as fast as a convolution


def ssim(c: Comparison) -> Float[Tensor, ""]:
    """1 - SSIM over all windows inside the picture; SSIM of each picture is bounded to [0, 1]."""
    return _bounded(dissimilarity(c.rendered, c.target).mean(dim=(1, 2, 3)))


def masked_ssim(c: Comparison) -> Float[Tensor, ""]:
    """The same of pictures that are both neutral grey outside the mask; windows there count as exactly alike."""
    fill = lambda picture: picture * c.foreground + NEUTRAL * (1 - c.foreground)  # noqa: E731
    return _bounded(dissimilarity(fill(c.rendered), fill(c.target)).mean(dim=(1, 2, 3)))


def foreground_ssim(c: Comparison) -> Float[Tensor, ""]:
    """1 - SSIM over windows centred on the foreground only, averaged over pictures that have any.

    Windows at the outline see the background of both pictures, so the silhouette counts.
    """
    errors = dissimilarity(c.rendered, c.target).mean(dim=1)
    rim = WINDOW // 2
    chosen = c.foreground[:, 0, rim:-rim, rim:-rim]
    windows = chosen.sum(dim=(1, 2))
    per_picture = ((errors * chosen).sum(dim=(1, 2)) / windows.clamp_min(1)).clamp(0, 1)
    return per_picture.sum() / c.batch_share((windows > 0).sum())


def dissimilarity(x: Float[Tensor, "n c h w"], y: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c p q"]:
    """1 - SSIM of every window that lies inside the pictures, in [0, 2].

    Raises:
        UserError: the pictures are smaller than a window.
    """
    if min(x.shape[-2:]) < WINDOW:
        raise UserError(f"SSIM needs images of at least {WINDOW} pixels; set training.losses.ssim_loss_weight: 0")
    shift_x, shift_y = _median(x), _median(y)
    x, y = x - shift_x, y - shift_y
    mean_x, mean_y, square_x, square_y, square_difference = blur(
        torch.stack([x, y, x.square(), y.square(), (x - y).square()])
    )
    variance_x = (square_x - mean_x.square()).clamp_min(0)
    variance_y = (square_y - mean_y.square()).clamp_min(0)
    variance_difference = (square_difference - (mean_x - mean_y).square()).clamp_min(0)
    mean_x, mean_y = mean_x + shift_x, mean_y + shift_y
    luminance = (mean_x - mean_y).square() / (mean_x.square() + mean_y.square() + C1)
    structure = variance_difference / (variance_x + variance_y + C2)
    return luminance + structure - luminance * structure


def blur(images: Float[Tensor, "*batch h w"]) -> Float[Tensor, "*batch p q"]:
    """Gaussian means over all windows inside the images; elsewhere than in `BANDED`, TF32 could spoil a product."""
    offset = torch.arange(WINDOW, dtype=images.dtype, device=images.device) - WINDOW // 2
    kernel = torch.exp(-offset.square() / (2 * DEVIATION**2))
    kernel = kernel / kernel.sum()
    if images.device.type in BANDED:
        return _band(kernel, images.shape[-2]) @ images @ _band(kernel, images.shape[-1]).mT
    channels = images.reshape(1, -1, *images.shape[-2:])
    for shape in ((1, WINDOW), (WINDOW, 1)):
        weight = kernel.reshape(1, 1, *shape).expand(channels.shape[1], 1, *shape)
        channels = conv2d(channels, weight, groups=channels.shape[1])
    return channels.reshape(*images.shape[:-2], *channels.shape[-2:])


def _band(kernel: Tensor, size: int) -> Tensor:
    rows = torch.arange(size - WINDOW + 1, device=kernel.device)[:, None]
    band = kernel.new_zeros(len(rows), size)
    return band.scatter(1, rows + torch.arange(WINDOW, device=kernel.device), kernel.expand(len(rows), WINDOW))


def _median(images: Tensor) -> Tensor:
    """A value that occurs in each channel: the background's, if that is half of the picture."""
    values = images.detach().flatten(-2).contiguous()  # torch 2.13's median of an expanded tensor is garbage
    if torch.are_deterministic_algorithms_enabled():  # CUDA's median refuses, because of indices that nobody asks for
        return values.sort(dim=-1).values[..., (values.shape[-1] - 1) // 2, None, None]
    return values.median(dim=-1).values[..., None, None]


def _bounded(per_picture: Tensor) -> Tensor:
    return per_picture.clamp(0, 1).mean()
