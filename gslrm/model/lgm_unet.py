"""LGM's U-Net over several views, with the original's parameter names.

Tang et al., "LGM: Large Multi-View Gaussian Model for High-Resolution 3D Content Creation" (ECCV 2024).
"""

import math
from collections.abc import Sequence
from itertools import pairwise, zip_longest

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from gslrm.config import LgmShape
from gslrm.config.lgm import GROUPS
from gslrm.exact import exact_float32

HEADS = 16
QUERIES = 256  # at a time where scores are written out: a long sequence's would take gigabytes
NORM_EPSILON = 1e-5
SUM_SCALE = math.sqrt(0.5)  # a sum of two independent terms keeps their variance
NETS_DOWN, NETS_UP = 2, 3  # the way up has one more, for what each level is given by downsampling


class Norm(nn.GroupNorm):
    """Group norm of each view by itself."""

    def __init__(self, width: int) -> None:
        super().__init__(GROUPS, width, eps=NORM_EPSILON)

    def forward(self, maps: Float[Tensor, "bv c h w"]) -> Float[Tensor, "bv c h w"]:
        """Statistics of each view and group."""
        if torch.is_grad_enabled() and not maps.requires_grad:
            # torch 2.13 crashes on a CPU in the backward pass of a norm behind frozen layers, where channels come last
            # in memory, as attention leaves them
            maps = maps.contiguous()
        return super().forward(maps)


class Attention(nn.Module):
    """Full multi-head attention; q, k and v are thirds of one projection, heads contiguous."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.proj = nn.Linear(width, width)

    def forward(self, tokens: Float[Tensor, "b n d"]) -> Float[Tensor, "b n d"]:
        """Every token attends to every token."""
        query, key, value = rearrange(self.qkv(tokens), "b n (three h e) -> three b h n e", three=3, h=HEADS)
        return self.proj(rearrange(_mix(query, key, value), "b h n e -> b n (h e)"))


class MVAttention(nn.Module):
    """Attention among all pixels of all views of a sample; where views hear of one another."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = Norm(width)
        self.attn = Attention(width)

    def forward(self, maps: Float[Tensor, "bv d h w"], views: int) -> Float[Tensor, "bv d h w"]:
        """`maps` hold the `views` of a sample one after another, then the next sample's; norms are each view's own."""
        height = maps.shape[-2]
        mixed = self.attn(rearrange(self.norm(maps), "(b v) d h w -> b (v h w) d", v=views))
        return (rearrange(mixed, "b (v h w) d -> (b v) d h w", v=views, h=height) + maps) * SUM_SCALE


class ResnetBlock(nn.Module):
    """Norm, SiLU and convolution, twice, beside a shortcut from the raw input."""

    def __init__(self, given: int, width: int) -> None:
        super().__init__()
        self.norm1 = Norm(given)
        self.conv1 = nn.Conv2d(given, width, 3, padding=1)
        self.norm2 = Norm(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1)
        self.shortcut = nn.Identity() if given == width else nn.Conv2d(given, width, 1)

    def forward(self, maps: Float[Tensor, "bv c h w"]) -> Float[Tensor, "bv d h w"]:
        """Each view by itself."""
        inner = self.conv1(nn.functional.silu(self.norm1(maps)))
        inner = self.conv2(nn.functional.silu(self.norm2(inner)))
        return (inner + self.shortcut(maps)) * SUM_SCALE


class Stage(nn.Module):
    """Layers of one resolution: a ResnetBlock each, the first `attentions` of them followed by MVAttention."""

    def __init__(self, widths: Sequence[tuple[int, int]], *, attentions: int) -> None:
        super().__init__()
        self.nets = nn.ModuleList(ResnetBlock(given, width) for given, width in widths)
        self.attns = nn.ModuleList(MVAttention(width) for _, width in widths[:attentions])
        self.checkpoint_every = 0

    def run(self, maps: Tensor, skips: Sequence[Tensor], views: int) -> list[Tensor]:
        """Outputs of all layers; a layer is given the output of the one before it and, where there are any, its skip.

        With `checkpoint_every` groups of so many layers are computed again in the backward pass of training.
        """
        if not (self.checkpoint_every and self.training and torch.is_grad_enabled()):
            return self._run(0, len(self.nets), maps, skips, views)
        outputs: list[Tensor] = []
        for start in range(0, len(self.nets), self.checkpoint_every):
            stop = start + self.checkpoint_every
            given = outputs[-1] if outputs else maps
            outputs += checkpoint(self._run, start, stop, given, skips, views, use_reentrant=False)
        return outputs

    def _run(self, start: int, stop: int, maps: Tensor, skips: Sequence[Tensor], views: int) -> list[Tensor]:
        outputs = []
        layers = zip_longest(self.nets, self.attns, skips)
        for net, attention, skip in list(layers)[start:stop]:
            maps = net(maps if skip is None else torch.cat([maps, skip], dim=1))
            maps = maps if attention is None else attention(maps, views)
            outputs.append(maps)
        return outputs


