"""A recording's Gaussians as one compact folder: a manifest with one .spz file per frame (docs/motion.md)."""

import os
import shutil
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from jaxtyping import Float
from pydantic import ValidationError
from torch import Tensor

from gslrm.cameras import Cameras
from gslrm.data.sample import camera_frames
from gslrm.errors import UserError
from gslrm.export import AnyPath, read_bytes, read_spz, write_spz
from gslrm.look_around import SOLID, solid_box, solid_center
from gslrm.motion.manifest import (
    MANIFEST,
    Bounds,
    CameraEntry,
    FrameEntry,
    Manifest,
    Normalisation,
    Point,
    first_problem,
)
from gslrm.types import Gaussians

FRAMES = "frames"
Box = tuple[Float[Tensor, "3"], Float[Tensor, "3"]]
TINY = 1e-9  # radius of a sequence that is one point, so that its scale stays finite


@dataclass(frozen=True)
class FrameCamera:
    """A camera (unbatched, float64) that saw a frame; `is_input` where the model was given its picture."""

    name: str
    camera: Cameras
    is_input: bool = True


@dataclass(frozen=True)
class Frame:
    """One moment: Gaussians `[N]` and cameras in the sequence's world, `time` in seconds.

    `sample` is the folder of the pictures it was made from; `density` is how many pixels a unit of length had, at the
    animal, in the pictures that the Gaussians were made for: finer ones need the blur of those. Both where known.
    """

    name: str
    time: float
    gaussians: Gaussians
    cameras: tuple[FrameCamera, ...] = ()
    sample: Path | None = None
    density: float | None = None


@dataclass(frozen=True)
class GaussianSequence:
    """A sequence on the disk; frames are read when asked for."""

    folder: Path
    manifest: Manifest

    def __len__(self) -> int:
        return len(self.manifest.frames)

    def frame(self, index: int) -> Frame:
        """One frame with everything known about it.

        Raises:
            UserError: its file is missing, damaged, or not the one that the manifest describes.
        """
        entry = self.manifest.frames[index]
        gaussians, cameras = self.gaussians(index), self.cameras(index)
        return Frame(entry.name, entry.time, gaussians, cameras, self.sample(index), entry.density)

    def gaussians(self, index: int) -> Gaussians:
        """The Gaussians `[N]` of one frame, in float32 on the CPU.

        Raises:
            UserError: its file is missing, damaged, or not the one that the manifest describes.
        """
        entry = self.manifest.frames[index]
        path = self.folder / entry.file
        if zlib.crc32(read_bytes(path)) != entry.crc32:
            raise UserError(f"{path} is damaged: it is not what {MANIFEST} describes; copy or make the sequence again")
        gaussians = read_spz(path)
        if len(gaussians.means) != entry.count:
            raise UserError(
                f"{path} holds {len(gaussians.means)} Gaussians, not {entry.count}; make the sequence again"
            )
        return gaussians

    def cameras(self, index: int) -> tuple[FrameCamera, ...]:
        """The cameras that saw one frame, in the sequence's world; none where they are not known."""
        return tuple(_camera(entry) for entry in self.manifest.frames[index].cameras)

    def sample(self, index: int) -> Path | None:
        """The folder of the pictures that one frame was made from, if the manifest names it."""
        named = self.manifest.frames[index].sample
        return None if named is None else self.folder / named

    def resolution_ratio(self, index: int, camera: Cameras) -> float:
        """Pixels of a camera per pixel of the pictures that a frame was made for, see `Rasterizer`; 1 if unknown."""
        entry = self.manifest.frames[index]
        if entry.density is None or entry.center is None:
            return 1.0
        distance = (camera.position.double() - torch.tensor(entry.center, dtype=torch.float64)).norm()
        return float(camera.focal.double().mean() / distance) / entry.density

    @property
    def times(self) -> list[float]:
        """Seconds, ascending."""
        return [frame.time for frame in self.manifest.frames]

    @property
    def size(self) -> int:
        """Bytes of all frames."""
        return sum(frame.size for frame in self.manifest.frames)

    @cached_property
    def up(self) -> Float[Tensor, "3"]:
        """The unit vector that points up, in float64."""
        return torch.nn.functional.normalize(torch.tensor(self.manifest.up, dtype=torch.float64), dim=0)


