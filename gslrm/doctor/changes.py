"""Changes of a configuration that save memory or time, from those that change least of what is learned."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from gslrm.config import Config
from gslrm.doctor.rehearsal import target_views

SAME, ROUNDING, OTHER = "nothing", "rounding only", "what is learned"
EFFECTS = (SAME, ROUNDING, OTHER)
LGM_LAYERS = 3  # of a level on the way up; groups end with their level


@dataclass(frozen=True)
class Change:
    """New values of keys."""

    values: Mapping[str, Any]
    effect: str
    """What it changes about the result; one of `EFFECTS`."""
    remark: str = ""

    def __str__(self) -> str:
        return ", ".join(f"{key}: {str(value).lower()}" for key, value in self.values.items())


def changed(config: Config, change: Change) -> Config | None:
    """The configuration with new values; none where they contradict others."""
    content = config.model_dump()
    for key, value in change.values.items():
        *sections, name = key.split(".")
        place = content
        for section in sections:
            place = place[section]
        place[name] = value
    try:
        return Config.model_validate(content)
    except ValidationError:
        return None


def savings(config: Config, *, amp: str) -> Iterator[Change]:
    """What may take less memory; nothing that the configuration has already."""
    training, runtime = config.training, config.training.runtime
    for every in (1, 2, 4):
        if every != runtime.grad_checkpoint_every and every < _layers(config):
            yield Change({"training.runtime.grad_checkpoint_every": every}, SAME)
    if not config.render.deferred_backward:
        yield Change({"render.deferred_backward": True}, SAME)
    if training.dataloader.batch_size_per_gpu > 1:
        passes = runtime.grad_accum_steps * training.dataloader.batch_size_per_gpu
        one = {"training.dataloader.batch_size_per_gpu": 1, "training.runtime.grad_accum_steps": passes}
        yield Change(one, SAME, f"and {training.dataloader.batch_size_per_gpu} times the passes for as many samples")
    if not training.optimizer.offload and training.optimizer.kind == "adamw":
        yield Change({"training.optimizer.offload": True}, SAME)
        yield Change({"training.optimizer.kind": "adamw8bit"}, ROUNDING, "needs bitsandbytes")
    if amp == "fp32":
        yield Change({"training.runtime.use_amp": True, "training.runtime.amp_dtype": "bf16"}, ROUNDING)
    yield from _smaller_problems(config)


def _layers(config: Config) -> int:
    """That can be recomputed as one group."""
    return LGM_LAYERS if config.model.family == "lgm" else config.model.transformer.n_layer


def _smaller_problems(config: Config) -> Iterator[Change]:
    training = config.training
    if (views := target_views(config)) > 1:
        yield Change({"training.dataset.num_target_views": max(1, views // 2)}, OTHER, "drawn anew in each pass")
    if training.adapt.ema.decay:
        yield Change({"training.adapt.ema.decay": 0.0}, OTHER)
    if training.losses.perceptual_loss_weight:
        yield Change({"training.losses.perceptual_loss_weight": 0.0}, OTHER)
    if training.losses.lpips_loss_weight:
        yield Change({"training.losses.lpips_loss_weight": 0.0}, OTHER)
    if training.checkpointing.resume_ckpt is not None and not training.adapt.lora.rank:
        yield Change({"training.adapt.lora.rank": 8}, OTHER, "needs peft")
    if not config.model.drop_background:
        yield Change({"model.drop_background": True}, OTHER, "needs masks")
    size, patch = config.model.image_tokenizer.image_size, config.model.image_tokenizer.patch_size
    for share in (0.75, 0.5):
        yield Change({"model.image_tokenizer.image_size": max(patch, int(share * size) // patch * patch)}, OTHER)


def luxuries(config: Config) -> Iterator[Change]:
    """What may take less time, for memory; nothing that changes the result."""
    every, layers = config.training.runtime.grad_checkpoint_every, _layers(config)
    for groups in (0, 12, 8, 4, 2):
        if every and groups < layers and (groups == 0 or groups > every):
            yield Change({"training.runtime.grad_checkpoint_every": groups}, SAME)
    if config.render.deferred_backward:
        yield Change({"render.deferred_backward": False}, SAME)