class DownBlock(Stage):
    """One level of the way down; halves the side unless it is the `last`."""

    def __init__(self, given: int, width: int, *, attention: bool, last: bool) -> None:
        super().__init__([(given, width), (width, width)], attentions=NETS_DOWN * attention)
        self.downsample = None if last else nn.Conv2d(width, width, 3, stride=2, padding=1)

    def forward(self, maps: Float[Tensor, "bv c h w"], views: int) -> list[Tensor]:
        """What is kept for the way up, the block's result last."""
        outputs = self.run(maps, [], views)
        return outputs if self.downsample is None else [*outputs, self.downsample(outputs[-1])]


class MidBlock(Stage):
    """The coarsest level: resnet, attention, resnet."""

    def __init__(self, width: int) -> None:
        super().__init__([(width, width)] * 2, attentions=1)

    def forward(self, maps: Float[Tensor, "bv c h w"], views: int) -> Float[Tensor, "bv c h w"]:
        """All views of all samples."""
        return self.run(maps, [], views)[-1]


class UpBlock(Stage):
    """One level of the way up; doubles the side unless it is the `last`."""

    def __init__(self, given: int, width: int, skips: Sequence[int], *, attention: bool, last: bool) -> None:
        incoming = [given, width, width]
        super().__init__(
            [(own + skip, width) for own, skip in zip(incoming, skips, strict=True)], attentions=NETS_UP * attention
        )
        self.upsample = None if last else nn.Conv2d(width, width, 3, padding=1)

    def forward(self, maps: Float[Tensor, "bv c h w"], skips: list[Tensor], views: int) -> Float[Tensor, "bv d h2 w2"]:
        """`skips` in the order in which the layers take them."""
        maps = self.run(maps, skips, views)[-1]
        if self.upsample is None:
            return maps
        return self.upsample(nn.functional.interpolate(maps, scale_factor=2.0, mode="nearest"))


class UNet(nn.Module):
    """Down, through the middle, and up as far as the maps of Gaussians are large."""

    def __init__(self, shape: LgmShape, *, given: int, channels: int) -> None:
        super().__init__()
        widths = shape.down_channels
        self.conv_in = nn.Conv2d(given, widths[0], 3, padding=1)
        self.down_blocks = nn.ModuleList(
            DownBlock(before, width, attention=attention, last=index == len(widths) - 1)
            for index, ((before, width), attention) in enumerate(
                zip(pairwise([widths[0], *widths]), shape.down_attention, strict=True)
            )
        )
        self.mid_block = MidBlock(widths[-1])
        kept = skip_widths(widths)
        self.up_blocks = nn.ModuleList(
            UpBlock(
                before,
                width,
                [kept.pop() for _ in range(NETS_UP)],
                attention=attention,
                last=index == len(shape.up_channels) - 1,
            )
            for index, ((before, width), attention) in enumerate(
                zip(pairwise([widths[-1], *shape.up_channels]), shape.up_attention, strict=True)
            )
        )
        self.norm_out = Norm(shape.up_channels[-1])
        self.conv_out = nn.Conv2d(shape.up_channels[-1], channels, 3, padding=1)

    def forward(self, maps: Float[Tensor, "bv c h w"], views: int) -> Float[Tensor, "bv d h2 w2"]:
        """Maps in float32 for every view; the last convolution is outside autocast, as positions come out of it."""
        maps = self.conv_in(maps)
        kept = [maps]
        for block in self.down_blocks:
            kept += block(maps, views)
            maps = kept[-1]
        maps = self.mid_block(maps, views)
        for block in self.up_blocks:
            maps = block(maps, [kept.pop() for _ in range(NETS_UP)], views)
        with exact_float32(maps.device.type):
            return self.conv_out(nn.functional.silu(self.norm_out(maps.float())))

    def stages(self) -> list[Stage]:
        """In the order of computing."""
        blocks = [*self.down_blocks, self.mid_block, *self.up_blocks]
        return [block for block in blocks if isinstance(block, Stage)]


def skip_widths(widths: Sequence[int]) -> list[int]:
    """Widths of what the way down keeps: the first convolution, and each layer and each downsampling after it."""
    levels = [[width] * (NETS_DOWN + 1) for width in widths]
    return [widths[0], *(width for level in levels for width in level)][:-1]  # the last level is not downsampled


def _mix(
    query: Float[Tensor, "b h n e"], key: Float[Tensor, "b h n e"], value: Float[Tensor, "b h n e"]
) -> Float[Tensor, "b h n e"]:
    """`softmax(query key / sqrt(e)) value`.

    In float32 on a CPU, without gradients, in the published code's order of operations, whose rounding it then has (the
    fused kernel differs by 2e-5 in the raw maps, and is faster by a third at most).
    """
    query = query * query.shape[-1] ** -0.5
    if query.device.type == "cpu" and query.dtype == torch.float32 and not torch.is_grad_enabled():
        parts = [(part @ key.mT).softmax(dim=-1) @ value for part in query.split(QUERIES, dim=-2)]
        return torch.cat(parts, dim=-2)
    return nn.functional.scaled_dot_product_attention(query, key, value, scale=1.0)
