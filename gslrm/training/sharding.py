"""The network on several processes: a copy in each (DDP), or a part of each tensor in each (FSDP2)."""

import contextlib
import warnings
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from gslrm.config import Config
from gslrm.errors import UserError
from gslrm.model.spread import like
from gslrm.model.utils_losses import LossReport
from gslrm.training.processes import Processes
from gslrm.types import Gaussians


class Spread:
    """How the processes of a run share its network, by `training.processes.strategy`."""

    def __init__(self, config: Config, processes: Processes) -> None:
        """Nothing is spread yet.

        Raises:
            UserError: the optimiser's options and the strategy exclude each other.
        """
        self.processes = processes
        self.seed = config.training.runtime.seed
        optimizer = config.training.optimizer
        self.in_parts = processes.count > 1 and config.training.processes.strategy == "fsdp"
        if self.in_parts and (optimizer.offload or optimizer.kind != "adamw"):
            raise UserError(
                "training.processes.strategy fsdp spreads the optimiser's moments over the processes already; set "
                "training.optimizer.offload: false and training.optimizer.kind: adamw, or take strategy ddp"
            )

    def parameters(self, model: nn.Module) -> None:
        """Replace the parameters by this process's part of each, block by block, where that is the strategy."""
        if self.in_parts:
            _shard(model)

    def forward(self, model: nn.Module) -> nn.Module:
        """What to call in training passes, so that gradients become means over the processes."""
        if self.processes.count == 1 or self.in_parts:
            return model
        # device_ids stays unset: the network lies on one device already, and its inputs do too
        return nn.parallel.DistributedDataParallel(model, gradient_as_bucket_view=True)

    def accumulating(self, network: nn.Module, *, last: bool) -> contextlib.AbstractContextManager[None]:
        """Context of a whole pass; copies exchange gradients in the `last` of an update only.

        Parts are exchanged in every pass, as keeping whole gradients would take the memory that parts are to save.
        """
        if isinstance(network, nn.parallel.DistributedDataParallel) and not last:
            return network.no_sync()
        return contextlib.nullcontext()

    def forget_own_gradients(self, optimizer: torch.optim.Optimizer) -> None:
        """Drop gradients that copies have accumulated and will not exchange, as no backward pass ends this update.

        They differ from process to process, and so would what a gradient scaler learns from them.
        """
        if self.processes.count > 1:
            optimizer.zero_grad(set_to_none=True)

    @contextlib.contextmanager
    def whole(self, model: nn.Module) -> Iterator[None]:
        """Context in which each process can use the network by itself, as often as it wants, without gradients."""
        if not self.in_parts:
            yield
            return
        from torch.distributed.fsdp import FSDPModule

        parts = [module for module in model.modules() if isinstance(module, FSDPModule)]
        for part in parts:
            part.unshard()
            part.set_reshard_after_forward(False, recurse=False)
        try:
            yield
        finally:
            for part in parts:
                part.reshard()
                part.set_reshard_after_forward(part is not model, recurse=False)

    def optimizer_state(self, optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> dict[str, Any]:
        """A whole state of an optimiser as its `load_state_dict` needs it."""
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        if not self.in_parts or len(state["state"]) > len(parameters):
            return state
        spread = {
            index: {key: _as_moment(parameters[index], value) for key, value in moments.items()}
            for index, moments in state["state"].items()
        }
        return {**state, "state": spread}


def agree_on_losses(own: LossReport, processes: Processes) -> tuple[LossReport, bool]:
    """Means of the losses over the processes, and whether the totals of all are finite, in one exchange.

    A loss that one process alone finds not finite keeps all of them from the backward pass, which they take together.
    """
    if processes.count == 1:
        return own, bool(own.total.isfinite())
    values = torch.stack([own.total, *own.terms.values()]).detach().double().cpu()
    sums = processes.total(torch.cat([values, (~own.total.isfinite()).double().cpu()[None]]))
    means = (sums[:-1] / processes.count).unbind()
    return LossReport(means[0], dict(zip(own.terms, means[1:], strict=True)), own.begins), not sums[-1].item()


def _as_moment(parameter: Tensor, value: Any) -> Any:
    return like(parameter, value) if isinstance(value, Tensor) and value.shape == parameter.shape else value


def _shard(model: Any) -> None:
    """One group of tensors per block of the network, one of all others: what is needed together travels together."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import FSDPModule, fully_shard
    from torch.utils import _pytree

    if not hasattr(FSDPModule, "set_reshard_after_forward"):
        raise UserError(
            f"training.processes.strategy fsdp needs a newer torch than {torch.__version__}, tested with 2.13; "
            "python -m pip install --upgrade torch, or take strategy ddp"
        )
    device = next(model.parameters()).device
    mesh = init_device_mesh(device.type, (torch.distributed.get_world_size(),))
    if Gaussians not in _pytree.SUPPORTED_NODES:  # the backward pass is announced by the tensors that FSDP finds
        _pytree.register_pytree_node(Gaussians, _tensors_of, lambda tensors, _: Gaussians(*tensors))
    # it warns of what nobody does: to change Gaussians in place
    warnings.filterwarnings("ignore", message="FSDP2-wrapped module .* returned a view tensor")
    for block in model.blocks():
        fully_shard(block, mesh=mesh)
    fully_shard(model, mesh=mesh)


def _tensors_of(gaussians: Gaussians) -> tuple[list[Tensor], None]:
    return [gaussians.means, gaussians.scales, gaussians.rotations, gaussians.opacities, gaussians.harmonics], None
