"""The schema: every knob, its meaning, unit, range and default.

Section and key names follow the YAML of FaceLift's GS-LRM. Defaults live only here. A key that is not in the schema
is an error, and so is a published key with a value that nothing implements.
"""

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator, model_validator


class Section(BaseModel):
    """Base of all sections: frozen, no unknown keys, documented by attribute docstrings, no NaN or infinity."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, use_attribute_docstrings=True, allow_inf_nan=False, protected_namespaces=()
    )


def _only(value: object, sentence: str) -> AfterValidator:
    def check(given: object) -> object:
        if given != value:
            raise ValueError(f"only {value!r} is possible: {sentence}")
        return given

    return AfterValidator(check)


Count = Annotated[int, Field(ge=1)]
Whole = Annotated[int, Field(ge=0)]
Weight = Annotated[float, Field(ge=0)]
Positive = Annotated[float, Field(gt=0)]
VIEW_LIST = re.compile(r"all|none|\d+(-\d+)?(,\d+(-\d+)?)*")
Background = Literal["white", "black", "gray", "random", "three_choices"] | Annotated[float, Field(ge=0, le=1)]


class ImageTokenizerConfig(Section):
    image_size: Count = 512
    """Side in pixels of the square images that the data set gives to the network."""
    patch_size: Count = 8
    """Side in pixels of a patch; one token per patch."""
    in_channels: Literal[9, 12] = 9
    """RGB and the ray embedding: 9, or 12 with `use_aug_plucker`."""

    @model_validator(mode="after")
    def _whole_patches(self) -> "ImageTokenizerConfig":
        if self.image_size % self.patch_size:
            raise ValueError(f"image_size {self.image_size} is not a multiple of patch_size {self.patch_size}")
        return self


class TransformerConfig(Section):
    d: Count = 1024
    """Width of a token."""
    d_head: Count = 64
    """Width of an attention head."""
    n_layer: Count = 24
    """Number of blocks."""

    @model_validator(mode="after")
    def _whole_heads(self) -> "TransformerConfig":
        if self.d % self.d_head:
            raise ValueError(f"d {self.d} is not a multiple of d_head {self.d_head}")
        return self


class UpsamplerConfig(Section):
    upsample_factor: Annotated[int, _only(1, "the original raises for every other value")] = 1


class GaussiansConfig(Section):
    n_gaussians: Whole = 2
    """Learned global tokens, one free Gaussian each."""
    sh_degree: Annotated[int, Field(ge=0, le=3)] = 0
    """Degree of the spherical harmonics of colour."""
    upsampler: UpsamplerConfig = UpsamplerConfig()
    scaling_modifier: Positive | None = None
    """Factor on all scales after the exponential."""
    scale_bias: float = -2.3
    """Added to the log-scale; -2.3 (0.1 world units at the start) in the published weights. A model trained from
    scratch at low resolution wants about 1.3 pixels: larger splats are dearer to render."""
    scale_max: float = -1.2
    """Upper limit of the log-scale; -1.2 in the published weights."""
    opacity_bias: float = -2.0
    """Added to the opacity logit; -2.0 (0.12 at the start) in the published weights."""


class ModelConfig(Section):
    family: Literal["gslrm"] = "gslrm"
    """Architecture."""
    image_tokenizer: ImageTokenizerConfig = ImageTokenizerConfig()
    transformer: TransformerConfig = TransformerConfig()
    gaussians: GaussiansConfig = GaussiansConfig()
    add_refsrc_marker: bool = False
    """Mark the first view as reference and the others as source. Breaks the equivariance to view order."""
    hard_pixelalign: bool = True
    """Keep each pixel's Gaussian on its ray (one depth); else three free coordinates."""
    use_custom_plucker: bool = True
    """Ray embedding: direction and the ray's point nearest the origin (published weights)."""
    use_aug_plucker: bool = False
    """Ray embedding: moment, direction and nearest point. Neither: moment and direction."""
    clip_xyz: bool = False
    """Clamp pixel Gaussians to [-1, 1]^3. The published weights never ran with it, although their YAML says true."""
    depth_preact_bias: float = 0.0
    """Added to the depth logit before the sigmoid."""
    depth_min: float = 0.0
    """With `depth_max`: limits of the distance along the ray for the moment embedding, in world units; 0 is off."""
    depth_max: float = 0.0
    """See `depth_min`."""
    depth_reference_origin: bool = False
    """Moment embedding without limits: distances about the camera's distance to the origin instead of 2.7."""
    depth_range: Positive = 1.8
    """Half-range of depth about its reference, in world units; 1.8 in the published weights."""
    drop_background: bool = False
    """Leave patches without foreground out of the transformer and give pixels without foreground no opacity. Needs
    masks."""
    depth_anchor: Literal["ray", "hull"] = "ray"
    """Depth is measured from the ray's point nearest the origin, or from its first hit with the visual hull of the
    input masks, which is right before anything is learned."""
    hull_range: Positive = 0.9
    """Half the length of ray on which the hull is searched, in world units; more than the object's radius."""
    hull_samples: Annotated[int, Field(ge=2)] = 80
    """Points per ray on that length."""
    init_std: Positive | None = 0.02
    """Standard deviation of the initial weights; none means 1 / sqrt(width)."""

    @model_validator(mode="after")
    def _embedding(self) -> "ModelConfig":
        if self.use_custom_plucker and self.use_aug_plucker:
            raise ValueError("use_custom_plucker and use_aug_plucker exclude each other")
        expected = 12 if self.use_aug_plucker else 9
        if self.image_tokenizer.in_channels != expected:
            raise ValueError(f"image_tokenizer.in_channels must be {expected} with this ray embedding")
        if self.depth_anchor == "hull" and not (self.hard_pixelalign and self.drop_background):
            raise ValueError("depth_anchor hull needs hard_pixelalign and drop_background: only foreground has a hull")
        if self.depth_max and self.depth_max <= self.depth_min:
            raise ValueError(f"depth_max {self.depth_max} must exceed depth_min {self.depth_min}")
        return self


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


