"""Which parameters of a network are trained, and how fast."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from torch import nn

from gslrm.config.adapt import AdaptConfig
from gslrm.errors import UserError
from gslrm.model.adapt_lora import add_lora
from gslrm.model.adapter import DOWN, UP, published_name, trainable
from gslrm.model.patterns import select

LAYER = re.compile(r"transformer_layers\.(\d+)\.")
TRANSFORMER = ("transformer_layers.*",)
EMBEDDING = ("*_embeddings", "patch_embedder.*", "input_layer_norm.*")
HEADS = ("gaussian_upsampler.", "pixel_gaussian_decoder.")
ALL_BUT_LAST = (*EMBEDDING, *TRANSFORMER, "gaussian_upsampler.*", "pixel_gaussian_decoder.0.*")


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
        UserError: the network has no transformer, which all presets speak of.
    """
    if preset == "none":
        return ()
    layers = layer_count(names)
    if not layers:
        raise UserError(f"training.adapt.preset {preset} is for networks with transformer_layers; use freeze")
    early = tuple(f"transformer_layers.{layer}.*" for layer in range(2 * layers // 3))  # encoder and middle
    presets: dict[str, tuple[str, ...]] = {
        "freeze_all": TRANSFORMER,
        "conservative": (*EMBEDDING, *early),
        "decoder_only": (*EMBEDDING, *TRANSFORMER),
        "last_layer": ALL_BUT_LAST,
    }
    return presets[preset]


def layer_count(names: Iterable[str]) -> int:
    """Blocks of the transformer."""
    return len({match[1] for match in map(LAYER.match, names) if match})


def rate_share(name: str, *, layers: int, decay: float) -> float:
    """A parameter's learning rate of the heads': `decay` to the number of blocks between them.

    The embedding counts as the block before the first (Clark et al. 2020, layer-wise decay).
    """
    if name.startswith(HEADS):
        return 1.0
    match = LAYER.match(name)
    return decay ** (layers - int(match[1]) if match else layers + 1)


def trainable_groups(model: nn.Module, config: AdaptConfig, *, rate: float) -> list[TrainableGroup]:
    """What is trained, in the order of the network: neighbouring blocks at one rate are one group."""
    groups: dict[tuple[str, float], tuple[set[int], int]] = {}  # name and rate to blocks and number
    layers = layer_count(published_name(name) for name, _ in model.named_parameters())
    for name, parameter in trainable(model).items():
        share = rate_share(name, layers=layers, decay=config.layer_lr_decay)
        kind = "LoRA of " if name.endswith((DOWN, UP)) else ""
        key = (kind + name.partition(".")[0], rate * share)
        blocks, count = groups.get(key, (set(), 0))
        match = LAYER.match(name)
        groups[key] = (blocks | {int(match[1])} if match else blocks, count + parameter.numel())
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
