"""The network."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from gslrm.config.lgm import LgmConfig
from gslrm.config.section import Count, Positive, Section, Share, Whole, only

GSLRM_ONLY = (
    *("transformer", "gaussians", "add_refsrc_marker", "hard_pixelalign", "use_custom_plucker", "use_aug_plucker"),
    *("clip_xyz", "depth_preact_bias", "depth_min", "depth_max", "depth_reference_origin", "depth_range"),
    *("drop_background", "depth_anchor", "hull", "init_std"),
)


class ImageTokenizerConfig(Section):
    image_size: Count = 512
    """Side in pixels of the square images that the data set gives to the network."""
    patch_size: Count = 8
    """Side in pixels of a patch; one token of GS-LRM per patch."""
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
    upsample_factor: Annotated[int, only(1, "the original raises for every other value")] = 1


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


class HullConfig(Section):
    half_range: Positive = 0.65
    """Half the length of ray on which the hull is searched, in world units; more than the object's radius."""
    step: Positive = 0.5
    """Pixels between points of a ray near an outline."""
    tolerated: Whole = 0
    """Masks that may miss a point which the others show, so that one bad mask does not carve the object away."""
    detail: Literal[1, 2, 4] = 1
    """Splats per pixel of the tokens' pictures and axis: the transformer sees pictures smaller by this, colour and
    coverage come from the whole ones."""
    covered: Share = 0.4
    """Coverage from which a pixel gets a Gaussian."""
    inset: float = 0.0
    """Pixels behind the hull at which Gaussians start: a hull is never smaller than the object, and splats are wide."""
    scale: Positive = 0.35
    """Standard deviation at which Gaussians start, in pixels at the hull."""
    miss_range: Positive = 0.5
    """Half-range of depth where a ray misses the hull, about its best point, in world units."""
    agreement: bool = False
    """Tell the transformer how well the colours of the other views agree at and behind each hull point."""
    agreement_depths: list[float] = Field(default_factory=lambda: [0.0, 0.02, 0.04, 0.08])
    """Where `agreement` is looked at, in world units along the ray behind the hull point."""
    inner: bool = False
    """A second Gaussian per pixel, half-way through the hull, nearly transparent at the start."""
    splats_per_token: Count = 1
    """Gaussians of each of the `gaussians.n_gaussians` learned tokens, which start among the hull's points."""
    fill_opacity: float = -3.0
    """Opacity logit at which those and inner Gaussians start; -3 is 0.05."""


class ModelConfig(Section):
    family: Literal["gslrm", "lgm"] = "gslrm"
    """Architecture: GS-LRM's transformer, or LGM's multi-view U-Net. Of this section, LGM reads `lgm`,
    `image_tokenizer.image_size`, `hull_range` and `hull_samples`."""
    lgm: LgmConfig = LgmConfig()
    """Of `family: lgm`."""
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
    depth_anchor: Literal["ray", "hull", "corrected_hull"] = "ray"
    """Depth is measured from the ray's point nearest the origin, or from its first hit with the visual hull of the
    input masks, which is right before anything is learned. `corrected_hull`: the network starts as that hull, coloured,
    is told what the hull is like, and learns a correction; see `hull`."""
    hull: HullConfig = HullConfig()
    """Of `depth_anchor: corrected_hull`."""
    hull_range: Positive = 0.9
    """Half the length of ray on which the hull is searched, in world units; more than the object's radius."""
    hull_samples: Annotated[int, Field(ge=2)] = 80
    """Points per ray on that length."""
    init_std: Positive | None = 0.02
    """Standard deviation of the initial weights; none means 1 / sqrt(width)."""

    @model_validator(mode="after")
    def _one_family(self) -> "ModelConfig":
        if self.family == "gslrm":
            if self.lgm != LgmConfig():
                raise ValueError("lgm is for family: lgm")
            return self
        for name in GSLRM_ONLY:
            if getattr(self, name) != type(self).model_fields[name].default:
                raise ValueError(f"{name} is for family: gslrm; leave it away with family: lgm")
        if self.image_tokenizer.patch_size != ImageTokenizerConfig().patch_size:
            raise ValueError("image_tokenizer.patch_size is for family: gslrm; leave it away with family: lgm")
        size, multiple = self.image_tokenizer.image_size, self.lgm.shape.side_multiple
        if size % multiple:
            raise ValueError(
                f"image_tokenizer.image_size {size} is not a multiple of {multiple}, as lgm halves it "
                f"{len(self.lgm.shape.down_channels) - 1} times"
            )
        return self

    @model_validator(mode="after")
    def _embedding(self) -> "ModelConfig":
        if self.use_custom_plucker and self.use_aug_plucker:
            raise ValueError("use_custom_plucker and use_aug_plucker exclude each other")
        expected = 12 if self.use_aug_plucker else 9
        if self.image_tokenizer.in_channels != expected:
            raise ValueError(f"image_tokenizer.in_channels must be {expected} with this ray embedding")
        if self.depth_anchor != "ray" and not (self.hard_pixelalign and self.drop_background):
            raise ValueError(
                f"depth_anchor {self.depth_anchor} needs hard_pixelalign and drop_background: only foreground has a "
                "hull"
            )
        self._corrected_hull()
        if self.depth_max and self.depth_max <= self.depth_min:
            raise ValueError(f"depth_max {self.depth_max} must exceed depth_min {self.depth_min}")
        return self

    def _corrected_hull(self) -> None:
        if self.depth_anchor != "corrected_hull":
            if self.hull != HullConfig():
                raise ValueError("hull is for depth_anchor: corrected_hull")
            return
        if self.clip_xyz:
            raise ValueError("clip_xyz is for the published decoding; unset it with depth_anchor corrected_hull")
        tokens = self.image_tokenizer
        if tokens.image_size % (tokens.patch_size * self.hull.detail):
            raise ValueError(
                f"image_size {tokens.image_size} is not a multiple of patch_size x hull.detail = "
                f"{tokens.patch_size * self.hull.detail}"
            )
