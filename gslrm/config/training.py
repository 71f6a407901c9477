"""The trainer: device, optimiser, schedule, checkpoints, logs."""

from typing import Annotated, Literal

from pydantic import Field

from gslrm.config.adapt import AdaptConfig
from gslrm.config.data import DataloaderConfig, DatasetConfig
from gslrm.config.losses import LossesConfig
from gslrm.config.section import Count, Positive, Section, Weight, Whole


class RuntimeConfig(Section):
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to run; auto takes CUDA when there is a card."""
    seed: Whole = 777
    """Seed of weights, data order and view choice."""
    use_tf32: bool = True
    """Allow TF32 in float32 matrix products of the network; rays, decoding, rendering and losses never use it."""
    use_amp: bool = True
    """Run the transformer in `amp_dtype`."""
    amp_dtype: Literal["bf16", "fp16", "fp32", "auto"] = "auto"
    """Auto asks the device: bf16 where it is native, else fp32."""
    torch_compile: bool = False
    """Compile the network with torch.compile, whose first passes take long."""
    grad_accum_steps: Count = 1
    """Passes per update."""
    grad_clip_norm: Weight = 1.0
    """Gradients are scaled down to this global norm; 0 is off."""
    allowed_gradnorm_factor: Positive = 20.0
    """An update whose gradient norm exceeds `grad_clip_norm` times this is skipped and counted."""
    max_skipped_updates: Count = 20
    """Consecutive skipped updates after which the run stops with a diagnosis."""
    grad_checkpoint_every: Whole = 1
    """Recompute activations in groups of this many blocks while training; 0 keeps all activations."""


class OptimizerConfig(Section):
    lr: Positive = 1e-4
    """Peak learning rate of AdamW."""
    beta1: Annotated[float, Field(ge=0, lt=1)] = 0.9
    beta2: Annotated[float, Field(ge=0, lt=1)] = 0.95
    weight_decay: Weight = 0.05
    """Decay of matrices; norms are never decayed."""
    reset_lr: bool = False
    """On resume: the configured rate and a new schedule over the remaining updates."""
    reset_weight_decay: bool = False
    """On resume: the configured decay instead of the checkpoint's."""


class ScheduleConfig(Section):
    max_fwdbwd_passes: Count = 20000
    """Passes of the run."""
    num_epochs: Count = 100000
    """Upper limit of passes through the data."""
    warmup: Whole = 500
    """Updates of linear warm-up from 0, followed by half a cosine to 0."""
    l2_warmup_steps: Whole = 0
    """Passes before perceptual and LPIPS terms begin."""
    early_stop_after: Count | None = None
    """Stop after this pass; the schedule stays that of the whole run."""
    early_stop_after_epochs: Count | None = None
    """Stop after this epoch; the schedule stays that of the whole run."""


class CheckpointingConfig(Section):
    checkpoint_dir: str | None = None
    """Where checkpoints go; none means `checkpoints` in the run folder."""
    checkpoint_every: Count = 1000
    """Passes between checkpoints; one more is written at the end."""
    keep_last: Count = 3
    """Newest checkpoints kept."""
    resume_ckpt: str | None = None
    """Start from this checkpoint when the run has none of its own."""
    reset_training_state: bool = False
    """Take only the weights of `resume_ckpt`."""
    force_resume_ckpt: bool = False
    """Start from `resume_ckpt` even when the run has checkpoints of its own."""


class WandbConfig(Section):
    mode: Literal["auto", "online", "offline", "disabled"] = "auto"
    """Auto is online with a login, else offline."""
    offline: bool = False
    """Same as mode offline (FaceLift's key)."""
    project: str = "mouse-facelift"
    exp_name: str | None = None
    """Name of the run; none means the run folder's name."""
    group: str | None = None
    job_type: str | None = None
    log_every: Count = 50
    """Passes between logged scalars, in wandb and metrics.jsonl."""


class LoggingConfig(Section):
    print_every: Count = 20
    """Passes between lines when the console is not a terminal."""
    vis_every: Count = 500
    """Passes between training pictures."""
    tensorboard: bool = False
    """Write the same figures and pictures for TensorBoard too; needs its package."""
    wandb: WandbConfig = WandbConfig()


class TrainingConfig(Section):
    runtime: RuntimeConfig = RuntimeConfig()
    dataset: DatasetConfig = DatasetConfig()
    dataloader: DataloaderConfig = DataloaderConfig()
    losses: LossesConfig = LossesConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    schedule: ScheduleConfig = ScheduleConfig()
    adapt: AdaptConfig = AdaptConfig()
    checkpointing: CheckpointingConfig = CheckpointingConfig()
    logging: LoggingConfig = LoggingConfig()
