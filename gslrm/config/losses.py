"""Loss terms, their weights and when they begin."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from gslrm.config.section import Count, Section, Weight, Whole, only

LossTerm = Literal[
    "l2_loss",
    "background_loss",
    "alpha_loss",
    "alpha_iou_loss",
    "fringe_loss",
    "ssim_loss",
    "perceptual_loss",
    "lpips_loss",
    "depth_loss",
    "pixel_depth_loss",
    "opacity_loss",
    "scale_loss",
    "pixelalign_loss",
    "pointsdist_loss",
]


class LossesConfig(Section):
    l2_loss_weight: Weight = 1.0
    """Mean squared colour error."""
    masked_l2_loss: bool = False
    """L2 over foreground pixels only, divided by their number times 3."""
    background_loss_weight: Weight = 0.0
    """Squared distance to the background colour outside the mask; goes with `masked_l2_loss`."""
    alpha_loss_weight: Weight = 0.0
    """Silhouette: squared difference of rendered alpha and mask."""
    alpha_iou_loss_weight: Weight = 0.0
    """Silhouette: 1 - soft intersection over union of rendered alpha and mask, per picture."""
    fringe_loss_weight: Weight = 0.0
    """Haze: how much more half-transparent the rendered alpha is than the mask."""
    ssim_loss_weight: Weight = 0.0
    """1 - SSIM, SSIM bounded to [0, 1]."""
    masked_ssim_loss: bool = False
    """SSIM of the foreground, in the way of `ssim_mask`."""
    ssim_mask: Literal["neutral", "windows"] = "neutral"
    """How `masked_ssim_loss` leaves the background out: both pictures are 0.5 outside the mask and all windows count,
    or the pictures stay and only windows centred on the foreground count."""
    perceptual_loss_weight: Weight = 0.0
    """VGG19 features as in FaceLift."""
    perceptual_weights: str | None = None
    """Checkpoint whose `loss_calculator.perceptual_loss_module` keys hold the VGG19 weights (FaceLift's does), a file
    of `conv1.weight` ... `conv16.bias`, or matconvnet's imagenet-vgg-verydeep-19.mat."""
    lpips_loss_weight: Weight = 0.0
    """LPIPS (VGG)."""
    depth_loss_weight: Weight = 0.0
    """Distance in world units between rendered depth and that of `depth_target`, at foreground pixels."""
    depth_target: Literal["hull", "maps"] = "hull"
    """What `depth_loss_weight` asks for: the visual hull of the input masks, or the depth maps that samples hold."""
    pixel_depth_loss_weight: Weight = 0.0
    """Distance in world units, along the optical axis, between an input pixel's Gaussian and the sample's depth map."""
    opacity_loss_weight: Weight = 0.0
    """Mean opacity: what no picture needs fades away."""
    scale_loss_weight: Weight = 0.0
    """Mean of each Gaussian's longest axis, in world units."""
    pixelalign_loss_weight: Weight = 0.0
    """Distance of pixel Gaussians from their rays; for `model.hard_pixelalign: false`, which leaves them free."""
    masked_pixelalign_loss: bool = True
    """Weight that distance by the input mask."""
    pointsdist_loss_weight: Weight = 0.0
    """Keeps the pixel Gaussians of a view at the camera's distance to the origin, with a deviation of 0.5."""
    warmup_pointsdist: bool = False
    """In the first 1000 passes points-dist counts 0.1, L2, background and perceptual nothing, and `model.clip_xyz` is
    off (FaceLift's first stage)."""
    distill_loss_weight: Annotated[Weight, only(0, "the original never read it and no such term exists")] = 0.0
    starts: dict[LossTerm, Whole] = Field(default_factory=dict)
    """First pass in which a term counts, as in `{lpips_loss: 2000}`; otherwise 0, and `schedule.l2_warmup_steps` for
    perceptual and LPIPS."""
    ramps: dict[LossTerm, Count] = Field(default_factory=dict)
    """Passes over which a term's weight grows linearly to its own from where it begins; otherwise 1."""

    @property
    def needs_depth_maps(self) -> bool:
        """Whether a term asks for what only samples with depth maps can say."""
        return bool(self.pixel_depth_loss_weight or (self.depth_loss_weight and self.depth_target == "maps"))

    @model_validator(mode="after")
    def _terms(self) -> "LossesConfig":
        for key, schedule in (("starts", self.starts), ("ramps", self.ramps)):
            for name in schedule:
                if not getattr(self, f"{name}_weight"):
                    raise ValueError(f"{key} names {name}, but {name}_weight is 0")
        if self.depth_target != "hull" and not self.depth_loss_weight:
            raise ValueError(f"depth_target {self.depth_target} needs depth_loss_weight > 0")
        if self.ssim_mask != "neutral" and not self.masked_ssim_loss:
            raise ValueError(f"ssim_mask {self.ssim_mask} needs masked_ssim_loss: true")
        if self.warmup_pointsdist and "pointsdist_loss" in self.starts:
            raise ValueError("starts cannot name pointsdist_loss with warmup_pointsdist, which begins with it")
        return self
