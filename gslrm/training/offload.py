"""AdamW whose moments stay in the host's memory."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor


class OffloadedAdamW(torch.optim.Optimizer):
    """Torch's AdamW on copies of the parameters in the host's memory: none of its state is on the device.

    An update takes weights and gradients to the host, where the copies stay between updates (16 bytes a parameter with
    the moments), and the new weights back. On a CPU the result is AdamW's, bit for bit. The state that is saved is
    AdamW's too, so a run may switch between the two.
    """

    def __init__(self, groups: list[dict[str, Any]], **options: Any) -> None:
        """As `torch.optim.AdamW`."""
        self._copies = {p: _on_host(p) for group in groups for p in group["params"]}
        self._buffers = {p: _on_host(p) for p in self._copies}
        hosts = [{**group, "params": [self._copies[p] for p in group["params"]]} for group in groups]
        self._host = torch.optim.AdamW(hosts, **options)
        pairs = zip(groups, self._host.param_groups, strict=True)
        super().__init__([{**host, "params": group["params"]} for group, host in pairs], self._host.defaults)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Take an update of the parameters that have gradients.

        Raises:
            ValueError: a closure was given, which nothing here needs.
        """
        if closure is not None:
            raise ValueError("OffloadedAdamW takes no closure")
        for group, host in zip(self.param_groups, self._host.param_groups, strict=True):
            host.update(_options(group))
            for parameter in group["params"]:
                self._fetch(parameter)
        self._host.step()
        for parameter, copy in self._copies.items():
            if parameter.grad is not None:
                parameter.copy_(copy)
        self._share_state()

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Take over the state of an AdamW of the same parameters."""
        self._host.load_state_dict(dict(state_dict))
        for group, host in zip(self.param_groups, self._host.param_groups, strict=True):
            group.update(_options(host))
        self._share_state()

    def _fetch(self, parameter: Tensor) -> None:
        """Bring a weight and its gradient up to date in the host's memory; weights may have been loaded since."""
        copy = self._copies[parameter]
        copy.grad = None
        if parameter.grad is not None:
            copy.copy_(parameter)
            copy.grad = self._buffers[parameter].copy_(parameter.grad)

    def _share_state(self) -> None:
        """Let the state be saved under the device's parameters; the tensors are the host's."""
        for parameter, copy in self._copies.items():
            if copy in self._host.state:
                self.state[parameter] = self._host.state[copy]


def _on_host(parameter: Tensor) -> Tensor:
    """Memory of a parameter's size, which a card can reach directly."""
    return torch.empty_like(parameter, device="cpu", requires_grad=False, pin_memory=parameter.device.type != "cpu")


def _options(group: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in group.items() if key != "params"}
