"""Images, coverages, depths to PNG files."""

import math

import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import Image
from torch import Tensor

from gslrm.export.files import AnyPath, replacing

MAX_DEPTH_VALUE = 65535  # of a 16-bit PNG


def as_uint8(image: Float[Tensor, "c h w"]) -> UInt8[np.ndarray, "h w c"]:
    """A picture of an image in [0, 1]: clamped, rounded to the nearest of 256 levels, channels last.

    Raises:
        ValueError: the image holds NaN.
    """
    levels = (image.detach().float() * 255).clamp_(0, 255).round_()
    if levels.sum().isnan():
        raise ValueError("the image holds NaN")
    return levels.to(torch.uint8).permute(1, 2, 0).cpu().contiguous().numpy()


def write_png(path: AnyPath, image: Float[Tensor, "c h w"]) -> None:
    """Write an RGB image or a coverage (three channels or one) in [0, 1] as an 8-bit PNG."""
    write_picture(path, as_uint8(image))


def write_picture(path: AnyPath, picture: UInt8[np.ndarray, "h w c"]) -> None:
    """Write a picture that already has 256 levels, with three channels or one."""
    _save(path, picture if picture.shape[-1] == 3 else picture[..., 0])


def depth_scale(max_depth: float) -> float:
    """The largest of 1, 2, 5 x 10^k with which depths up to `max_depth` fit a 16-bit PNG: value = round(depth x scale).

    Raises:
        ValueError: the depth is negative or not finite.
    """
    if not 0 <= max_depth < math.inf:
        raise ValueError(f"the largest depth must be finite and not negative, got {max_depth}")
    if max_depth == 0:  # nothing was rendered, every scale is right
        return 1.0
    power = 10.0 ** math.floor(math.log10(MAX_DEPTH_VALUE / max_depth))
    return max(factor * power for factor in (0.5, 1, 2, 5) if factor * power * max_depth <= MAX_DEPTH_VALUE)


def write_depth(path: AnyPath, depth: Float[Tensor, "1 h w"], scale: float) -> None:
    """Write depths as a 16-bit PNG of round(depth x scale); choose one scale for all views with `depth_scale`.

    Raises:
        ValueError: a depth does not fit.
    """
    values = (depth[0].detach().cpu().double() * scale).round().numpy()
    if not ((values >= 0) & (values <= MAX_DEPTH_VALUE)).all():
        raise ValueError(f"depths between 0 and {MAX_DEPTH_VALUE / scale:g} fit scale {scale:g}; use depth_scale()")
    _save(path, values.astype(np.uint16))


def _save(path: AnyPath, pixels: np.ndarray) -> None:
    with replacing(path) as temporary:
        Image.fromarray(pixels).save(temporary, format="PNG")
