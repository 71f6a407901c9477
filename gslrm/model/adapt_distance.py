"""A pull towards the weights that a run began with.

L2-SP (Li, Grandvalet and Davoine, "Explicit inductive bias for transfer learning", ICML 2018): half the squared
distance. Its gradient is known, so it is added once per update, and no graph is built.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from gslrm.model.adapt_lora import low_rank_pairs
from gslrm.model.adapter import DOWN, UP, trainable
from gslrm.model.spread import like, whole


class DistancePenalty:
    """`weight / 2 * |W - W_0|^2` over what is trained.

    For LoRA the distance is that of the merged weights, `|scale * B A|^2`, from the small matrices B'B and A A'.
    """

    def __init__(self, model: nn.Module, *, weight: float, scale: float, start: Mapping[str, Tensor]) -> None:
        """`start` holds the weights of the beginning by published name; those that are trained are copied."""
        self.weight = weight
        self.scale = scale
        self.pairs = low_rank_pairs(model)
        whole = {name: value for name, value in trainable(model).items() if not name.endswith((DOWN, UP))}
        self.anchored = [(value, like(value, start[name]).clone()) for name, value in whole.items()]

    @torch.no_grad()
    def add_gradients(self) -> float:
        """Add the penalty's gradient where there is a gradient already.

        Returns:
            Half the squared distance, not weighted.
        """
        squares = [self._pull(parameter, anchor) for parameter, anchor in self.anchored]
        squares += [self._pull_low_rank(down, up) for down, up in self.pairs]
        return 0.5 * float(torch.stack([whole(square) for square in squares]).sum())

    def _pull(self, parameter: nn.Parameter, anchor: Tensor) -> Tensor:
        change = parameter.detach() - anchor
        if parameter.grad is not None:
            parameter.grad.add_(change, alpha=self.weight)
        return change.square().sum()

    def _pull_low_rank(self, down: nn.Parameter, up: nn.Parameter) -> Tensor:
        inner, outer = self.scale**2 * down @ down.T, up.T @ up
        if down.grad is not None and up.grad is not None:
            up.grad.add_(up @ inner, alpha=self.weight)
            down.grad.add_(self.scale**2 * outer @ down, alpha=self.weight)
        return (inner * outer).sum()
