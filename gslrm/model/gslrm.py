"""GS-LRM: a transformer over ray-embedded images to pixel-aligned 3D Gaussians.

Zhang et al., "GS-LRM: Large Reconstruction Model for 3D Gaussian Splatting" (ECCV 2024), in the form published with
FaceLift (Lyu et al., ICCV 2025), whose weights it loads by their own names.
"""

from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor, nn

from gslrm.config import ModelConfig
from gslrm.errors import UserError
from gslrm.exact import exact_float32
from gslrm.model.blocks import Transformer
from gslrm.model.gaussian_head import (
    channel_count,
    embed_rays,
    expand_batch,
    global_gaussians,
    patches_from_raster,
    patchify,
    pixel_gaussians,
)
from gslrm.model.visual_hull import first_hits
from gslrm.types import Gaussians, Views

EMBEDDING_STD = 0.02
COVERED = 0.1  # coverage from which a pixel shows the object: a tail covers few pixels more than half
VIEW_TYPES = 2  # reference, source


class GaussianUpsampler(nn.Module):
    """Head of the global tokens: one Gaussian each."""

    def __init__(self, d: int, channels: int) -> None:
        super().__init__()
        self.layernorm = nn.LayerNorm(d, bias=False)
        self.linear = nn.Linear(d, channels, bias=False)

    def forward(self, tokens: Float[Tensor, "b n d"]) -> Float[Tensor, "b n c"]:
        """Raw channels of one Gaussian per token."""
        return self.linear(self.layernorm(tokens))


