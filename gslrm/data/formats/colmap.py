"""Reads COLMAP's sparse models, text or binary: `cameras` and `images`."""

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy.spatial.transform import Rotation

from gslrm.data.formats import reading
from gslrm.data.rig import LensModel, Rig, RigCamera
from gslrm.errors import UserError

FOLDERS = (".", "sparse/0", "sparse", "0")  # where a model lies below the directory that is named
SUFFIXES = (".bin", ".txt")
POINT_FIELDS, POINT_BYTES = 3, 24  # of one observed point: x, y, number


class Model(NamedTuple):
    """One of COLMAP's camera models: its number in binary files, and its parameters in their order."""

    number: int
    parameters: tuple[str, ...]
    lens: LensModel = "polynomial"


MODELS = {
    "SIMPLE_PINHOLE": Model(0, ("f", "cx", "cy")),
    "PINHOLE": Model(1, ("fx", "fy", "cx", "cy")),
    "SIMPLE_RADIAL": Model(2, ("f", "cx", "cy", "k1")),
    "RADIAL": Model(3, ("f", "cx", "cy", "k1", "k2")),
    "OPENCV": Model(4, ("fx", "fy", "cx", "cy", "k1", "k2", "p1", "p2")),
    "OPENCV_FISHEYE": Model(5, ("fx", "fy", "cx", "cy", "k1", "k2", "k3", "k4"), "fisheye"),
    "FULL_OPENCV": Model(6, ("fx", "fy", "cx", "cy", "k1", "k2", "p1", "p2", "k3", "k4", "k5", "k6")),
    "SIMPLE_RADIAL_FISHEYE": Model(8, ("f", "cx", "cy", "k1"), "fisheye"),
    "RADIAL_FISHEYE": Model(9, ("f", "cx", "cy", "k1", "k2"), "fisheye"),
}
NUMBERS = {model.number: name for name, model in MODELS.items()}


class Intrinsics(NamedTuple):
    """A line of the file `cameras`."""

    model: str
    width: float
    height: float
    parameters: list[float]


class Image(NamedTuple):
    """An entry of the file `images`: w2c as a quaternion wxyz with a shift, and which camera took it."""

    pose: list[float]
    camera: int
    name: str


def matches(path: Path) -> bool:
    """A directory with both files, also in sparse/0 below it, or one of the files."""
    return _model_folder(path) is not None


def read(path: Path) -> Rig:
    """A rig of one camera per image, named by its file, in a world of any scale.

    Pictures are looked for where COLMAP keeps them: in `images` beside `sparse`, else beside the model.

    Raises:
        UserError: a file is damaged or contradicts the other, or a camera model is not supported.
    """
    found = _model_folder(path)
    if found is None:
        raise UserError(f"{path}: has no cameras.txt beside images.txt (or .bin), nor has sparse/0 below it")
    folder, suffix = found
    cameras_file, images_file = folder / f"cameras{suffix}", folder / f"images{suffix}"
    cameras = dict(_read_binary_cameras(cameras_file) if suffix == ".bin" else _read_text_cameras(cameras_file))
    images = list(_read_binary_images(images_file) if suffix == ".bin" else _read_text_images(images_file))
    if not images:
        raise UserError(f"{images_file}: holds no images; run COLMAP again")
    pictures = [_picture_folder(folder) / image.name for image in images]
    names = reading.names_of_pictures([Path(image.name) for image in images])
    rig = tuple(_camera(images_file, name, image, cameras) for name, image in zip(names, images, strict=True))
    return Rig(rig, path, "colmap", images=(tuple(pictures),))


def _model_folder(path: Path) -> tuple[Path, str] | None:
    if path.is_file():
        known = path.stem in ("cameras", "images") and path.suffix in SUFFIXES
        places = [(path.parent, path.suffix)] if known else []
    else:
        places = [(path / folder, suffix) for folder in FOLDERS for suffix in SUFFIXES]
    has_both = lambda folder, suffix: all((folder / f"{name}{suffix}").is_file() for name in ("cameras", "images"))  # noqa: E731
    return next((place for place in places if has_both(*place)), None)


def _picture_folder(folder: Path) -> Path:
    folder = folder.resolve()
    above = next((parent.parent for parent in (folder, *folder.parents[:1]) if parent.name == "sparse"), folder)
    return above / "images"


