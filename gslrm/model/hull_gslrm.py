"""GS-LRM that starts as the coloured visual hull of its input masks, from which it learns to depart.

Every covered pixel's Gaussian begins where its ray first meets the hull of the other masks (Laurentini 1994), in the
pixel's own colour, and the last layer begins at zero; so the first pictures are those of the hull, and all capacity
goes into what silhouettes cannot say.
"""

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor

from gslrm.config import ModelConfig
from gslrm.errors import UserError
from gslrm.exact import exact_float32
from gslrm.model.gaussian_head import channel_count, raster_from_patches
from gslrm.model.gslrm import GSLRM
from gslrm.model.hull_guide import HullGuide, hint_channels, look, shrink
from gslrm.model.hull_splats import empty_gaussians, free_gaussians, inner_gaussians, surface_gaussians
from gslrm.tensor_struct import concatenate, stack
from gslrm.types import Gaussians, Views


class HullGSLRM(GSLRM):
    """Views with masks to Gaussians: those of the learned tokens, then those of the covered pixels, view by view.

    A scene's Gaussians depend on nothing else in its batch; scenes that have fewer than another are filled up with
    Gaussians of opacity 0 at the end.
    """

    def __init__(self, config: ModelConfig) -> None:
        """Random weights; those of the last layer are 0."""
        super().__init__(config)
        self.pixel_gaussian_decoder[1].get_parameter("weight").data.zero_()

    def hint_channels(self) -> int:
        """See the base class: what the hull is like."""
        return hint_channels(self.config.hull)

    def splats(self) -> tuple[int, int]:
        """See the base class."""
        return self.config.hull.splats_per_token, 2 if self.config.hull.inner else 1

    def forward(self, views: Views) -> Gaussians:
        """Reconstruct a batch of scenes.

        Args:
            views: images [B, V, 3, H, W] in [0, 1] with masks and cameras [B, V].

        Returns:
            Gaussians [B, N] in the world of the cameras, float32.

        Raises:
            UserError: the image size is not a multiple of the patch size times `hull.detail`.
        """
        side = self.config.image_tokenizer.patch_size * self.config.hull.detail
        height, width = views.images.shape[-2:]
        if height % side or width % side:
            raise UserError(f"images of {width}x{height} are not whole patches of {side}; crop or resize them")
        with exact_float32(views.images.device.type):
            views = views.float()
            coarse = shrink(views, self.config.hull.detail)
            guides = [look(views[scene], coarse[scene], self.config.hull) for scene in range(len(views.images))]
            hints = torch.stack([guide.hints for guide in guides])
        tokens = self.attend(self.embed(coarse, hints), coarse)
        return self.decode_about(guides, tokens, coarse)

    def decode_about(self, guides: list[HullGuide], tokens: Float[Tensor, "b n d"], coarse: Views) -> Gaussians:
        """Gaussians of the final tokens, about the guides' hulls; depth and activations in float32."""
        count, per_token = self.config.gaussians.n_gaussians, self.config.hull.splats_per_token
        learned = self.gaussian_upsampler(tokens[:, :count])
        pixels = self.pixel_gaussian_decoder(tokens[:, count:])
        with exact_float32(tokens.device.type):
            free = rearrange(learned.float(), "b n (k c) -> b (n k) c", k=per_token)
            rasters = self._rasters(pixels.float(), coarse)
            scenes = [self._scene(*parts) for parts in zip(guides, free, rasters, strict=True)]
        longest = max(len(scene.opacities) for scene in scenes)
        return stack([_filled(scene, longest) for scene in scenes])

    def _rasters(self, raw: Float[Tensor, "b l e"], coarse: Views) -> Float[Tensor, "b v h w c"]:
        patch = self.config.image_tokenizer.patch_size
        views, (height, width) = coarse.images.shape[1], coarse.images.shape[-2:]
        pixels = rearrange(raw, "b l (p c) -> b (l p) c", p=patch**2)
        return raster_from_patches(pixels, views=views, height=height, width=width, patch=patch)

    def _scene(self, guide: HullGuide, free: Float[Tensor, "f c"], raster: Float[Tensor, "v h w e"]) -> Gaussians:
        view, row, column = guide.rays.pixels.unbind(1)
        detail = self.config.hull.detail
        raw = raster[view, row // detail, column // detail]
        channels = channel_count(self.config.gaussians.sh_degree)
        parts = [free_gaussians(free, guide, self.config), surface_gaussians(raw[:, :channels], guide, self.config)]
        if self.config.hull.inner:
            parts.append(inner_gaussians(raw[:, channels:], guide, self.config))
        return concatenate(parts)


def _filled(scene: Gaussians, count: int) -> Gaussians:
    missing = count - len(scene.opacities)
    return concatenate([scene, empty_gaussians(missing, scene)]) if missing else scene
