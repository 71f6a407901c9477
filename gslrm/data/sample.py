"""Sample directories in FaceLift's layout: `opencv_cameras.json` beside the images it names."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from gslrm.cameras import Cameras
from gslrm.data.images import write_image
from gslrm.errors import UserError
from gslrm.similarity import Similarity

CAMERA_FILE = "opencv_cameras.json"


@dataclass(frozen=True)
class SampleView:
    """One frame of a camera file: where its image lies and the camera that took it (unbatched, float64)."""

    index: int
    name: str
    image_path: Path
    camera: Cameras

    @property
    def mask_path(self) -> Path:
        """Where the mask lies if there is one: `masks/` with the image's file name."""
        return self.image_path.parent.parent / "masks" / self.image_path.name


@dataclass(frozen=True)
class Sample:
    """A sample directory whose camera file has been read and checked; images are read when asked for."""

    directory: Path
    views: tuple[SampleView, ...]
    world_from_source: Similarity | None = None
    """How a prepared sample's world follows from the world of the recording; none where the file does not say."""

    @property
    def name(self) -> str:
        """The directory's name, which names the outputs."""
        return self.directory.name

    def select(self, indices: tuple[int, ...]) -> list[SampleView]:
        """Views by index.

        Raises:
            UserError: the sample has no such view.
        """
        for index in indices:
            if not 0 <= index < len(self.views):
                raise UserError(
                    f"{self.directory / CAMERA_FILE}: has no view {index}; its views are 0-{len(self.views) - 1}"
                )
        return [self.views[index] for index in indices]


def read_sample(path: Path) -> Sample:
    """Read and check the camera file of a sample directory (or the file itself).

    Raises:
        UserError: the file is missing, is not the layout, or holds an impossible camera or similarity.
    """
    file = path if path.suffix == ".json" else path / CAMERA_FILE
    try:
        content = json.loads(file.read_text())
    except OSError as error:
        raise UserError(f"{file}: camera file is missing or unreadable ({error.strerror})") from error
    except ValueError as error:
        raise UserError(f"{file}: not valid JSON ({error})") from error
    frames = content.get("frames") if isinstance(content, dict) else None
    if not isinstance(frames, list) or not frames:
        raise UserError(f"{file}: needs a non-empty list 'frames'")
    views = tuple(_read_view(file, index, frame) for index, frame in enumerate(frames))
    return Sample(file.parent, views, _read_similarity(file, content.get("similarity")))


def write_sample(
    directory: Path,
    *,
    images: np.ndarray,
    masks: np.ndarray,
    depths: np.ndarray | None,
    cameras: Cameras,
    camera_names: list[str] | None = None,
    world_from_source: Similarity | None = None,
    name: str | None = None,
) -> None:
    """Write a sample; the camera file comes last, so that a directory that has one is complete.

    Args:
        directory: made if missing.
        images: uint8 [V, H, W, 3], RGB.
        masks: uint8 [V, H, W], coverage times 255.
        depths: uint16 [V, H, W] or none.
        cameras: [V] of the images' size.
        camera_names: one per view, informational.
        world_from_source: recorded where the cameras' world is not that of the recording.
        name: of the sample, if its directory is to be renamed.
    """
    folders = {"images": images, "masks": masks} | ({} if depths is None else {"depth": depths})
    for folder, arrays in folders.items():
        (directory / folder).mkdir(parents=True, exist_ok=True)
        for index, array in enumerate(arrays):
            write_image(directory / folder / f"cam_{index:03d}.png", array)
    frames = camera_frames(cameras)
    for index, frame in enumerate(frames):
        frame["file_path"] = f"images/cam_{index:03d}.png"
        frame["view_id"] = index
        if camera_names:
            frame["camera_name"] = camera_names[index]
    content: dict[str, Any] = {"id": name or directory.name, "frames": frames}
    if world_from_source is not None:
        content["similarity"] = {"world_from_source": world_from_source.matrix().tolist()}
    (directory / CAMERA_FILE).write_text(json.dumps(content, indent=1))


def camera_frames(cameras: Cameras) -> list[dict[str, Any]]:
    """Cameras [V] as the dictionaries of a camera file."""
    cameras = cameras.to("cpu")
    rows = zip(cameras.focal.tolist(), cameras.center.tolist(), cameras.camera_from_world.tolist(), strict=True)
    size = {"w": cameras.width, "h": cameras.height}
    return [size | dict(zip(("fx", "fy", "cx", "cy"), focal + center, strict=True)) | {"w2c": w2c}
            for focal, center, w2c in rows]  # fmt: skip


def _read_similarity(file: Path, content: Any) -> Similarity | None:
    if content is None:
        return None
    try:
        rows = [[float(value) for value in row] for row in content["world_from_source"]]
        return Similarity.from_matrix(torch.tensor(rows, dtype=torch.float64).reshape(4, 4))
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        reason = "is missing" if isinstance(error, KeyError) else error
        raise UserError(
            f"{file}: similarity.world_from_source: {reason}; expected a 4x4 similarity matrix with the scale inside, "
            "or no 'similarity' at all"
        ) from error


def _read_view(file: Path, index: int, frame: Any) -> SampleView:
    where = f"{file}: frame {index}"
    if not isinstance(frame, dict):
        raise UserError(f"{where}: must be a mapping with fx, fy, cx, cy, w2c, w, h and file_path")
    missing = [key for key in ("fx", "fy", "cx", "cy", "w2c", "w", "h", "file_path") if key not in frame]
    if missing:
        raise UserError(f"{where}: lacks {', '.join(missing)}")
    try:
        camera = Cameras.from_w2c(
            [[[float(value) for value in row] for row in frame["w2c"]]],
            [[float(frame["fx"]), float(frame["fy"])]],
            [[float(frame["cx"]), float(frame["cy"])]],
            height=int(frame["h"]),
            width=int(frame["w"]),
        )
    except (TypeError, ValueError) as error:
        raise UserError(
            f"{where} (camera {frame['file_path']}): {error}; expected OpenCV world-to-camera w2c and pixel intrinsics"
        ) from error
    name = str(frame.get("camera_name") or frame.get("blender_camera_name") or f"cam_{index:03d}")
    return SampleView(index, name, file.parent / str(frame["file_path"]), camera[0])
