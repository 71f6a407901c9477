"""Low-rank updates of linear layers, by peft."""

from torch import nn

from gslrm.config.adapt import LoraConfig
from gslrm.errors import UserError
from gslrm.model.adapter import DOWN, UP, Adapter, trainable
from gslrm.model.anatomy import anatomy_of
from gslrm.model.patterns import select
from gslrm.model.spread import assign


def add_lora(model: nn.Module, config: LoraConfig) -> set[str]:
    """Give the target layers an update `alpha / rank * B A` that begins at 0, and freeze all other parameters.

    Returns:
        Names of the weights that are adapted.

    Raises:
        UserError: peft is not installed, or a pattern names no linear layer.
    """
    try:
        import peft
    except ImportError as error:
        raise UserError(
            f"training.adapt.lora needs peft ({error}): python -m pip install 'peft>=0.17'; or set rank: 0"
        ) from error
    linear = [name for name, module in model.named_modules() if isinstance(module, nn.Linear)]
    patterns = anatomy_of(name + "." for name in linear).linear if config.targets is None else config.targets
    targets = select(patterns, linear, key="training.adapt.lora.targets", kind="linear layer")
    options = peft.LoraConfig(r=config.rank, lora_alpha=config.alpha, target_modules=sorted(targets))
    peft.inject_adapter_in_model(options, model)
    return {f"{name}.weight" for name in targets}


def adapter_of(model: nn.Module, config: LoraConfig) -> Adapter:
    """What is trained, as it stands; the tensors are the model's own."""
    tensors = {name: value.detach() for name, value in trainable(model).items()}
    return Adapter(tensors, config.alpha / config.rank)


def set_adapter(model: nn.Module, adapter: Adapter, config: LoraConfig, *, name: str) -> None:
    """Put an adapter's tensors into a model that has the same targets.

    Raises:
        UserError: it has other targets, another rank or another alpha; the message begins with `name`.
    """
    own = trainable(model)
    misfits = sorted(own.keys() ^ adapter.tensors.keys())
    if misfits:
        raise UserError(
            f"{name}: trained other parameters than training.adapt does now ({len(misfits)} differ, first: "
            f"{misfits[0]}); use the configuration it was trained with"
        )
    scale = config.alpha / config.rank
    for key, value in adapter.tensors.items():
        if value.shape != own[key].shape or adapter.scale != scale:
            raise UserError(
                f"{name}: its LoRA has {key} of {tuple(value.shape)} and alpha / rank {adapter.scale:g}, the "
                f"configuration wants {tuple(own[key].shape)} and {scale:g}; use the one it was trained with"
            )
    for key, value in adapter.tensors.items():
        assign(own[key], value)


def low_rank_pairs(model: nn.Module) -> list[tuple[nn.Parameter, nn.Parameter]]:
    """A [rank, in] and B [out, rank] of every target."""
    parameters = trainable(model)
    return [
        (parameters[name.removesuffix(UP) + DOWN], value) for name, value in parameters.items() if name.endswith(UP)
    ]
