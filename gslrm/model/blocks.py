"""Pre-norm transformer blocks with the parameter names of FaceLift's GS-LRM."""

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from gslrm.config import TransformerConfig


class SelfAttention(nn.Module):
    """Full multi-head attention without biases; q, k and v are thirds of one projection, heads contiguous."""

    def __init__(self, d: int, d_head: int) -> None:
        super().__init__()
        self.d_head = d_head
        self.to_qkv = nn.Linear(d, 3 * d, bias=False)
        self.fc = nn.Linear(d, d, bias=False)

    def forward(self, tokens: Float[Tensor, "b n d"]) -> Float[Tensor, "b n d"]:
        """Every token attends to every token."""
        query, key, value = rearrange(self.to_qkv(tokens), "b n (three h e) -> three b h n e", three=3, e=self.d_head)
        mixed = nn.functional.scaled_dot_product_attention(query, key, value)
        return self.fc(rearrange(mixed, "b h n e -> b n (h e)"))


class FeedForward(nn.Module):
    """Two linear layers without biases around the exact GELU."""

    def __init__(self, d: int) -> None:
        super().__init__()
        self.mlp = nn.Sequential(nn.Linear(d, 4 * d, bias=False), nn.GELU(), nn.Linear(4 * d, d, bias=False))

    def forward(self, tokens: Float[Tensor, "b n d"]) -> Float[Tensor, "b n d"]:
        """Each token by itself."""
        return self.mlp(tokens)


class Block(nn.Module):
    """`x += attention(norm(x)); x += feed_forward(norm(x))`."""

    def __init__(self, d: int, d_head: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(d, bias=False)
        self.norm2 = nn.LayerNorm(d, bias=False)
        self.attn = SelfAttention(d, d_head)
        self.mlp = FeedForward(d)

    def forward(self, tokens: Float[Tensor, "b n d"]) -> Float[Tensor, "b n d"]:
        """One block."""
        tokens = tokens + self.attn(self.norm1(tokens))
        return tokens + self.mlp(self.norm2(tokens))


class Transformer(nn.ModuleList):
    """A stack of blocks that may recompute activations in the backward pass, only while training."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__(Block(config.d, config.d_head) for _ in range(config.n_layer))
        self.checkpoint_every = 0

    def forward(self, tokens: Float[Tensor, "b n d"]) -> Float[Tensor, "b n d"]:
        """All blocks."""
        if not (self.checkpoint_every and self.training and torch.is_grad_enabled()):
            return _run(list(self), tokens)
        for start in range(0, len(self), self.checkpoint_every):
            blocks = list(self)[start : start + self.checkpoint_every]
            tokens = checkpoint(_run, blocks, tokens, use_reentrant=False)
        return tokens


def _run(blocks: list[nn.Module], tokens: Tensor) -> Tensor:
    for block in blocks:
        tokens = block(tokens)
    return tokens
