"""Rendering without a graph: each view is rendered again when its gradients are asked for.

The memory of one view's splats is then enough for any number of views, at the price of a second forward pass.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

RenderView = Callable[..., tuple[Tensor, ...]]


def render_deferred(render_view: RenderView, views: int, tensors: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Concatenate what `render_view(view, *tensors)` gives for each view; equal to doing so directly.

    Gradients reach `tensors` and nothing else, so `render_view` must not capture a tensor that wants one. They are sums
    over views in the order of the views, hence equal to the direct ones up to rounding.
    """
    return _RenderDeferred.apply(render_view, views, *tensors)


class _RenderDeferred(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, render_view: RenderView, views: int, *tensors: Tensor) -> tuple[Tensor, ...]:
        ctx.render_view = render_view
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(*tensors)
        rendered = [render_view(view, *tensors) for view in range(views)]  # autograd is off inside a Function
        ctx.lengths = [outputs[0].shape[0] for outputs in rendered]
        return tuple(torch.cat(outputs) for outputs in zip(*rendered, strict=True))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        needed = ctx.needs_input_grad[2:]
        leaves = [t.detach().requires_grad_(need) for t, need in zip(ctx.saved_tensors, needed, strict=True)]
        per_view = [_split(gradient, ctx.lengths) for gradient in gradients]
        # Someone may call backward inside autocast, which would reach the operations below.
        with torch.enable_grad(), torch.autocast(leaves[0].device.type, enabled=False):
            for view, of_outputs in enumerate(zip(*per_view, strict=True)):
                _backward(ctx.render_view(view, *leaves), of_outputs)
        return None, None, *(leaf.grad for leaf in leaves)


def _backward(outputs: tuple[Tensor, ...], gradients: tuple[Tensor | None, ...]) -> None:
    pairs = [(o, g) for o, g in zip(outputs, gradients, strict=True) if g is not None and o.requires_grad]
    if pairs:
        torch.autograd.backward([output for output, _ in pairs], [gradient for _, gradient in pairs])


def _split(gradient: Tensor | None, lengths: list[int]) -> list[Tensor | None]:
    return [None] * len(lengths) if gradient is None else list(gradient.split(lengths))
