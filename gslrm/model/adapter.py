"""What a LoRA run has learned, apart from the weights it began with.

Nothing here needs peft: whoever uses a fine-tuned model merges the adapter into plain weights.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

DOWN, UP = ".lora_A.weight", ".lora_B.weight"
PEFT_NAMES = {".base_layer.": ".", ".lora_A.default.": ".lora_A.", ".lora_B.default.": ".lora_B."}


@dataclass(frozen=True)
class Base:
    """The weights that a run began with."""

    path: str
    fingerprint: str

    def to_content(self) -> dict[str, str]:
        """Plain values for a checkpoint."""
        return {"path": self.path, "fingerprint": self.fingerprint}


@dataclass(frozen=True)
class Adapter:
    """Low-rank updates, and whole tensors that were trained beside them, under published names."""

    tensors: dict[str, Tensor]
    """`X.lora_A.weight` [rank, in] and `X.lora_B.weight` [out, rank] of a linear layer `X`; whole parameters."""
    scale: float
    """alpha / rank."""

    def merge(self, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Plain weights: `W + scale * B A`, summed in float64 and rounded once."""
        merged = dict(weights)
        for name, value in self.tensors.items():
            if name.endswith(UP):
                layer = name.removesuffix(UP)
                change = value.double() @ self.tensors[layer + DOWN].double()
                whole = merged[f"{layer}.weight"]
                merged[f"{layer}.weight"] = (whole.double() + self.scale * change).to(whole.dtype)
            elif not name.endswith(DOWN):
                merged[name] = value
        return merged

    def to_content(self) -> dict[str, Any]:
        """Plain values for a checkpoint."""
        return {"tensors": self.tensors, "scale": self.scale}


def published_name(name: str) -> str:
    """A parameter's name without what peft adds: its wrapping of the linear layer and its name of the adapter."""
    for inner, published in PEFT_NAMES.items():
        name = name.replace(inner, published)
    return name


def whole_state(model: nn.Module) -> dict[str, Tensor]:
    """The model's own tensors by published name, without adapters; writing to them writes to the model."""
    named = {published_name(name): tensor for name, tensor in model.state_dict().items()}
    return {name: tensor for name, tensor in named.items() if not name.endswith((DOWN, UP))}


def trainable(model: nn.Module) -> dict[str, nn.Parameter]:
    """Parameters that are trained, by published name."""
    return {published_name(name): value for name, value in model.named_parameters() if value.requires_grad}


def fingerprint(weights: Mapping[str, Tensor]) -> str:
    """SHA-256 over names, shapes and float32 values: equal exactly for equal weights."""
    digest = hashlib.sha256()
    for name in sorted(weights):
        value = weights[name].detach().to("cpu", torch.float32).contiguous()
        digest.update(f"{name} {tuple(value.shape)}\n".encode())
        digest.update(value.numpy().data)
    return digest.hexdigest()