def write_sequence(folder: AnyPath, frames: Iterable[Frame], *, fps: float, unit: str, up: Point) -> GaussianSequence:
    """Write frames one by one as they come; the folder appears, or replaces an earlier sequence, when all are written.

    Args:
        folder: made; an earlier sequence of that name is replaced.
        frames: in ascending order of time, with different names, in one world.
        fps: frames per second of the recording.
        unit: of lengths, such as mm; empty where nobody knows.
        up: unit vector in the sequence's world.

    Raises:
        UserError: the folder holds something else, or cannot be written.
        ValueError: there is no frame, names repeat, times do not ascend, or Gaussians hold NaN.
    """
    folder = Path(folder).absolute()
    if folder.exists() and not (folder / MANIFEST).is_file():
        raise UserError(f"{folder} exists and is no sequence; name another folder")
    partial = folder.with_name(f".{folder.name}.{os.getpid()}")
    try:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        written = [_write_frame(partial, folder, frame) for frame in frames]
        entries = tuple(entry for entry, _ in written)
        bounds, normalisation = _bounds([box for _, box in written if box is not None])
        manifest = Manifest(fps=fps, unit=unit, up=up, bounds=bounds, normalisation=normalisation, frames=entries)
        (partial / MANIFEST).write_text(manifest.model_dump_json(indent=1, exclude_none=True) + "\n", encoding="utf-8")
        _replace(folder, partial)
    except ValidationError as error:
        raise ValueError(f"{folder}: {first_problem(error)}") from error
    except OSError as error:
        raise UserError(f"cannot write {folder}: {error}; free some space or choose another folder") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return GaussianSequence(folder, manifest)


def read_sequence(path: AnyPath) -> GaussianSequence:
    """Open the sequence of a folder, or of its manifest, and check that all its files are there with their sizes.

    Raises:
        UserError: there is none, its manifest is damaged or of a later version, or a frame is missing or cut short.
    """
    folder = Path(path)
    folder = folder.parent if folder.name == MANIFEST else folder
    file = folder / MANIFEST
    if not file.is_file():
        raise UserError(f"{folder} holds no sequence ({MANIFEST} is missing); make one with scripts/make_sequence.py")
    try:
        manifest = Manifest.model_validate_json(read_bytes(file))
    except ValidationError as error:
        raise UserError(f"{file} cannot be used: {first_problem(error)}; make the sequence again") from error
    for entry in manifest.frames:
        frame = folder / entry.file
        if not frame.is_file():
            raise UserError(f"{frame} is missing: frame {entry.name} of {file}; copy or make the sequence again")
        if frame.stat().st_size != entry.size:
            raise UserError(f"{frame} has {frame.stat().st_size} bytes instead of {entry.size}; copy it again")
    return GaussianSequence(folder, manifest)


def _write_frame(partial: Path, folder: Path, frame: Frame) -> tuple[FrameEntry, Box | None]:
    """The entry of a frame whose file has been written, and its box where anything is solid."""
    file = f"{FRAMES}/{frame.name}.spz"
    write_spz(frame.gaussians, partial / file)
    content = read_bytes(partial / file)
    is_solid = bool((frame.gaussians.opacities >= SOLID).any())
    entry = FrameEntry(
        name=frame.name,
        time=frame.time,
        file=file,
        count=len(frame.gaussians.means),
        size=len(content),
        crc32=zlib.crc32(content),
        center=_point(solid_center(frame.gaussians)) if is_solid else None,
        density=frame.density,
        cameras=tuple(_entry(camera) for camera in frame.cameras),
        sample=None if frame.sample is None else Path(os.path.relpath(frame.sample, folder)).as_posix(),
    )
    return entry, solid_box(frame.gaussians) if is_solid else None


def _bounds(boxes: Sequence[Box]) -> tuple[Bounds, Normalisation]:
    """The box around all boxes, and what brings it into the unit ball; a point at the origin where there is none."""
    none = torch.zeros(3, dtype=torch.float64)
    low = torch.stack([box[0] for box in boxes]).amin(dim=0) if boxes else none
    high = torch.stack([box[1] for box in boxes]).amax(dim=0) if boxes else none
    radius = max(float((high - low).norm() / 2), TINY)
    return (
        Bounds(low=_point(low), high=_point(high)),
        Normalisation(center=_point((low + high) / 2), scale=1 / radius),
    )


def _replace(folder: Path, partial: Path) -> None:
    """Put a complete folder in the place of an earlier one."""
    before = folder.with_name(f".{folder.name}.{os.getpid()}.before")
    if folder.exists():
        folder.rename(before)
    partial.rename(folder)
    shutil.rmtree(before, ignore_errors=True)


def _entry(camera: FrameCamera) -> CameraEntry:
    (values,) = camera_frames(camera.camera[None])
    return CameraEntry(name=camera.name, is_input=camera.is_input, **values)


def _camera(entry: CameraEntry) -> FrameCamera:
    rows = [list(row) for row in entry.w2c]
    camera = Cameras.from_w2c([rows], [[entry.fx, entry.fy]], [[entry.cx, entry.cy]], height=entry.h, width=entry.w)
    return FrameCamera(entry.name, camera[0], entry.is_input)


def _point(vector: Tensor) -> Point:
    x, y, z = vector.tolist()
    return x, y, z
