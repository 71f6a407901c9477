"""The running average of the weights that are trained."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from gslrm.config.adapt import EmaConfig
from gslrm.model.spread import assign


class WeightAverage:
    """An exponential moving average, which forgets early weights soon.

    Update n, counted from 0, keeps `min(decay, (1 + n) / (warmup + n))` of the average.
    """

    def __init__(self, parameters: Mapping[str, nn.Parameter], config: EmaConfig) -> None:
        """Begin with the weights as they are."""
        self.parameters = dict(parameters)
        self.config = config
        self.updates = 0
        self.averages: dict[str, Tensor] = {}
        self.reset()

    def reset(self) -> None:
        """Begin anew with the weights as they are."""
        self.updates = 0
        self.averages = {name: value.detach().clone() for name, value in self.parameters.items()}

    @property
    def decay(self) -> float:
        """Share of the average that the next update keeps."""
        return min(self.config.decay, (1 + self.updates) / (self.config.warmup + self.updates))

    @torch.no_grad()
    def update(self) -> None:
        """Take the weights of an update into the average."""
        share = 1 - self.decay
        for name, average in self.averages.items():
            average.lerp_(self.parameters[name], share)
        self.updates += 1

    @contextmanager
    def swapped(self) -> Iterator[None]:
        """Put the average into the network, and the weights back in the end."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    def state(self) -> dict[str, Any]:
        """Plain values for a checkpoint."""
        return {"updates": self.updates, "weights": self.averages}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Undo `state`."""
        self.updates = state["updates"]
        for name, average in self.averages.items():
            assign(average, state["weights"][name])

    @torch.no_grad()
    def _swap(self) -> None:
        for name, average in self.averages.items():
            weights = self.parameters[name]
            held = weights.detach().clone()
            weights.copy_(average)
            average.copy_(held)
