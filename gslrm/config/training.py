"""The trainer: device, optimiser, schedule, checkpoints, logs."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

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
    """Compile the transformer's blocks: a longer first pass, and a C++ compiler must be there. See docs/training.md for
    what it gains."""
    deterministic: bool = False
    """Take only operations whose result does not depend on timing: two runs on one machine with the same versions and
    threads are the same bit for bit. On a card slower, and with `render.backend: cpu` only."""
    grad_accum_steps: Count = 1
    """Passes per update."""
    grad_clip_norm: Weight = 1.0
    """Gradients are scaled down to this global norm; 0 is off."""
    allowed_gradnorm_factor: Positive = 20.0
    """An update whose gradient norm exceeds `grad_clip_norm` times this is skipped and counted."""
    max_skipped_updates: Count = 20
    """Consecutive skipped updates after which the run stops with a diagnosis; overflows of fp16 do not count."""
    grad_checkpoint_every: Whole = 1
    """Recompute activations in groups of this many blocks while training; 0 keeps all activations."""


class OptimizerConfig(Section):
    kind: Literal["adamw", "adamw8bit"] = "adamw"
    """`adamw8bit` keeps both moments in 8 bits, 2 bytes a parameter instead of 8 (Dettmers et al. 2022). Needs
    bitsandbytes."""
    offload: bool = False
    """Keep the moments in the host's memory and compute updates there: slower, and none of the card for them."""
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

    @model_validator(mode="after")
    def _one_way_to_save(self) -> "OptimizerConfig":
        if self.offload and self.kind == "adamw8bit":
            raise ValueError(
                "offload keeps moments of 32 bits off the card already; set kind: adamw, or offload: false"
            )
        return self


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
    keep_best: bool = True
    """Keep the checkpoint with the best `best_metric` beside them; the link `best` names it."""
    best_metric: str = "auto"
    """A score of validation, such as `val_heldout/mask_iou`; auto is `val_heldout/psnr_crop` where there are held-out
    views, and none where there are not."""
    async_save: bool = False
    """Copy the state to host memory and write it while training goes on; takes as much memory as a checkpoint."""
    resume_ckpt: str | None = None
    """Start from this checkpoint when the run has none of its own."""
    reset_training_state: bool = False
    """Take only the weights of `resume_ckpt`."""
    sharded: bool = False
    """Each process writes its part, into a folder, instead of process 0 the whole in one file."""
    force_resume_ckpt: bool = False
    """Start from `resume_ckpt` even when the run has checkpoints of its own."""

    @model_validator(mode="after")
    def _parts_at_once(self) -> "CheckpointingConfig":
        if self.sharded and self.async_save:
            raise ValueError("async_save writes one file, and sharded a folder of parts; set one of them to false")
        return self


class ProcessesConfig(Section):
    strategy: Literal["ddp", "fsdp"] = "ddp"
    """What torchrun's processes hold of the network: all of it (ddp), or a part of each weight, gradient and moment
    (fsdp), which saves memory and sends more."""
    init_timeout: Positive = 1800.0
    """Seconds that a process may wait for the others until the first pass is done."""
    timeout: Positive = 600.0
    """The same afterwards; pictures, reports and checkpoints, which process 0 writes alone, must take less."""


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


class ProfileConfig(Section):
    start: Count | None = None
    """First pass that is traced, counted from 1; none traces nothing. The very first is slower than others."""
    passes: Count = 3
    """How many passes are traced, at some MB of trace each."""
    memory: bool = False
    """Trace allocations of memory too."""


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
    profile: ProfileConfig = ProfileConfig()
    processes: ProcessesConfig = ProcessesConfig()
