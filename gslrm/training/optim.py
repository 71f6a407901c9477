"""AdamW with decay groups, in the forms that save memory, and its schedule."""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from gslrm.config import OptimizerConfig
from gslrm.errors import UserError
from gslrm.model.adapt import anatomy_of_model
from gslrm.model.adapter import trainable
from gslrm.training.offload import OffloadedAdamW

OWN_KEYS = ("lr_share", "decays")  # of a group: what the configuration says, whatever a checkpoint's groups say


def build_optimizer(
    model: nn.Module, config: OptimizerConfig, *, fused: bool, layer_lr_decay: float = 1.0
) -> torch.optim.Optimizer:
    """AdamW over trainable parameters: a group that decays matrices, then one of norms without decay.

    With `layer_lr_decay` below 1 there are two such groups per rate, the heads' first; `lr_share` is a group's share of
    the full rate. The order inside the groups is FaceLift's, so that its optimiser state could be taken over. `fused`
    updates all tensors in one kernel, which torch has for CPUs and CUDA; 8-bit updates have kernels of their own.

    Raises:
        UserError: 8-bit moments are asked for without bitsandbytes.
    """
    parameters, anatomy = trainable(model), anatomy_of_model(model)
    shares = {name: anatomy.rate_share(name, decay=layer_lr_decay) for name in parameters}
    groups: list[dict[str, Any]] = []
    for share in sorted(set(shares.values()), reverse=True):
        mine = [value for name, value in parameters.items() if shares[name] == share]
        for decays, chosen in ((True, [p for p in mine if p.ndim >= 2]), (False, [p for p in mine if p.ndim < 2])):
            decay = config.weight_decay if decays else 0.0
            groups.append({"params": chosen, "weight_decay": decay, "lr_share": share, "decays": decays})
    filled = [group for group in groups if group["params"]]
    options: dict[str, Any] = {"lr": config.lr, "betas": (config.beta1, config.beta2)}
    if config.kind == "adamw8bit":
        return _eight_bit(filled, options)
    return (OffloadedAdamW if config.offload else torch.optim.AdamW)(filled, fused=fused, **options)


def restore_optimizer(optimizer: torch.optim.Optimizer, state: Mapping[str, Any]) -> None:
    """Take over the state of an optimiser of the same parameters, but not which groups decay and at what rates.

    Raises:
        UserError: its moments are of another kind, or its parameters are grouped otherwise.
    """
    kept, wanted = _kind_in(state), _kind_of(optimizer)
    if kept not in (None, wanted):
        raise UserError(
            f"the checkpoint's optimiser is {kept}, and training.optimizer.kind is {wanted}; keep the kind, or take "
            "weights only, in a new run: --load"
        )
    own = [{key: group[key] for key in OWN_KEYS} for group in optimizer.param_groups]
    try:
        optimizer.load_state_dict(dict(state))
    except ValueError as error:
        raise UserError(
            "the checkpoint's optimiser groups its parameters otherwise, as training.adapt.layer_lr_decay below 1 "
            "does; keep that key, or take weights only, in a new run: --load"
        ) from error
    for group, keys in zip(optimizer.param_groups, own, strict=True):
        group.update(keys)


def _eight_bit(groups: list[dict[str, Any]], options: dict[str, Any]) -> torch.optim.Optimizer:
    try:
        from bitsandbytes.optim import AdamW8bit
    except ImportError as error:
        raise UserError(
            f"training.optimizer.kind adamw8bit needs bitsandbytes ({error}): python -m pip install "
            "'bitsandbytes>=0.50'; or set kind: adamw"
        ) from error
    return AdamW8bit(groups, **options)


def _kind_of(optimizer: torch.optim.Optimizer) -> str:
    return "adamw" if isinstance(optimizer, torch.optim.AdamW | OffloadedAdamW) else "adamw8bit"


def _kind_in(state: Mapping[str, Any]) -> str | None:
    """What kept a state; none before the first update. bitsandbytes would take AdamW's without a word."""
    kept = {key for moments in state["state"].values() for key in moments}
    return ("adamw" if "exp_avg" in kept else "adamw8bit") if kept else None


def learning_rate(update: int, *, peak: float, warmup: int, total: int) -> float:
    """Linear warm-up from 0 over `warmup` updates, then half a cosine to 0 at `total`."""
    if update < warmup:
        return peak * update / max(1, warmup)
    share = (update - warmup) / max(1, total - warmup)
    return peak * max(0.0, 0.5 * (1 + math.cos(math.pi * min(1.0, share))))
