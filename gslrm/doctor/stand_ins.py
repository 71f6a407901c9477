"""What takes the place of data, of a GPU's rules and of the hull's kernels while a pass is rehearsed."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from gslrm.config import HullConfig
from gslrm.model import hull_gslrm
from gslrm.model.hull_guide import HullGuide, hint_channels
from gslrm.model.hull_rays import HullRays
from gslrm.types import Views

NORMS = (nn.functional.layer_norm, nn.functional.group_norm)
aten = torch.ops.aten


class AssumedData(TorchDispatchMode):
    """Answers questions about values that nobody computes.

    A share `shown` of every mask is true, and `answer` is what every single value is; with False the rasterizer picks
    the Gaussians that are drawn, so a network that drops the background draws `shown` of its Gaussians.
    """

    def __init__(self, shown: float, *, answer: bool) -> None:
        super().__init__()
        self.shown = shown
        self.answer = answer

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operator, or answer for it."""
        kwargs = kwargs or {}
        if func is aten._local_scalar_dense.default:
            return self.answer
        if func is aten.nonzero.default:
            return self._places(args[0])
        if func in (aten.index.Tensor, aten.index_put.default, aten.index_put_.default):
            indices = [place for index in args[1] for place in self._as_places(index)]
            return func(args[0], indices, *args[2:], **kwargs)
        return func(*args, **kwargs)

    def _as_places(self, index: Tensor | None) -> list[Tensor | None]:
        """A mask of n dimensions indexes as n lists of places do."""
        if index is None or index.dtype is not torch.bool:
            return [index]
        return list(self._places(index).unbind(dim=1))

    def _places(self, mask: Tensor) -> Tensor:
        count = max(1, round(self.shown * mask.numel()))
        return torch.zeros(count, max(1, mask.ndim), dtype=torch.int64, device=mask.device)


class GpuAutocast(TorchFunctionMode):
    """Autocast of a GPU on CPU tensors: norms give float32, so that residuals are float32 too."""

    def __torch_function__(self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Call a function, or a norm in float32 where autocast is on."""
        if func in NORMS and torch.is_autocast_enabled("cpu"):
            tensor, *rest = args
            return func(tensor.float(), *rest, **(kwargs or {}))
        return func(*args, **(kwargs or {}))


@contextmanager
def assumed_hull(shown: float) -> Iterator[None]:
    """Context in which a share `shown` of all pixels meets a hull that nobody looks for."""

    def look(views: Views, coarse: Views, config: HullConfig) -> HullGuide:
        count = max(1, round(shown * views.masks.numel()))
        places = torch.zeros(count, 3, dtype=torch.int64)
        rays = HullRays(places, torch.empty(count, 3), torch.empty(count, 3), *(torch.empty(count) for _ in range(3)))
        hints = torch.empty(len(coarse.masks), hint_channels(config), *coarse.masks.shape[-2:])
        return HullGuide(hints, rays, torch.empty(count), torch.empty(count, 3), torch.empty(count))

    real = hull_gslrm.look
    hull_gslrm.look = look
    try:
        yield
    finally:
        hull_gslrm.look = real