def _camera(file: Path, name: str, image: Image, cameras: dict[int, Intrinsics]) -> RigCamera:
    where = f"{file}: image {image.name}"
    if image.camera not in cameras:
        raise UserError(f"{where}: its camera {image.camera} is not among the cameras; export both files together")
    intrinsics = cameras[image.camera]
    parameters = MODELS[intrinsics.model].parameters
    numbers = reading.array(intrinsics.parameters, (len(parameters),), f"{where}: {intrinsics.model} parameters")
    values = dict(zip(parameters, numbers.tolist(), strict=True))
    lens = reading.named_lens(values, where, model=MODELS[intrinsics.model].lens)
    fx, fy = (values[key] if key in values else values["f"] for key in ("fx", "fy"))
    matrix = reading.pinhole(fx, fy, values["cx"], values["cy"])
    width, height = reading.size(intrinsics.width, intrinsics.height, where)
    pose = reading.array(image.pose, (7,), f"{where}: pose")
    if not pose[:4].any():
        raise UserError(f"{where}: its quaternion is zero; run COLMAP again")
    rotation = Rotation.from_quat(pose[[1, 2, 3, 0]]).as_matrix()
    return RigCamera(name, matrix, reading.rigid(rotation, pose[4:]), lens, width, height)


def _require_model(name: object, where: str) -> str:
    if name not in MODELS:
        raise UserError(
            f"{where}: camera model {name} is not supported, only {', '.join(MODELS)}; undistort the pictures with "
            "COLMAP, or run it with --ImageReader.camera_model OPENCV"
        )
    return str(name)


def _read_text_cameras(file: Path) -> Iterator[tuple[int, Intrinsics]]:
    for number, line in enumerate(reading.read_text(file).splitlines(), start=1):
        fields, where = line.split(), f"{file}: line {number}"
        if not fields or fields[0].startswith("#"):
            continue
        if len(fields) < 5:
            raise UserError(f"{where}: must be CAMERA_ID MODEL WIDTH HEIGHT PARAMS[]")
        identity, width, height, *parameters = _numbers([fields[0], *fields[2:]], where)
        yield int(identity), Intrinsics(_require_model(fields[1], where), width, height, parameters)


def _read_text_images(file: Path) -> Iterator[Image]:
    """Entries of two lines, of which the second, with points, may be empty."""
    is_points = False
    for number, line in enumerate(reading.read_text(file).splitlines(), start=1):
        fields, where = line.split(maxsplit=9), f"{file}: line {number}"
        if line.startswith("#") or (not fields and not is_points):
            continue
        if is_points:
            if fields and (len(line.split()) % POINT_FIELDS or not _are_numbers(line.split(maxsplit=12)[:12])):
                raise UserError(f"{where}: must be the points of the image above; empty lines must not be removed")
            is_points = False
            continue
        if len(fields) < 10:
            raise UserError(f"{where}: must be IMAGE_ID QW QX QY QZ TX TY TZ CAMERA_ID NAME")
        _, *pose, camera = _numbers(fields[:9], where)
        yield Image(pose, int(camera), fields[9].strip())
        is_points = True


def _are_numbers(fields: list[str]) -> bool:
    try:
        return bool(np.isfinite(np.array(fields, np.float64)).all())
    except ValueError:
        return False


def _numbers(fields: list[str], where: str) -> list[float]:
    return reading.array(fields, (len(fields),), where).tolist()


class _Binary:
    """Reads little-endian values one after another."""

    def __init__(self, file: Path) -> None:
        self.file, self.content, self.place = file, reading.read_bytes(file), 0

    def take(self, kinds: str) -> tuple[int | float, ...]:
        """The next values, as `struct` names their kinds."""
        try:
            values = struct.unpack_from(f"<{kinds}", self.content, self.place)
        except struct.error as error:
            raise self.damaged() from error
        self.place += struct.calcsize(f"<{kinds}")
        return values

    def take_name(self) -> str:
        """The text up to the next zero."""
        end = self.content.find(b"\0", self.place)
        try:
            name = self.content[self.place : end].decode("utf-8")
        except UnicodeDecodeError as error:
            raise self.damaged() from error
        if end < 0:
            raise self.damaged()
        self.place = end + 1
        return name

    def skip(self, count: int) -> None:
        """Leave out bytes."""
        self.place += count
        if self.place > len(self.content):
            raise self.damaged()

    def finish(self) -> None:
        """Refuse what follows."""
        if self.place != len(self.content):
            raise self.damaged()

    def damaged(self) -> UserError:
        """What is wrong if a value is not where it should be."""
        return UserError(f"{self.file}: is cut off or damaged near byte {self.place}; copy it again")


def _read_binary_cameras(file: Path) -> Iterator[tuple[int, Intrinsics]]:
    binary = _Binary(file)
    for _ in range(int(binary.take("Q")[0])):
        identity, number, width, height = binary.take("IiQQ")
        model = _require_model(NUMBERS.get(int(number), f"number {number}"), f"{file}: camera {identity}")
        yield int(identity), Intrinsics(model, width, height, list(binary.take("d" * len(MODELS[model].parameters))))
    binary.finish()


def _read_binary_images(file: Path) -> Iterator[Image]:
    binary = _Binary(file)
    for _ in range(int(binary.take("Q")[0])):
        _, *pose, camera = binary.take("I7dI")
        name = binary.take_name()
        binary.skip(POINT_BYTES * int(binary.take("Q")[0]))
        yield Image(pose, int(camera), name)
    binary.finish()
