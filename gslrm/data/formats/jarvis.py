"""Reads JARVIS's calibration: one FileStorage file per camera, matrices transposed."""

from pathlib import Path

from gslrm.data.formats import filestorage, reading
from gslrm.data.rig import PIXEL_CENTRE, Rig, RigCamera

INTRINSICS = "intrinsicMatrix"


def matches(path: Path) -> bool:
    """A file with `intrinsicMatrix`, or a directory of them."""
    return any(INTRINSICS in filestorage.parse_if_any(file) for file in filestorage.files_of(path))


def read(path: Path) -> Rig:
    """A rig in millimetres; cameras are named by their files. One file stands for all in its directory.

    All distortion coefficients count, though JARVIS itself uses two.

    Raises:
        UserError: a file is damaged or lacks something.
    """
    cameras = tuple(_camera(file) for file in filestorage.files_of(path if path.is_dir() else path.parent))
    return Rig(cameras, path, "jarvis", unit="mm")


def _camera(file: Path) -> RigCamera:
    content = filestorage.parse(file)
    value = lambda key: filestorage.elements(reading.entry(content, key, file))  # noqa: E731
    intrinsics = reading.array(value(INTRINSICS), (3, 3), f"{file}: {INTRINSICS}").T
    rotation = reading.array(value("R"), (3, 3), f"{file}: R").T
    translation = reading.array(value("T"), (3,), f"{file}: T")
    lens = reading.lens(value("distortionCoefficients"), file)
    pose = reading.rigid(rotation, translation)
    return RigCamera(file.stem, reading.move_origin(intrinsics, PIXEL_CENTRE), pose, lens)
