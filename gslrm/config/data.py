"""Samples, views, loading processes, and the options for mice."""

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, model_validator

from gslrm.config.section import Background, Count, Positive, Section, Share, Weight, Whole


class NoiseConfig(Section):
    mask_pixels: Weight = 0.0
    """Outlines of input masks are grown or shrunk by up to this, and by as much again along them, in pixels of the
    network's pictures."""
    camera_shift: Weight = 0.0
    """Standard deviation of input cameras' positions per axis, as a share of their distance to the world's origin:
    0.005 is 1.6 mm at 320 mm."""
    camera_turn: Weight = 0.0
    """Standard deviation of input cameras' orientations about each axis, in degrees."""

    @property
    def any(self) -> bool:
        """Whether anything is disturbed."""
        return bool(self.mask_pixels or self.camera_shift or self.camera_turn)


class AugmentConfig(Section):
    """LGM's two augmentations, in training only; the first input view and all targets stay as they are."""

    grid_distortion: Share = 0.0
    """Share of samples whose input pictures are pulled about; 0.5 in LGM."""
    grid_strength: Share = 0.5
    """Largest shift of a knot of the grid, in half-distances between its 8 to 16 knots per axis."""
    camera_jitter: Share = 0.0
    """Share of samples whose input cameras are moved on their orbit about the world's origin; 0.5 in LGM."""
    jitter_strength: Share = 0.1
    """Largest such turn, in half-turns about the camera's vertical axis, and half of it about the horizontal one."""

    @property
    def any(self) -> bool:
        """Whether anything is augmented."""
        return bool(self.grid_distortion or self.camera_jitter)


class DatasetConfig(Section):
    dataset_path: str | None = None
    """A sample, a directory of samples or a list file; relative paths start at the working directory."""
    num_views: Count = 8
    """Views taken of each sample."""
    num_input_views: Count = 4
    """The first of them are the network's input."""
    min_input_views: Count | None = None
    """In training, of those a subset of at least this many is given, drawn anew each time; all of a pass's samples have
    equally many. None gives all."""
    noise: NoiseConfig = NoiseConfig()
    """Errors put into the input views in training; targets stay exact."""
    augment: AugmentConfig = AugmentConfig()
    """Input views that do not quite agree, in training; LGM's recipe for pictures that a generator made up."""
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
        if (self.min_input_views or 0) > self.num_input_views:
            raise ValueError(f"min_input_views {self.min_input_views} exceeds num_input_views {self.num_input_views}")
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


def _one_by_one(value: object) -> object:
    if value == "each":
        raise ValueError(
            "refused: the cameras stand at different true distances, and moving each one separately destroys "
            "multi-view geometry (15.6 pixels of 512 on the real rig about its world origin); use mean, or "
            "each_ablation to measure the damage"
        )
    return value


Point = Annotated[list[float], Field(min_length=3, max_length=3)]


class MouseConfig(Section):
    use_mouse_dataset: bool = False
    """MouseViewDataset (views always in camera-file order) instead of RandomViewDataset."""
    normalize_cameras: bool = False
    """Bring each sample to ray-exact crops in a world scaled by one similarity; the keys from here to `crop_margin`
    say how, and do nothing without it."""
    center: Literal["animal", "arena"] | Point = "animal"
    """What becomes the world's origin and the middle of every crop: where the input masks meet, where the input
    cameras' optical axes meet, or a point [x, y, z] of the sample's own world in its own unit."""
    target_camera_distance: Positive = 2.7
    """Mean distance of the input cameras to the centre after normalisation, unless `object_size` is set."""
    camera_distance: Annotated[Literal["mean", "each_ablation"], BeforeValidator(_one_by_one)] = "mean"
    """`mean`: all cameras are scaled together. `each_ablation` moves every camera to the target distance by itself,
    with rotation and intrinsics kept: wrong on purpose, to measure what older scripts did."""
    object_size: Positive | None = None
    """Scale by the object instead: the diameter of the sphere around the object, in world units."""
    normalize_to_z_up: bool = False
    """Turn the world so that +z is up, estimated from the cameras' horizontal axes."""
    crop: Literal["footprint", "pretrained", "pretrained_lgm", "fill"] = "footprint"
    """What crops share. `footprint`: the same width of the world at the centre, so focal lengths differ as distances
    do. `pretrained`: FaceLift's focal length, 548.99 for 512 pixels; `pretrained_lgm`: LGM's, 49.1 degrees. `fill`: the
    largest focal length with which the masks of all input views lie inside."""
    crop_footprint: Positive = 2.518
    """Of `crop: footprint`: world units across a crop at the centre; 2.518 is FaceLift's 50 degrees at distance 2.7."""
    crop_margin: Annotated[float, Field(ge=0, lt=0.5)] = 0.05
    """Of `crop: fill`: share of a crop's side that stays free at each edge."""
    auto_generate_mask: bool = False
    """Where a sample has no alpha and no `masks/`, take pixels whose channels all exceed `mask_threshold` as white
    background."""
    mask_threshold: Annotated[int, Field(ge=0, le=255)] = 250
    """Of 255."""

    @model_validator(mode="after")
    def _scale(self) -> "MouseConfig":
        if self.object_size is None:
            return self
        if self.crop in ("pretrained", "pretrained_lgm"):
            raise ValueError(f"crop {self.crop} means cameras at target_camera_distance; set object_size: null")
        if self.camera_distance == "each_ablation":
            raise ValueError("camera_distance each_ablation uses target_camera_distance; set object_size: null")
        return self
