"""Gaussians at one camera beside the picture that it took."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from gslrm import metrics
from gslrm.cameras import Cameras
from gslrm.data.images import read_image
from gslrm.data.masks import MaskPolicy, read_view
from gslrm.data.sample import SampleView
from gslrm.export import as_uint8
from gslrm.render import Rasterizer
from gslrm.types import Gaussians
from gslrm.view.scene import Grain, ViewCamera
from gslrm.visualize import error_heat_map

WHITE = torch.ones(3)
OPAQUE = 4  # channels of a picture with coverage


@dataclass(frozen=True)
class Comparison:
    """Rendering and photograph of one camera, on white; `mask` is the object's coverage, none where nobody knows it."""

    rendering: Float[Tensor, "3 h w"]
    photo: Float[Tensor, "3 h w"] | None = None
    mask: Float[Tensor, "1 h w"] | None = None

    def picture(self, kind: str, blend: float = 0.5) -> UInt8[np.ndarray, "h w 3"]:
        """`render`, `photo`, `blend` (share of the photo) or `error` (heat map; the whole picture without a mask).

        Without a photo the rendering is all there is to show.
        """
        if self.photo is None or kind == "render":
            return as_uint8(self.rendering)
        return as_uint8(PICTURES[kind](self, blend))

    @property
    def psnr(self) -> float | None:
        """In the object's box, in dB; none without photo or mask."""
        if self.photo is None or self.mask is None or not metrics.has_foreground(self.mask):
            return None
        return float(metrics.psnr_crop(self.rendering.clamp(0, 1), self.photo, self.mask))


def _heat(comparison: Comparison, _: float) -> Float[Tensor, "3 h w"]:
    assert comparison.photo is not None
    mask = torch.ones_like(comparison.photo[:1]) if comparison.mask is None else comparison.mask
    return error_heat_map(comparison.rendering[None], comparison.photo[None], mask[None])[0]


def _blend(comparison: Comparison, share: float) -> Float[Tensor, "3 h w"]:
    assert comparison.photo is not None
    return torch.lerp(comparison.rendering.clamp(0, 1), comparison.photo, share)


PICTURES: dict[str, Callable[[Comparison, float], Tensor]] = {
    "render": lambda comparison, _: comparison.rendering,
    "photo": lambda comparison, _: comparison.photo if comparison.photo is not None else comparison.rendering,
    "blend": _blend,
    "error": _heat,
}


def compare(gaussians: Gaussians, view: ViewCamera, rasterizer: Rasterizer, grain: Grain | None = None) -> Comparison:
    """Render Gaussians `[n]` at a camera, on white, and read the picture that it took.

    Raises:
        UserError: the picture or its mask is damaged.
    """
    rendering = render(gaussians, view.camera, rasterizer, grain)
    if view.stored is None or not view.stored.image_path.is_file():
        return Comparison(rendering)
    photo, mask = read_photo(view.stored)
    return Comparison(rendering, photo, mask)


@torch.inference_mode()
def render(
    gaussians: Gaussians, camera: Cameras, rasterizer: Rasterizer, grain: Grain | None = None
) -> Float[Tensor, "3 h w"]:
    """The picture of Gaussians `[n]` at an unbatched camera, on white, with the blur of the model's own pixels."""
    ratio = 1.0 if grain is None else grain.ratio(camera)
    scene = replace(gaussians.float())
    return rasterizer(scene[None], camera[None, None].float(), WHITE[None], resolution_ratio=ratio).rgb[0, 0]


def read_photo(view: SampleView) -> tuple[Float[Tensor, "3 h w"], Float[Tensor, "1 h w"] | None]:
    """A stored picture, on white where its coverage is known, and that coverage.

    Raises:
        UserError: the picture or its mask is damaged.
    """
    image = read_image(view.image_path)
    if image.shape[2] < OPAQUE and not view.mask_path.is_file():
        return torch.from_numpy(image).permute(2, 0, 1), None
    stored = torch.from_numpy(read_view(view, MaskPolicy())).permute(2, 0, 1)
    return (stored[:3] + 1 - stored[3:]).clamp(0, 1), stored[3:]
