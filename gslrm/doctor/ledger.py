"""A ledger of living tensors: how many bytes a pass holds at its peak, and how much it computes.

The pass may run on tensors that have a shape and no memory (torch's fake tensors), so a network of any size is
rehearsed in a second. What is seen are the results of torch's operators; what a kernel allocates for itself while it
runs is not.
"""

import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

aten = torch.ops.aten
ATTENTION = aten._scaled_dot_product_flash_attention_for_cpu
ATTENTION_BACKWARD = aten._scaled_dot_product_flash_attention_for_cpu_backward
WEIGHT_COPIES = "weight copies of autocast"


class Ledger(TorchDispatchMode):
    """Notes every storage when it is born and when it dies, under the label of the moment.

    Operations ask for the bytes of their inputs and outputs, which is what elementwise ones cost; matrix products,
    convolutions and attention are counted in floating-point operations instead, a multiplication and an addition as 2.
    """

    def __init__(self) -> None:
        super().__init__()
        self.label = "other"
        self.held: dict[str, int] = {}
        """Bytes alive by label."""
        self.peak: dict[str, int] = {}
        """`held` when its sum was largest."""
        self.flops = 0
        self.moved_bytes = 0
        self._living: dict[int, tuple[str, int]] = {}
        self._weights: set[int] = set()

    @contextmanager
    def labelled(self, label: str) -> Iterator[None]:
        """Context in which new tensors are of `label`."""
        before, self.label = self.label, label
        try:
            yield
        finally:
            self.label = before

    def hold(self, label: str, size: int) -> None:
        """Note bytes that live through the whole pass and are no tensors here."""
        self._add(label, size)

    def note(self, tensors: Sequence[Tensor], label: str) -> None:
        """Note tensors, or give those that are noted already another label."""
        for tensor in tensors:
            storage = tensor.untyped_storage()
            self._see(storage)
            old, size = self._living[storage._cdata]
            self._add(old, -size)
            self._living[storage._cdata] = (label, size)
            self._add(label, size)

    def note_weights(self, weights: Sequence[Tensor], label: str) -> None:
        """Note parameters, whose copies in another type are told from activations."""
        self.note(weights, label)
        self._weights |= {weight.untyped_storage()._cdata for weight in weights}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operator and note its results."""
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        born = [tensor for tensor in tree_leaves(result) if isinstance(tensor, Tensor)]
        copies_weight = func is aten._to_copy.default and args[0].untyped_storage()._cdata in self._weights
        with self.labelled(WEIGHT_COPIES if copies_weight else self.label):
            news = [self._see(tensor.untyped_storage()) for tensor in born]
        count = _flops_of(func)
        if count is not None:
            self.flops += count(*args, **kwargs, out_val=result)
        elif any(news) or func._schema.is_mutable:
            given = [tensor for tensor in tree_leaves((args, kwargs)) if isinstance(tensor, Tensor)]
            self.moved_bytes += sum(tensor.numel() * tensor.element_size() for tensor in [*born, *given])
        return result

    def _see(self, storage: torch.UntypedStorage) -> bool:
        """Note a storage; whether it is new."""
        key = storage._cdata
        if key in self._living:
            return False
        size = storage.nbytes()
        self._living[key] = (self.label, size)
        self._add(self.label, size)
        weakref.finalize(storage, self._forget, key)
        return True

    def _forget(self, key: int) -> None:
        label, size = self._living.pop(key)
        self._weights.discard(key)
        self._add(label, -size)

    def _add(self, label: str, size: int) -> None:
        self.held[label] = self.held.get(label, 0) + size
        if size > 0 and sum(self.held.values()) > sum(self.peak.values()):
            self.peak = dict(self.held)


def _flops_of(func: Any) -> Callable[..., int] | None:
    packet = func._overloadpacket
    return OWN_COUNTS.get(packet) or flop_registry.get(packet)


def _attention_flops(query: Tensor, key: Tensor, *_: Any, out_val: Any = None, **__: Any) -> int:
    """Two products of queries and keys, [B, H, N, E]."""
    return 4 * query.numel() * key.shape[-2]


def _attention_backward_flops(_: Tensor, query: Tensor, key: Tensor, *__: Any, out_val: Any = None, **___: Any) -> int:
    """Five of them: the scores are computed again."""
    return 10 * query.numel() * key.shape[-2]


OWN_COUNTS: dict[Any, Callable[..., int]] = {
    ATTENTION: _attention_flops,
    ATTENTION_BACKWARD: _attention_backward_flops,
}
