"""Fine-tuning that keeps what the loaded weights know: what trains, how fast, how far from where it began."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from gslrm.config.section import Count, Positive, Section, Weight, Whole


class LoraConfig(Section):
    rank: Whole = 0
    """Rank of the low-rank update that each target learns (Hu et al. 2021); 0 is off. Everything else is frozen, but
    for what `adapt.train` names, and checkpoints hold only what is trained. Needs peft."""
    alpha: Positive = 16.0
    """Updates count `alpha / rank`."""
    targets: list[str] | None = None
    """Name patterns of linear layers; none means all of the transformer (`transformer_layers.*.attn.*`,
    `transformer_layers.*.mlp.*`), or those of LGM's attention (`unet.*.attn.*`)."""


class EmaConfig(Section):
    decay: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of its old value that the running average of the weights keeps per update; 0 is off. Validation, inference
    and `--load` use the average."""
    warmup: Count = 10
    """Update n, counted from 0, keeps min(decay, (1 + n) / (warmup + n)), so that early weights are soon forgotten; 1
    keeps `decay` from the beginning."""


class AdaptConfig(Section):
    preset: Literal["none", "freeze_all", "conservative", "decoder_only", "last_layer"] = "none"
    """Frozen parts: the transformer; embedding and the first two thirds of the transformer; all but the heads of the
    Gaussians; all but the linear layer that writes the pixel Gaussians. Of LGM: all levels of the U-Net; the first
    convolution, the way down and the middle; all but the last norm and convolutions; all but those convolutions."""
    freeze: list[str] = Field(default_factory=list)
    """Name patterns of parameters that are frozen too, as in `["transformer_layers.1?.*"]`."""
    train: list[str] = Field(default_factory=list)
    """Name patterns of parameters that are trained although the preset, `freeze` or `lora` would freeze them."""
    layer_lr_decay: Annotated[float, Field(gt=0, le=1)] = 1.0
    """The heads learn at the full rate, and each block before them at this share of the next one's."""
    l2sp_weight: Weight = 0.0
    """Weight of half the squared distance between what is trained and the loaded weights (L2-SP, Li et al. 2018)."""
    lora: LoraConfig = LoraConfig()
    ema: EmaConfig = EmaConfig()
    base: str | None = None
    """Where the loaded weights are that a checkpoint of LoRA or L2-SP belongs to, when they have moved since."""

    @model_validator(mode="after")
    def _one_way_to_freeze(self) -> "AdaptConfig":
        if self.lora.rank and (self.preset != "none" or self.freeze):
            raise ValueError("lora freezes everything by itself: leave preset and freeze away; train names exceptions")
        return self
