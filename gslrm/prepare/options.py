"""What a preparation is asked to do."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from gslrm.config import MouseConfig

Crop = Literal["fill", "pretrained", "whole"]
World = Literal["rig", "sample", "recording"]
MaskChoice = Literal["auto", "plate", "temporal", "given", "alpha", "white", "rembg", "sam2"]


@dataclass(frozen=True)
class Options:
    """Everything that decides the content of the samples; two runs with equal options write equal samples."""

    videos: Path
    calibration: Path
    format: str | None = None
    cameras: tuple[tuple[str, str], ...] = ()
    pair_by_index: bool = False
    unit: str | None = None
    background: Path | None = None
    given_masks: Path | None = None
    mask_source: MaskChoice = "auto"
    mask_weights: Path | None = None
    consensus: bool = True
    size: int = 512
    crop: Crop = "fill"
    crop_margin: float = 0.05
    world: World = "rig"
    target_camera_distance: float = 2.7
    z_up: bool = True
    keep_background: bool = False

    @property
    def mouse(self) -> MouseConfig:
        """The normalisation, as the data sets know it."""
        return MouseConfig(
            normalize_cameras=True,
            crop="pretrained" if self.crop == "pretrained" else "fill",
            crop_margin=self.crop_margin,
            target_camera_distance=self.target_camera_distance,
            normalize_to_z_up=self.z_up,
        )

    def to_json(self) -> dict[str, Any]:
        """Plain values, to be compared with those of an earlier run."""
        values = {key: str(value) if isinstance(value, Path) else value for key, value in asdict(self).items()}
        loaded: dict[str, Any] = json.loads(json.dumps(values))
        return loaded