class DatasetConfig(Section):
    dataset_path: str | None = None
    """A sample, a directory of samples or a list file; relative paths start at the working directory."""
    num_views: Count = 8
    """Views taken of each sample."""
    num_input_views: Count = 4
    """The first of them are the network's input."""
    num_target_views: Count | None = None
    """Views rendered and compared per pass, drawn anew each time; none takes all candidates."""
    target_has_input: bool = True
    """Input views are also targets."""
    maximize_view_overlap: bool = False
    """RandomViewDataset: draw the extra views within 60 degrees of an input view, seen from the rig's focus."""
    background_color: Background = "white"
    """Colour under the object, per sample; a number is a grey level. `random` and `three_choices` vary."""
    remove_alpha: bool = False
    """Take no masks from alpha channels, which only composite the colours then; masks come from `masks/` or white."""
    normalize_distance_to: Weight = 0.0
    """Scale each sample's world about its origin so that the mean camera distance becomes this; 0 is off."""

    @model_validator(mode="after")
    def _counts(self) -> "DatasetConfig":
        if self.num_input_views > self.num_views:
            raise ValueError(f"num_input_views {self.num_input_views} exceeds num_views {self.num_views}")
        candidates = self.num_views - (0 if self.target_has_input else self.num_input_views)
        if candidates < (self.num_target_views or 1):
            raise ValueError(f"only {candidates} views can be targets; raise num_views or set target_has_input: true")
        return self


class DataloaderConfig(Section):
    batch_size_per_gpu: Count = 1
    """Samples per pass and process."""
    num_workers: Whole = 4
    """Loading processes; 0 loads in the main process."""
    num_threads: Count = 1
    """Threads of each loading process."""
    prefetch_factor: Count = 2
    """Batches prepared ahead by each loading process."""


class LossesConfig(Section):
    l2_loss_weight: Weight = 1.0
    """Mean squared colour error."""
    masked_l2_loss: bool = False
    """L2 over foreground pixels only, divided by their number times 3."""
    background_loss_weight: Weight = 0.0
    """Squared distance to the background colour outside the mask; goes with `masked_l2_loss`."""
    alpha_loss_weight: Weight = 0.0
    """Silhouette: squared difference of rendered alpha and mask."""
    ssim_loss_weight: Weight = 0.0
    """1 - SSIM, SSIM bounded to [0, 1]."""
    masked_ssim_loss: bool = False
    """SSIM with both images set to 0.5 outside the mask."""
    perceptual_loss_weight: Weight = 0.0
    """VGG19 features as in FaceLift."""
    perceptual_weights: str | None = None
    """Checkpoint whose `loss_calculator.perceptual_loss_module` keys hold the VGG19 weights (FaceLift's does)."""
    lpips_loss_weight: Weight = 0.0
    """LPIPS (VGG)."""
    pixelalign_loss_weight: Annotated[Weight, _only(0, "this term is not implemented yet")] = 0.0
    masked_pixelalign_loss: Annotated[bool, Field(description="Read with `pixelalign_loss_weight` only.")] = True
    pointsdist_loss_weight: Annotated[Weight, _only(0, "this term is not implemented yet")] = 0.0
    warmup_pointsdist: Annotated[bool, _only(False, "the points-dist warm-up is not implemented yet")] = False
    distill_loss_weight: Annotated[Weight, _only(0, "the original never read it and no such term exists")] = 0.0


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
    wandb: WandbConfig = WandbConfig()


