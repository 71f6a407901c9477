"""Which parameters of a network are trained, and how fast."""

from collections.abc import Iterable
from dataclasses import dataclass

from torch import nn

from gslrm.config.adapt import AdaptConfig
from gslrm.errors import UserError
from gslrm.model.adapt_lora import add_lora
from gslrm.model.adapter import DOWN, UP, published_name, trainable
from gslrm.model.anatomy import Anatomy, anatomy_of, part_of
from gslrm.model.patterns import select


@dataclass(frozen=True)
class TrainableGroup:
    """Parameters that are trained at one rate."""

    name: str
    count: int
    rate: float
    """Peak learning rate."""


def choose_trainable(model: nn.Module, config: AdaptConfig) -> None:
    """Freeze what the configuration says, after adding LoRA where it says so.

    Raises:
        UserError: a pattern matches nothing, nothing is left to train, or peft is missing.
    """
    parameters = {published_name(name): value for name, value in model.named_parameters()}
    names = list(parameters)
    frozen = select(preset_patterns(config.preset, names), names, key=f"training.adapt.preset {config.preset}")
    frozen |= select(config.freeze, names, key="training.adapt.freeze")
    kept = select(config.train, names, key="training.adapt.train")
    if config.lora.rank:
        adapted = add_lora(model, config.lora)
        if twice := sorted(kept & adapted):
            raise UserError(f"training.adapt.train: LoRA adapts {twice[0]}; leave it out of train or lora.targets")
        frozen = set(names)
    for name, parameter in parameters.items():
        parameter.requires_grad_(name in kept or name not in frozen)
    if not trainable(model):
        raise UserError("training.adapt: everything is frozen, so nothing can be learned; freeze less, or use train")


def preset_patterns(preset: str, names: Iterable[str]) -> tuple[str, ...]:
    """Name patterns of what a preset freezes in a network with these parameters.

    Raises:
        UserError: the network has no blocks, which all presets speak of.
    """
    if preset == "none":
        return ()
    names = list(names)
    anatomy = anatomy_of(names)
    if not anatomy.blocks:
        raise UserError(f"training.adapt.preset {preset} is for networks with transformer_layers or unet; use freeze")
    blocks = tuple(f"{block}*" for block in anatomy.blocks)
    presets: dict[str, tuple[str, ...]] = {
        "freeze_all": blocks,
        "conservative": (*anatomy.embedding, *blocks[: anatomy.early]),
        "decoder_only": (*anatomy.embedding, *blocks),
        "last_layer": tuple(name for name in names if not name.startswith(anatomy.last)),
    }
    return presets[preset]


def anatomy_of_model(model: nn.Module) -> Anatomy:
    """Parts of a network, which may have adapters."""
    return anatomy_of(published_name(name) for name, _ in model.named_parameters())


def trainable_groups(model: nn.Module, config: AdaptConfig, *, rate: float) -> list[TrainableGroup]:
    """What is trained, in the order of the network: neighbouring blocks at one rate are one group."""
    groups: dict[tuple[str, float], tuple[set[int], int]] = {}  # name and rate to blocks and number
    anatomy = anatomy_of_model(model)
    for name, parameter in trainable(model).items():
        kind = "LoRA of " if name.endswith((DOWN, UP)) else ""
        part, number = part_of(name)
        key = (kind + part, rate * anatomy.rate_share(name, decay=config.layer_lr_decay))
        blocks, count = groups.get(key, (set(), 0))
        groups[key] = (blocks if number is None else blocks | {number}, count + parameter.numel())
    return [
        TrainableGroup(name + _span(blocks), count, own_rate) for (name, own_rate), (blocks, count) in groups.items()
    ]


def trainable_table(model: nn.Module, config: AdaptConfig, *, rate: float) -> str:
    """A table of what is trained: group, number of parameters, share of all, peak learning rate."""
    total = sum(parameter.numel() for parameter in model.parameters())
    groups = trainable_groups(model, config, rate=rate)
    count = sum(group.count for group in groups)
    width = max(len("trainable parameters"), *(len(group.name) for group in groups))
    lines = [f"{'trainable parameters':{width}} {'count':>13} {'share':>8} {'learning rate':>14}"]
    for group in groups:
        lines.append(f"{group.name:{width}} {group.count:>13,} {group.count / total:>8.2%} {group.rate:>14.2e}")
    return "\n".join([*lines, f"{'all':{width}} {count:>13,} {count / total:>8.2%} of {total:,}"])


def _span(blocks: set[int]) -> str:
    if not blocks:
        return ""
    first, last = min(blocks), max(blocks)
    if len(blocks) == last - first + 1:
        return f" {first}-{last}" if last > first else f" {first}"
    return " " + ",".join(map(str, sorted(blocks)))
