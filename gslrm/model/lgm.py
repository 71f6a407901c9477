"""LGM: a multi-view U-Net over ray-embedded images to free 3D Gaussians.

Tang et al., "LGM: Large Multi-View Gaussian Model for High-Resolution 3D Content Creation" (ECCV 2024), whose weights
it loads by their own names.
"""

from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from gslrm.config import ModelConfig
from gslrm.errors import UserError
from gslrm.exact import exact_float32
from gslrm.model.lgm_head import CHANNELS, activate
from gslrm.model.lgm_input import canonical_input
from gslrm.model.lgm_unet import UNet
from gslrm.similarity import Similarity
from gslrm.tensor_struct import stack
from gslrm.types import Gaussians, Views

INPUT_CHANNELS = 9  # colour, moment, direction


class LGM(nn.Module):
    """Views to Gaussians.

    Any number of views is taken, and image sides may be any multiples of `config.lgm.shape.side_multiple`. Gaussians
    come view by view, row by row, one for `reduction` pixels of an image and axis.
    """

    def __init__(self, config: ModelConfig) -> None:
        """Random weights, as torch begins its layers."""
        super().__init__()
        self.config = config
        self.unet = UNet(config.lgm.shape, given=INPUT_CHANNELS, channels=CHANNELS)
        self.conv = nn.Conv2d(CHANNELS, CHANNELS, 1)

    def forward(self, views: Views) -> Gaussians:
        """Reconstruct a batch of scenes.

        Args:
            views: images [B, V, 3, H, W] in [0, 1] on white with their cameras [B, V]; the first camera's frame is the
                one that the network works in. Masks are not looked at.

        Returns:
            Gaussians [B, N] in the world of the cameras, float32, N = V * H * W / reduction^2.

        Raises:
            UserError: the image size cannot be halved as often as the network does.
        """
        self._require_whole_halves(views)
        with exact_float32(views.images.device.type):
            images, canonical_from_world = canonical_input(views)
        return self.decode_into(self.forward_maps(images), canonical_from_world)

    def forward_maps(self, images: Float[Tensor, "b v 9 h w"]) -> Float[Tensor, "b v 14 h2 w2"]:
        """Raw maps of all views, float32."""
        views = images.shape[1]
        maps = self.unet(rearrange(images, "b v c h w -> (b v) c h w"), views)
        with exact_float32(maps.device.type):
            return rearrange(self.conv(maps), "(b v) c h w -> b v c h w", v=views)

    def decode(self, raw: Float[Tensor, "b v 14 h w"]) -> Gaussians:
        """Gaussians of raw maps in the canonical frame."""
        return activate(raw, legacy_rotation=self.config.lgm.legacy_rotation)

    def decode_into(self, raw: Float[Tensor, "b v 14 h w"], canonical_from_world: Similarity) -> Gaussians:
        """Gaussians of raw maps in the world of the views."""
        gaussians = self.decode(raw)
        with exact_float32(raw.device.type):
            scenes = [gaussians[scene].transform(canonical_from_world[scene].inverse()) for scene in range(len(raw))]
            return stack(scenes)

    def blocks(self) -> list[nn.Module]:
        """What is compiled, and spread over processes, piece by piece."""
        return list(self.unet.stages())

    def recompute_every(self, blocks: int) -> None:
        """Recompute activations in groups of this many layers in the backward pass of training; 0 keeps them all."""
        for stage in self.unet.stages():
            stage.checkpoint_every = blocks

    def _require_whole_halves(self, views: Views) -> None:
        multiple, (height, width) = self.config.lgm.shape.side_multiple, views.images.shape[-2:]
        if height % multiple or width % multiple:
            raise UserError(
                f"images of {width}x{height} cannot be halved to multiples of {multiple}; crop or resize them"
            )
