"""Frozen dataclasses of tensors that move, convert and slice as one."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor

Struct = TypeVar("Struct", bound="TensorStruct")


@dataclasses.dataclass(frozen=True)
class TensorStruct:
    """Base of the nouns that cross room borders; nested structs are followed, other fields are kept as they are."""

    def map(self: Struct, function: Callable[[Tensor], Tensor]) -> Struct:
        """The same struct with `function` applied to every tensor in it."""
        return dataclasses.replace(self, **{name: _map(value, function) for name, value in self._fields().items()})

    def to(self: Struct, target: torch.device | torch.dtype | str) -> Struct:
        """Move every tensor to a device, or every floating-point tensor to a dtype."""
        if isinstance(target, torch.dtype):
            return self.map(lambda tensor: tensor.to(target) if tensor.is_floating_point() else tensor)
        return self.map(lambda tensor: tensor.to(target))

    def float(self: Struct) -> Struct:
        """Every floating-point tensor in float32: rays, decoding, rendering and losses ask for it."""
        return self.to(torch.float32)

    def detach(self: Struct) -> Struct:
        """The same values without their gradient history."""
        return self.map(Tensor.detach)

    def __getitem__(self: Struct, index: Any) -> Struct:
        """Index the leading batch dimensions of every tensor alike."""
        return self.map(lambda tensor: tensor[index])

    def _fields(self) -> dict[str, Any]:
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}


def stack(structs: Sequence[Struct]) -> Struct:
    """Join equal-shaped structs along a new leading dimension; fields that are not tensors must agree.

    A struct alone is not copied, which batches of one gain from.

    Raises:
        ValueError: a field that is not a tensor differs between the structs.
    """
    return structs[0].map(lambda tensor: tensor[None]) if len(structs) == 1 else _join(structs, torch.stack)


def concatenate(structs: Sequence[Struct]) -> Struct:
    """Join structs along their first dimension; fields that are not tensors must agree.

    Raises:
        ValueError: a field that is not a tensor differs between the structs.
    """
    return _join(structs, torch.cat)


def _map(value: Any, function: Callable[[Tensor], Tensor]) -> Any:
    if isinstance(value, Tensor):
        return function(value)
    return value.map(function) if isinstance(value, TensorStruct) else value


def _join(structs: Sequence[Struct], join: Callable[[list[Tensor]], Tensor]) -> Struct:
    def joined(name: str) -> Any:
        values = [getattr(struct, name) for struct in structs]
        if isinstance(values[0], Tensor):
            return join(values)
        if isinstance(values[0], TensorStruct):
            return _join(values, join)
        if any(value != values[0] for value in values):
            raise ValueError(f"cannot join: field {name!r} differs ({sorted({str(value) for value in values})})")
        return values[0]

    return dataclasses.replace(structs[0], **{name: joined(name) for name in structs[0]._fields()})