class TrainingConfig(Section):
    runtime: RuntimeConfig = RuntimeConfig()
    dataset: DatasetConfig = DatasetConfig()
    dataloader: DataloaderConfig = DataloaderConfig()
    losses: LossesConfig = LossesConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    schedule: ScheduleConfig = ScheduleConfig()
    checkpointing: CheckpointingConfig = CheckpointingConfig()
    logging: LoggingConfig = LoggingConfig()


class ValidationConfig(Section):
    enabled: bool = False
    dataset_path: str | None = None
    """Samples to validate on; as `training.dataset.dataset_path`."""
    val_every: Count = 1000
    """Passes between validations; one more runs at the end."""
    max_samples: Count = 8
    """Validate on this many samples, evenly spread over the list."""
    heldout_views: str | None = None
    """Views that are never input, as `6-11` or `0,2,4`; none means all that are not input. Scored under val_heldout."""
    output_dir: str | None = None
    """Where pictures go; none means `pictures` in the run folder."""

    @field_validator("heldout_views")
    @classmethod
    def _view_list(cls, text: str | None) -> str | None:
        if text is not None and not VIEW_LIST.fullmatch(text):
            raise ValueError(f"{text!r} is no list of views; write 6-11, or 0,2,4, or all")
        return text

    @model_validator(mode="after")
    def _path(self) -> "ValidationConfig":
        if self.enabled and self.dataset_path is None:
            raise ValueError("validation.enabled needs validation.dataset_path")
        return self


class InferenceConfig(Section):
    enabled: Annotated[bool, _only(False, "inference is a command of its own: python inference.py")] = False
    output_dir: str | None = None
    """Default of `inference.py --output`."""
    turntable_frames: Count = 150
    turntable_size: Count = 512
    turntable_elevation: Annotated[float, Field(gt=-90, lt=90)] = 20.0
    """Degrees above the horizon."""
    min_opacity: Annotated[float, Field(ge=0, lt=1)] = 0.005
    """Gaussians below are left out of the PLY; they change no pixel by more than one grey level."""


class EvaluationConfig(Section):
    enabled: Annotated[bool, _only(False, "evaluation is a command of its own: python scripts/evaluate.py")] = False


class RenderConfig(Section):
    backend: Literal["auto", "cpu", "gsplat"] = "auto"
    """Auto takes gsplat when CUDA and gsplat are there, else the CPU rasterizer."""
    near_plane: Positive = 0.01
    """Gaussians nearer than this are not drawn, in world units of the network."""
    eps2d: Weight = 0.3
    """Screen blur in square pixels added to every splat, at the network's own resolution."""
    max_alpha: Annotated[float, Field(gt=0, lt=1)] = 0.999
    """Largest alpha of one splat: 0.999 in gsplat 1.5.3, 0.99 in gsplat 1.6 and the INRIA rasterizer."""
    antialiased: bool = False
    """Compensate opacity for the screen blur."""
    min_compensation: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Smallest factor of that compensation: 0 in gsplat 1.5.3, 0.005 in gsplat 1.6."""
    deferred_backward: bool = False
    """Keep nothing for gradients and render each view again in the backward pass: memory of one view instead of all,
    for one more forward rendering. For large pictures on small cards."""


class MouseConfig(Section):
    use_mouse_dataset: bool = False
    """MouseViewDataset (views always in camera-file order) instead of RandomViewDataset."""
    normalize_cameras: bool = False
    """Bring each sample to object-centred, ray-exact crops in a world scaled by one similarity."""
    target_camera_distance: Positive = 2.7
    """Mean distance of the input cameras to the object after normalisation, unless `object_size` is set."""
    object_size: Positive | None = None
    """Scale by the object instead: the diameter of the sphere around the object, in world units."""
    crop_footprint: Positive = 2.518
    """World units seen across a crop at the object's centre; 2.518 is FaceLift's 50 degrees at distance 2.7."""
    normalize_to_z_up: bool = False
    """Turn the world so that +z is up, estimated from the cameras' horizontal axes."""
    auto_generate_mask: bool = False
    """Where a sample has no alpha and no `masks/`, take pixels whose channels all exceed `mask_threshold` as white
    background."""
    mask_threshold: Annotated[int, Field(ge=0, le=255)] = 250
    """Of 255."""


class Config(Section):
    """Everything one run needs."""

    model: ModelConfig = ModelConfig()
    training: TrainingConfig = TrainingConfig()
    validation: ValidationConfig = ValidationConfig()
    inference: InferenceConfig = InferenceConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    render: RenderConfig = RenderConfig()
    mouse: MouseConfig = MouseConfig()
    debug: Annotated[bool, _only(False, "the original never read it")] = False
    profile: Annotated[bool, _only(False, "the original never read it")] = False

    @model_validator(mode="after")
    def _mouse_views(self) -> "Config":
        masked = self.training.losses
        if masked.masked_ssim_loss and not masked.ssim_loss_weight:
            raise ValueError("training.losses.masked_ssim_loss needs training.losses.ssim_loss_weight > 0")
        return self
