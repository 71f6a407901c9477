"""What is done with a model: validation, inference, rendering."""

import re
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from gslrm.config.section import Count, Positive, Section, Weight, Whole, only

VIEW_LIST = re.compile(r"all|none|\d+(-\d+)?(,\d+(-\d+)?)*")


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
    protocol: Literal["auto", "heldout", "leave_one_out"] = "auto"
    """`heldout` scores views that are not input; `leave_one_out` reconstructs without each input camera in turn and
    scores that one, at as many forward passes; `auto` does the latter for samples that have no view to spare."""
    visual_hull: bool = True
    """Score the coloured visual hull of the input masks beside the model, once per run: what learning has to beat."""
    min_frame_gap: Whole = 100
    """Warn when frames of one recording are nearer to training frames than this: one second of the usual 100 a second.
    """
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
        if self.protocol == "leave_one_out" and self.heldout_views is not None:
            raise ValueError("validation.heldout_views and protocol: leave_one_out exclude each other; give one")
        return self


class RefineConfig(Section):
    """`--refine N`: see docs/refinement.md."""

    views_per_step: Count = 3
    """Given views that every step is taken towards, in turn."""
    share: Annotated[float, Field(gt=0, le=1)] = 0.25
    """Share of the Gaussians that are fitted, each made larger for the others; 1 keeps them all."""
    silhouette: Weight = 0.2
    """Weight of the squared error of alpha beside that of colours."""
    anchor: Weight = 1e-3
    """Weight of the mean squared way of the centres from where they were, in pixels of the pictures."""
    opacity: Weight = 0.0
    """Weight of the mean opacity of the Gaussians but for those that fill: `area` does better, without fog."""
    area: Weight = 0.04
    """Weight of the area that the object covers at cameras between the given ones; see `gslrm.refine.between`."""
    fill: Whole = 3000
    """Gaussians added at most, deep inside the object; see `gslrm.refine.filler`."""
    look_every: Count = 10
    """Steps between looks from the camera that is left out of the trial."""


class InferenceConfig(Section):
    enabled: Annotated[bool, only(False, "inference is a command of its own: python inference.py")] = False
    output_dir: str | None = None
    """Default of `inference.py --output`."""
    turntable_frames: Count = 150
    turntable_size: Count = 512
    turntable_elevation: Annotated[float, Field(gt=-90, lt=90)] = 20.0
    """Degrees above the horizon."""
    turntable_up: Literal["rig", "x", "y", "z", "-x", "-y", "-z"] = "rig"
    """What is up: as the input cameras stand (`rig`), or an axis of the sample's world."""
    min_opacity: Annotated[float, Field(ge=0, lt=1)] = 0.005
    """Gaussians below are left out of the PLY; they change no pixel by more than one grey level."""
    refine: RefineConfig = RefineConfig()
    clean: str = ""
    """Filters of the Gaussians, applied in order, such as `opacity:0.02,hull:2,contribution:0.05`: see docs/formats.md.
    """
    formats: list[Literal["lgm_ply", "compressed_ply", "splat", "spz", "sog"]] = Field(default_factory=list)
    """Written beside the PLY; see docs/formats.md."""
    mesh: bool = False
    """Write the surface as `mesh.glb`, coloured triangles; needs scikit-image."""
    mesh_resolution: Annotated[int, Field(ge=16)] = 192
    """Grid points along the longest side of the object."""


class EvaluationConfig(Section):
    enabled: Annotated[bool, only(False, "evaluation is a command of its own: python scripts/evaluate.py")] = False


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
