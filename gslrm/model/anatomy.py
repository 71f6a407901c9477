"""Parts of a network, told from its parameters' names."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

BLOCK = re.compile(r"(transformer_layers\.\d+|unet\.(?:down_blocks\.\d+|mid_block|up_blocks\.\d+))\.")
SCOPE = "unet."  # of LGM, all but its last convolution


@dataclass(frozen=True)
class Anatomy:
    """What comes first, the blocks, and what writes Gaussians; patterns as `gslrm.model.patterns` takes them."""

    embedding: tuple[str, ...]
    """Patterns."""
    blocks: tuple[str, ...]
    """Prefixes with the dot, in the order of computing; none for networks of no known family."""
    early: int
    """Blocks that preset `conservative` freezes: those that read pictures."""
    heads: tuple[str, ...]
    """Prefixes."""
    last: tuple[str, ...]
    """Prefixes of the linear map that writes the pixel Gaussians."""
    linear: tuple[str, ...]
    """Patterns of the linear layers that LoRA adapts if none are named."""

    def block_of(self, name: str) -> int | None:
        """The block that a parameter belongs to."""
        match = BLOCK.match(name)
        return self.blocks.index(match[0]) if match else None

    def rate_share(self, name: str, *, decay: float) -> float:
        """A parameter's learning rate of the heads': `decay` to the number of blocks between them.

        The embedding counts as the block before the first (Clark et al. 2020, layer-wise decay).
        """
        if name.startswith(self.heads):
            return 1.0
        block = self.block_of(name)
        return decay ** (len(self.blocks) + 1 if block is None else len(self.blocks) - block)


def anatomy_of(names: Iterable[str]) -> Anatomy:
    """Parts of the network whose parameters have these published names, in the order of the network."""
    blocks = tuple(dict.fromkeys(match[0] for match in map(BLOCK.match, names) if match))
    if blocks and blocks[0].startswith(SCOPE):
        return Anatomy(
            embedding=("unet.conv_in.*",),
            blocks=blocks,
            early=sum("up_blocks" not in block for block in blocks),
            heads=("unet.norm_out.", "unet.conv_out.", "conv."),
            last=("unet.conv_out.", "conv."),  # nothing lies between the two
            linear=("unet.*.attn.*",),
        )
    return Anatomy(
        embedding=("*_embeddings", "patch_embedder.*", "input_layer_norm.*"),
        blocks=blocks,
        early=2 * len(blocks) // 3,
        heads=("gaussian_upsampler.", "pixel_gaussian_decoder."),
        last=("pixel_gaussian_decoder.1.",),
        linear=("transformer_layers.*.attn.*", "transformer_layers.*.mlp.*"),
    )


def part_of(name: str) -> tuple[str, int | None]:
    """What a parameter is listed under: the part of the network, and its number in a row of them."""
    match = BLOCK.match(name)
    if match is None:
        return name.removeprefix(SCOPE).partition(".")[0], None
    row, _, number = match[1].removeprefix(SCOPE).partition(".")
    return row, int(number) if number else None
