"""What writers of calibration files share: text on disk, and refusals of what a format cannot carry."""

import json
from pathlib import Path
from typing import Any

from gslrm.data.rig import Rig, RigCamera
from gslrm.errors import UserError


def write_text(path: Path, content: str) -> None:
    """Write a text file in a directory that is made if missing.

    Raises:
        UserError: it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror})") from error


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write a JSON file; numbers keep all their digits.

    Raises:
        UserError: it cannot be written.
    """
    write_text(path, json.dumps(content, indent=1) + "\n")


def require_no_skew(camera: RigCamera, format_name: str) -> None:
    """Refuse a camera whose pixel axes are not perpendicular.

    Raises:
        UserError: it has skew.
    """
    if camera.intrinsics[0, 1] != 0:
        raise UserError(
            f"camera {camera.name}: {format_name} files cannot carry its skew of {camera.intrinsics[0, 1]:.4g} pixels; "
            "keep the original file, or resample the pictures first"
        )


def require_no_lens(camera: RigCamera, format_name: str) -> None:
    """Refuse a camera with lens distortion.

    Raises:
        UserError: it has any.
    """
    if not camera.lens.is_identity:
        raise UserError(
            f"camera {camera.name}: {format_name} files cannot carry its lens distortion; keep the original file, or "
            "undistort the pictures first"
        )


def require_size(camera: RigCamera, format_name: str) -> tuple[int, int]:
    """Width and height of a camera's pictures.

    Raises:
        UserError: they are unknown.
    """
    if camera.width is None or camera.height is None:
        raise UserError(f"camera {camera.name}: {format_name} files need the size of its pictures, which is unknown")
    return camera.width, camera.height


def picture_of(rig: Rig, index: int, directory: Path, default: str) -> str:
    """Where a camera's first picture lies as a file in `directory` says it; `default` if the rig names none."""
    if rig.images is None:
        return default
    picture = rig.images[0][index]
    return (picture.relative_to(directory) if picture.is_relative_to(directory) else picture.absolute()).as_posix()
