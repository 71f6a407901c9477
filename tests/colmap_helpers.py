"""COLMAP models, written by other code than the package's own."""

import struct
from pathlib import Path

from scipy.spatial.transform import Rotation

from gslrm.data.rig import Rig

COLMAP_FISHEYE, COLMAP_FULL = ("OPENCV_FISHEYE", 5), ("FULL_OPENCV", 6)


def _colmap_rows(rig: Rig) -> list[tuple[tuple[str, int], list[float], list[float]]]:
    rows = []
    for camera in rig.cameras:
        matrix, pose = camera.intrinsics, camera.camera_from_world
        x, y, z, w = Rotation.from_matrix(pose[:3, :3]).as_quat()
        parameters = [matrix[0, 0], matrix[1, 1], matrix[0, 2], matrix[1, 2], *camera.lens.coefficients]
        model = COLMAP_FISHEYE if camera.lens.model == "fisheye" else COLMAP_FULL
        rows.append((model, [float(value) for value in parameters], [float(v) for v in (w, x, y, z, *pose[:3, 3])]))
    return rows


def write_colmap_text(folder: Path, rig: Rig, points: str = "") -> Path:
    model = folder / "sparse" / "0"
    model.mkdir(parents=True)
    cameras, images = ["# Camera list"], ["# Image list with two lines of data per image:"]
    for index, ((name, _), parameters, pose) in enumerate(_colmap_rows(rig)):
        camera = rig.cameras[index]
        cameras.append(" ".join(map(str, [index + 7, name, camera.width, camera.height, *parameters])))
        images += [" ".join(map(str, [index + 1, *pose, index + 7, f"{camera.name}.png"])), points]
    (model / "cameras.txt").write_text("\n".join(cameras) + "\n")
    (model / "images.txt").write_text("\n".join(images) + "\n")
    return folder


def write_colmap_binary(folder: Path, rig: Rig) -> Path:
    model = folder / "sparse" / "0"
    model.mkdir(parents=True)
    cameras = images = struct.pack("<Q", len(rig.cameras))
    for index, ((_, number), parameters, pose) in enumerate(_colmap_rows(rig)):
        camera = rig.cameras[index]
        cameras += struct.pack("<iiQQ", index + 7, number, camera.width, camera.height)
        cameras += struct.pack(f"<{len(parameters)}d", *parameters)
        images += struct.pack("<i7di", index + 1, *pose, index + 7) + f"{camera.name}.png".encode() + b"\0"
        images += struct.pack("<Q", 2) + struct.pack("<ddq", 3.5, 4.5, -1) * 2
    (model / "cameras.bin").write_bytes(cameras)
    (model / "images.bin").write_bytes(images)
    return folder
