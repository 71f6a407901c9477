"""What `manifest.json` of a sequence says, checked while it is read."""

from itertools import pairwise
from pathlib import PurePosixPath
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

MANIFEST = "manifest.json"

Point = tuple[float, float, float]
Row = tuple[float, float, float, float]
Positive = Annotated[float, Field(gt=0)]
Size = Annotated[int, Field(ge=0)]


class _Part(BaseModel):
    """Numbers are finite; keys of later versions that this one does not know are passed over."""

    model_config = ConfigDict(frozen=True, allow_inf_nan=False, extra="ignore")


class CameraEntry(_Part):
    """One camera in the sequence's world, in the keys of `opencv_cameras.json`; `is_input`: the model was given it."""

    name: str
    w: Annotated[int, Field(ge=1)]
    h: Annotated[int, Field(ge=1)]
    fx: Positive
    fy: Positive
    cx: float
    cy: float
    w2c: tuple[Row, Row, Row, Row]
    is_input: bool = True


class FrameEntry(_Part):
    """One moment: its file in the folder, what that file must be like, the cameras that saw it."""

    name: str
    time: float
    file: str
    count: Size
    size: Size
    crc32: Size
    center: Point | None = None
    density: Positive | None = None
    cameras: tuple[CameraEntry, ...] = ()
    sample: str | None = None

    @field_validator("file")
    @classmethod
    def _inside(cls, file: str) -> str:
        path = PurePosixPath(file)
        if not file or path.is_absolute() or ".." in path.parts or "\\" in file:
            raise ValueError(f"{file!r} is no path inside the folder")
        return file


class Bounds(_Part):
    """Lowest and highest corner of a box around the solid Gaussians of all frames."""

    low: Point
    high: Point


class Normalisation(_Part):
    """One shift with one scale for all frames: `scale * (x - center)` lies in the unit ball."""

    center: Point
    scale: Positive


class Manifest(_Part):
    """The whole file; see docs/motion.md."""

    format: Literal["gslrm sequence"] = "gslrm sequence"
    version: Literal[1] = 1
    fps: Positive
    unit: str
    up: Point
    bounds: Bounds
    normalisation: Normalisation
    frames: Annotated[tuple[FrameEntry, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _in_order(self) -> "Manifest":
        if len({frame.name for frame in self.frames}) < len(self.frames):
            raise ValueError("two frames have the same name")
        times = [frame.time for frame in self.frames]
        if any(late <= early for early, late in pairwise(times)):
            raise ValueError("the times of the frames do not ascend")
        return self


def first_problem(error: ValidationError) -> str:
    """The first thing that is wrong with a manifest, with its place."""
    problem = error.errors()[0]
    place = ".".join(str(part) for part in problem["loc"])
    return f"{place}: {problem['msg']}" if place else problem["msg"]
