"""What training keeps from pass to pass beside weights and gradients."""

from dataclasses import dataclass

from torch import nn

from gslrm.config import OptimizerConfig, TrainingConfig
from gslrm.model.adapter import DOWN, UP, trainable

NUMBER = 4  # bytes of a float32
SMALLEST_IN_8_BITS = 4096  # bitsandbytes keeps smaller tensors in 32 bits
BLOCK = 256  # numbers that share a scale there


@dataclass(frozen=True)
class TrainingState:
    """Bytes."""

    optimizer_bytes: int
    """On the device."""
    host_bytes: int
    """In the host's memory."""
    copy_bytes: int
    """Average of the weights, and the weights that L2-SP pulls to; on the device."""


def training_state(model: nn.Module, config: TrainingConfig) -> TrainingState:
    """Bytes that a network with what is frozen chosen keeps from the second update on."""
    parameters = trainable(model)
    sizes = [parameter.numel() for parameter in parameters.values()]
    anchored = [value.numel() for name, value in parameters.items() if not name.endswith((DOWN, UP))]
    copies = bool(config.adapt.ema.decay) * sum(sizes) + bool(config.adapt.l2sp_weight) * sum(anchored)
    if config.optimizer.offload:
        return TrainingState(0, 4 * NUMBER * sum(sizes), NUMBER * copies)  # weights, gradients and two moments there
    return TrainingState(sum(_moments(size, config.optimizer) for size in sizes), 0, NUMBER * copies)


def _moments(size: int, config: OptimizerConfig) -> int:
    if config.kind == "adamw8bit" and size >= SMALLEST_IN_8_BITS:
        return 2 * size + 2 * NUMBER * -(-size // BLOCK)
    return 2 * NUMBER * size
