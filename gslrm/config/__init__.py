"""The schema: every knob, its meaning, unit, range and default.

Section and key names follow the YAML of FaceLift's GS-LRM. Defaults live only here. A key that is not in the schema
is an error, and so is a published key with a value that nothing implements.
"""

from typing import Annotated

from pydantic import model_validator

from gslrm.config.data import AugmentConfig, DataloaderConfig, DatasetConfig, MouseConfig, NoiseConfig
from gslrm.config.lgm import LgmConfig, LgmShape
from gslrm.config.losses import LossesConfig, LossTerm
from gslrm.config.model import (
    GaussiansConfig,
    HullConfig,
    ImageTokenizerConfig,
    ModelConfig,
    TransformerConfig,
    UpsamplerConfig,
)
from gslrm.config.output import (
    VIEW_LIST,
    EvaluationConfig,
    InferenceConfig,
    RefineConfig,
    RenderConfig,
    ValidationConfig,
)
from gslrm.config.section import Background, Section, only
from gslrm.config.training import (
    CheckpointingConfig,
    LoggingConfig,
    OptimizerConfig,
    ProfileConfig,
    RuntimeConfig,
    ScheduleConfig,
    TrainingConfig,
    WandbConfig,
)

__all__ = [
    "VIEW_LIST",
    "AugmentConfig",
    "Background",
    "CheckpointingConfig",
    "Config",
    "DataloaderConfig",
    "DatasetConfig",
    "EvaluationConfig",
    "GaussiansConfig",
    "HullConfig",
    "ImageTokenizerConfig",
    "InferenceConfig",
    "LgmConfig",
    "LgmShape",
    "LoggingConfig",
    "LossTerm",
    "LossesConfig",
    "ModelConfig",
    "MouseConfig",
    "NoiseConfig",
    "OptimizerConfig",
    "ProfileConfig",
    "RefineConfig",
    "RenderConfig",
    "RuntimeConfig",
    "ScheduleConfig",
    "Section",
    "TrainingConfig",
    "TransformerConfig",
    "UpsamplerConfig",
    "ValidationConfig",
    "WandbConfig",
]


class Config(Section):
    """Everything one run needs."""

    model: ModelConfig = ModelConfig()
    training: TrainingConfig = TrainingConfig()
    validation: ValidationConfig = ValidationConfig()
    inference: InferenceConfig = InferenceConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    render: RenderConfig = RenderConfig()
    mouse: MouseConfig = MouseConfig()
    debug: Annotated[bool, only(False, "the original never read it")] = False
    profile: Annotated[bool, only(False, "the original never read it; training.profile.start traces passes")] = False

    @model_validator(mode="after")
    def _losses_fit_the_rest(self) -> "Config":
        losses, model, keys = self.training.losses, self.model, "training.losses"
        lgm, augmented = model.family == "lgm", self.training.dataset.augment.any
        refusals = {
            f"{keys}.masked_ssim_loss needs {keys}.ssim_loss_weight > 0": (
                losses.masked_ssim_loss and not losses.ssim_loss_weight
            ),
            f"{keys}.pixelalign_loss_weight needs model.hard_pixelalign: false; with true every pixel's Gaussian lies "
            "on its ray anyway": losses.pixelalign_loss_weight and model.hard_pixelalign,
            f"{keys}.pointsdist_loss_weight is for a start without depth; corrected_hull starts at the hull": (
                losses.pointsdist_loss_weight and model.depth_anchor == "corrected_hull"
            ),
            f"{keys}.pointsdist_loss_weight is for pixel Gaussians; those of model.family: lgm are free": (
                losses.pointsdist_loss_weight and lgm
            ),
            f"{keys}.pixel_depth_loss_weight is for pixel Gaussians; those of model.family: lgm are free": (
                losses.pixel_depth_loss_weight and lgm
            ),
            f"{keys}.pixel_depth_loss_weight compares pixels with their depth maps, which training.dataset.augment "
            "moves apart; use one of them": losses.pixel_depth_loss_weight and augmented,
        }
        for message, refused in refusals.items():
            if refused:
                raise ValueError(message)
        return self
