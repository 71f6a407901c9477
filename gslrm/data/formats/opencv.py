"""Reads OpenCV FileStorage or ROS files, one per camera, under the names that are common for their entries."""

from pathlib import Path
from typing import Any

from gslrm.data.formats import filestorage, reading
from gslrm.data.rig import PIXEL_CENTRE, LensModel, Rig, RigCamera
from gslrm.errors import UserError

INTRINSICS = ("camera_matrix", "cameraMatrix", "Camera_Matrix", "K", "M", "mtx")
DISTORTION = ("distortion_coefficients", "Distortion_Coefficients", "distCoeffs", "dist_coeffs", "dist", "D")
ROTATION = ("R", "rotation_matrix", "rotation", "rvec", "rotation_vector", "Rot")
TRANSLATION = ("T", "t", "tvec", "translation", "translation_vector")
WIDTH = ("image_width", "image_Width", "imageWidth", "width")
HEIGHT = ("image_height", "image_Height", "imageHeight", "height")
LENS_MODELS: dict[str, LensModel] = {
    "plumb_bob": "polynomial",
    "rational_polynomial": "polynomial",
    "pinhole": "polynomial",
    "equidistant": "fisheye",
    "fisheye": "fisheye",
}


def matches(path: Path) -> bool:
    """A file with a camera matrix, or a directory of them."""
    return any(set(INTRINSICS) & set(filestorage.parse_if_any(file)) for file in filestorage.files_of(path))


def read(path: Path) -> Rig:
    """A rig in the file's own unit, which the format does not fix; one file stands for all in its directory.

    Cameras are named by `camera_name`, else by their files. A rotation is a matrix or a Rodrigues vector; it takes
    world points to the camera, as in OpenCV. `distortion_model: equidistant` or `fisheye: 1` is OpenCV's fisheye lens.

    Raises:
        UserError: a file is damaged, lacks something, or has another distortion model.
    """
    cameras = tuple(_camera(file) for file in filestorage.files_of(path if path.is_dir() else path.parent))
    return Rig(cameras, path, "opencv")


def _camera(file: Path) -> RigCamera:
    content = filestorage.parse(file)
    intrinsics = reading.array(_one_of(content, INTRINSICS, file), (3, 3), f"{file}: camera matrix")
    rotation = reading.rotation_of(_one_of(content, ROTATION, file), f"{file}: rotation")
    translation = reading.array(_one_of(content, TRANSLATION, file), (3,), f"{file}: translation")
    lens = reading.lens(_one_of(content, DISTORTION, file), file, model=_lens_model(content, file))
    side = lambda keys: next((content[key] for key in keys if key in content), None)  # noqa: E731
    width, height = reading.size(side(WIDTH), side(HEIGHT), file)
    name = reading.text(content.get("camera_name", file.stem), f"{file}: camera_name")
    pose = reading.rigid(rotation, translation)
    return RigCamera(name, reading.move_origin(intrinsics, PIXEL_CENTRE), pose, lens, width, height)


def _one_of(content: dict[str, Any], names: tuple[str, ...], file: Path) -> Any:
    found = [name for name in names if name in content]
    if not found:
        raise UserError(f"{file}: lacks {' or '.join(names)}; export intrinsics and pose of each camera together")
    return filestorage.elements(content[found[0]])


def _lens_model(content: dict[str, Any], file: Path) -> LensModel:
    if str(content.get("fisheye", "")).lower() in ("1", "true"):
        return "fisheye"
    named = str(content.get("distortion_model", "plumb_bob"))
    if named not in LENS_MODELS:
        raise UserError(f"{file}: distortion_model {named} is unknown; known are {', '.join(LENS_MODELS)}")
    return LENS_MODELS[named]