class GSLRM(nn.Module):
    """Views to Gaussians.

    Gaussians come global tokens first, then pixel Gaussians in patch order: view, patch row, patch column, row, column.
    Image sides may be any multiples of the patch size, and any number of views is taken.
    """

    def __init__(self, config: ModelConfig) -> None:
        """Random weights: normal with `init_std`, or with 1 / sqrt(input width) where that is none."""
        super().__init__()
        self.config = config
        width, patch = config.transformer.d, config.image_tokenizer.patch_size
        channels = channel_count(config.gaussians.sh_degree)
        if config.add_refsrc_marker:
            self.view_type_embeddings = nn.Parameter(torch.empty(VIEW_TYPES, width))
        self.gaussian_position_embeddings = nn.Parameter(torch.empty(config.gaussians.n_gaussians, width))
        self.patch_embedder = nn.Sequential(
            nn.Identity(),
            nn.Linear((config.image_tokenizer.in_channels + self.hint_channels()) * patch**2, width, bias=False),
        )
        self.input_layer_norm = nn.LayerNorm(width, bias=False)
        self.transformer_layers = Transformer(config.transformer)
        splats_per_token, splats_per_pixel = self.splats()
        self.gaussian_upsampler = GaussianUpsampler(width, channels * splats_per_token)
        self.pixel_gaussian_decoder = nn.Sequential(
            nn.LayerNorm(width, bias=False), nn.Linear(width, channels * splats_per_pixel * patch**2, bias=False)
        )
        self.apply(self._initialise)
        for name, parameter in self.named_parameters(recurse=False):
            if name.endswith("embeddings"):
                nn.init.trunc_normal_(parameter, std=EMBEDDING_STD)

    def forward(self, views: Views) -> Gaussians:
        """Reconstruct a batch of scenes.

        Args:
            views: images [B, V, 3, H, W] in [0, 1] with their cameras [B, V]; masks are used by `drop_background` only.

        Returns:
            Gaussians [B, N] in the world of the cameras, float32, N = n_gaussians + V * H * W.

        Raises:
            UserError: the image size is not a multiple of the patch size.
        """
        patch = self.config.image_tokenizer.patch_size
        height, width = views.images.shape[-2:]
        if height % patch or width % patch:
            raise UserError(f"images of {width}x{height} are not whole patches of {patch}; crop or resize them")
        tokens = self.attend(self.embed(views), views)
        return self.decode(tokens, views)

    def hint_channels(self) -> int:
        """Channels of the input beside colours and rays."""
        return 0

    def splats(self) -> tuple[int, int]:
        """Gaussians per learned token, and per pixel."""
        return 1, 1

    def blocks(self) -> list[nn.Module]:
        """What is compiled, and spread over processes, piece by piece."""
        return list(self.transformer_layers)

    def recompute_every(self, blocks: int) -> None:
        """Recompute activations in groups of this many blocks in the backward pass of training; 0 keeps them all."""
        self.transformer_layers.checkpoint_every = blocks

    def clip(self, wanted: bool) -> None:
        """Clamp pixel Gaussians to [-1, 1]^3 or not, whatever `clip_xyz` says: FaceLift's first passes do without."""
        self.config = self.config.model_copy(update={"clip_xyz": wanted})

    def embed(self, views: Views, hints: Float[Tensor, "b v c h w"] | None = None) -> Float[Tensor, "b n d"]:
        """Tokens after the input norm: learned global tokens, then image tokens view by view."""
        with exact_float32(views.images.device.type):
            posed = torch.cat(
                [2 * views.images[:, :, :3].float() - 1, embed_rays(views.cameras.float(), self.config)]
                + ([] if hints is None else [hints]),
                dim=2,
            )
        images = self.patch_embedder(patchify(posed, patch=self.config.image_tokenizer.patch_size))
        if self.config.add_refsrc_marker:
            images = images + self._view_types(views, tokens_per_view=images.shape[1] // views.images.shape[1])
        learned = expand_batch(self.gaussian_position_embeddings, images.shape[0])
        return self.input_layer_norm(torch.cat([learned.to(images.dtype), images], dim=1))

    def attend(self, tokens: Float[Tensor, "b n d"], views: Views) -> Float[Tensor, "b n d"]:
        """The transformer; with `drop_background` over the tokens that show something, the others come out as 0.

        Scenes then go through one by one, so that no scene's result depends on the others of its batch.
        """
        if not self.config.drop_background:
            return self.transformer_layers(tokens)
        shown = patchify(views.masks, patch=self.config.image_tokenizer.patch_size).amax(dim=-1) > COVERED
        shown = torch.cat([shown.new_ones(len(shown), self.config.gaussians.n_gaussians), shown], dim=1)
        attended = torch.zeros_like(tokens)
        for scene, kept in enumerate(shown):
            attended[scene, kept] = self.transformer_layers(tokens[scene : scene + 1, kept])[0]
        return attended

    def decode(self, tokens: Float[Tensor, "b n d"], views: Views) -> Gaussians:
        """Gaussians of the final tokens; depth and activations in float32."""
        count = self.config.gaussians.n_gaussians
        learned = self.gaussian_upsampler(tokens[:, :count])
        pixels = self.pixel_gaussian_decoder(tokens[:, count:])
        with exact_float32(tokens.device.type):
            first = global_gaussians(learned.float(), self.config.gaussians)
            rest = self._decode_pixels(pixels.float(), views.float())
        return concatenate(first, rest)

    def _decode_pixels(self, raw: Float[Tensor, "b l c"], views: Views) -> Gaussians:
        if not self.config.drop_background:
            return pixel_gaussians(raw, views.cameras, self.config)
        covered, anchor = views.masks[:, :, 0] > COVERED, None
        if self.config.depth_anchor == "hull":
            anchor = first_hits(views, covered, half_range=self.config.hull_range, samples=self.config.hull_samples)
        gaussians = pixel_gaussians(raw, views.cameras, self.config, anchor)
        order = patches_from_raster(covered[..., None], patch=self.config.image_tokenizer.patch_size)[..., 0]
        return replace(gaussians, opacities=gaussians.opacities * order)

    def _view_types(self, views: Views, *, tokens_per_view: int) -> Float[Tensor, "n d"]:
        kind = torch.ones(views.images.shape[1], dtype=torch.long, device=views.images.device)
        kind[0] = 0
        return self.view_type_embeddings[kind].repeat_interleave(tokens_per_view, dim=0)

    def _initialise(self, module: nn.Module) -> None:
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=self.config.init_std or module.in_features**-0.5)


def concatenate(first: Gaussians, second: Gaussians) -> Gaussians:
    """One set of Gaussians from two, per scene."""
    return Gaussians(
        means=torch.cat([first.means, second.means], dim=1),
        scales=torch.cat([first.scales, second.scales], dim=1),
        rotations=torch.cat([first.rotations, second.rotations], dim=1),
        opacities=torch.cat([first.opacities, second.opacities], dim=1),
        harmonics=torch.cat([first.harmonics, second.harmonics], dim=1),
    )
