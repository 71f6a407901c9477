"""Tensors of which each process holds a part, as FSDP spreads parameters.

All other code treats parameters as if they were whole; these functions are where it must not. They do nothing to plain
tensors. Each is called by all processes in the same order.
"""

from typing import Any

import torch
from torch import Tensor


def whole(tensor: Tensor) -> Tensor:
    """All of a tensor, in every process."""
    collect = getattr(tensor, "full_tensor", None)
    return tensor if collect is None else collect()


def like(own: Tensor, value: Tensor) -> Tensor:
    """A whole tensor that every process has, spread as `own` is, on its device and in its type."""
    value = value.detach().to(own.device, own.dtype)
    if not hasattr(own, "full_tensor"):
        return value
    from torch.distributed.tensor import DTensor, distribute_tensor

    assert isinstance(own, DTensor)
    return distribute_tensor(value, own.device_mesh, own.placements)


@torch.no_grad()
def assign(own: Tensor, value: Tensor) -> None:
    """Put a whole tensor, which every process has, where this process holds its part of it."""
    own.copy_(like(own, value))


def gathered(content: Any, *, keep: bool) -> Any:
    """Plain containers with all their spread tensors whole, on the CPU where `keep` says so and dropped elsewhere."""
    if isinstance(content, dict):
        return {key: gathered(value, keep=keep) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return type(content)(gathered(value, keep=keep) for value in content)
    if hasattr(content, "full_tensor"):
        entire = whole(content)
        return entire.cpu() if keep else None
    return content
