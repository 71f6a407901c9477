"""Calibration files of every family, written by other code than the package's own, and the rig that they hold."""

import json
import pickle
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import scipy.io
from colmap_helpers import write_colmap_binary, write_colmap_text
from helpers import ring
from matlab_helpers import save_matlab_5, save_matlab_73

from gslrm.data.rig import Lens, Rig, RigCamera

SIZE = (240, 208)
FIVE = (-0.13, 0.3, -0.001, -0.003, -0.4)
EIGHT = (-0.11, 0.2, 0.002, -0.001, -0.3, 0.05, 0.02, 0.01)
FISHEYE = (0.05, -0.02, 0.01, -0.003)


def lab_rig(count: int = 4, *, skew: float = 0.0, lens: Lens | None = None, sized: bool = True) -> Rig:
    """Cameras on a ring of 330 mm, each with its own intrinsics; corner convention."""
    cameras = []
    for index, camera in enumerate(ring(count, size=SIZE[1], radius=330.0)):
        fx, fy = 360.0 + 3.1 * index, 366.0 - 2.3 * index
        matrix = np.array([[fx, skew * (1 + index), 122.3 + index], [0, fy, 101.7 - index], [0, 0, 1]])
        size = SIZE if sized else (None, None)
        cameras.append(RigCamera(f"Camera{index + 1}", matrix, camera.camera_from_world.numpy(), lens or Lens(), *size))
    return Rig(tuple(cameras), Path("made.up"), "none", unit="mm")


def named(rig: Rig, names: Iterable[str]) -> Rig:
    """The rig with other names."""
    return replace(rig, cameras=tuple(replace(c, name=name) for c, name in zip(rig.cameras, names, strict=True)))


def shifted(camera: RigCamera, offset: float) -> np.ndarray:
    """The camera's matrix in another pixel convention."""
    matrix = camera.intrinsics.copy()
    matrix[:2, 2] += offset
    return matrix


def dannce_parameters(camera: RigCamera) -> dict[str, np.ndarray]:
    k1, k2, p1, p2, k3 = camera.lens.coefficients[:5]
    return {
        "K": shifted(camera, 0.5).T,
        "RDistort": np.array([[k1, k2, k3]]),
        "TDistort": np.array([[p1, p2]]),
        "r": camera.camera_from_world[:3, :3].T,
        "t": camera.camera_from_world[None, :3, 3],
    }


def dannce_content(rig: Rig, *, sync: list[dict] | None = None, labels: list[dict] | None = None) -> dict:
    """Variables of a Label3D file; structs as dicts, cells as lists."""
    content = {"camnames": list(rig.names), "params": [dannce_parameters(camera) for camera in rig.cameras]}
    return content | ({} if sync is None else {"sync": sync}) | ({} if labels is None else {"labelData": labels})


def write_dannce(folder: Path, rig: Rig) -> Path:
    return save_matlab_5(folder / "label3d_dannce.mat", dannce_content(rig))


def write_dannce_73(folder: Path, rig: Rig) -> Path:
    return save_matlab_73(folder / "label3d_dannce.mat", dannce_content(rig))


def write_dannce_files(folder: Path, rig: Rig) -> Path:
    for camera in rig.cameras:
        scipy.io.savemat(folder / f"hires_{camera.name}_params.mat", dannce_parameters(camera))
    return folder


def mammal_content(rig: Rig) -> list[dict[str, np.ndarray]]:
    return [
        {"K": shifted(camera, -0.5), "R": camera.camera_from_world[:3, :3], "T": camera.camera_from_world[:3, 3]}
        for camera in rig.cameras
    ]


def write_mammal(folder: Path, rig: Rig) -> Path:
    (folder / "new_cam.pkl").write_bytes(pickle.dumps(mammal_content(rig), protocol=4))
    return folder / "new_cam.pkl"


def write_anipose(folder: Path, rig: Rig) -> Path:
    lines = []
    for index, camera in enumerate(rig.cameras):
        count = 4 if camera.lens.model == "fisheye" else 8
        vector = cv2.Rodrigues(camera.camera_from_world[:3, :3])[0].ravel().tolist()
        lines += [
            f"[cam_{index}]",
            f'name = "{camera.name}"',
            f"size = [ {camera.width}, {camera.height},]",
            f"matrix = {shifted(camera, -0.5).tolist()}",
            f"distortions = {list(camera.lens.coefficients[:count])}",
            f"rotation = {vector}",
            f"translation = {camera.camera_from_world[:3, 3].tolist()}",
            f"fisheye = {'true' if camera.lens.model == 'fisheye' else 'false'}",
        ]
    (folder / "calibration.toml").write_text("\n".join([*lines, "[metadata]", "adjusted = false", "error = 0.3", ""]))
    return folder / "calibration.toml"


def file_storage(path: Path, content: dict) -> None:
    storage = cv2.FileStorage(str(path), cv2.FILE_STORAGE_WRITE)
    for key, value in content.items():
        if isinstance(value, list):
            storage.startWriteStruct(key, cv2.FileNode_SEQ)
            for item in value:
                storage.write("", item)
            storage.endWriteStruct()
        else:
            storage.write(key, value)
    storage.release()


def write_jarvis(folder: Path, rig: Rig) -> Path:
    for camera in rig.cameras:
        content = {
            "intrinsicMatrix": shifted(camera, -0.5).T.copy(),
            "distortionCoefficients": np.array([camera.lens.coefficients[:5]]),
            "R": camera.camera_from_world[:3, :3].T.copy(),
            "T": camera.camera_from_world[:3, 3:].copy(),
        }
        file_storage(folder / f"{camera.name}.yaml", content)
    return folder


def write_opencv(folder: Path, rig: Rig) -> Path:
    for camera in rig.cameras:
        content = {
            "image_width": camera.width,
            "image_height": camera.height,
            "camera_matrix": shifted(camera, -0.5),
            "distortion_coefficients": np.array([camera.lens.coefficients]),
            "rvec": cv2.Rodrigues(camera.camera_from_world[:3, :3])[0],
            "tvec": camera.camera_from_world[:3, 3:].copy(),
        }
        file_storage(folder / f"{camera.name}.yml", content)
    return folder


def write_easymocap(folder: Path, rig: Rig) -> Path:
    intrinsics, extrinsics = {"names": list(rig.names)}, {"names": list(rig.names)}
    for camera in rig.cameras:
        intrinsics[f"K_{camera.name}"] = shifted(camera, -0.5)
        intrinsics[f"dist_{camera.name}"] = np.array([camera.lens.coefficients[:5]])
        extrinsics[f"R_{camera.name}"] = cv2.Rodrigues(camera.camera_from_world[:3, :3])[0]
        extrinsics[f"Rot_{camera.name}"] = camera.camera_from_world[:3, :3].copy()
        extrinsics[f"T_{camera.name}"] = camera.camera_from_world[:3, 3:].copy()
    file_storage(folder / "intri.yml", intrinsics)
    file_storage(folder / "extri.yml", extrinsics)
    return folder


def nerfstudio_frame(camera: RigCamera) -> dict:
    opengl = np.linalg.inv(camera.camera_from_world) @ np.diag([1.0, -1.0, -1.0, 1.0])
    names = ("k1", "k2", "k3", "k4") if camera.lens.model == "fisheye" else ("k1", "k2", "p1", "p2", "k3")
    return {
        "file_path": f"images/{camera.name}.png",
        "w": camera.width,
        "h": camera.height,
        "fl_x": float(camera.intrinsics[0, 0]),
        "fl_y": float(camera.intrinsics[1, 1]),
        "cx": float(camera.intrinsics[0, 2]),
        "cy": float(camera.intrinsics[1, 2]),
        **dict(zip(names, camera.lens.coefficients, strict=False)),
        "transform_matrix": opengl.tolist(),
    }


def write_nerfstudio(folder: Path, rig: Rig) -> Path:
    model = "OPENCV_FISHEYE" if rig.cameras[0].lens.model == "fisheye" else "OPENCV"
    content = {"camera_model": model, "frames": [nerfstudio_frame(camera) for camera in rig.cameras]}
    (folder / "transforms.json").write_text(json.dumps(content))
    return folder / "transforms.json"


def write_facelift(folder: Path, rig: Rig) -> Path:
    frames = []
    for index, camera in enumerate(rig.cameras):
        (fx, _, cx), (_, fy, cy), _ = camera.intrinsics.tolist()
        size = {"w": camera.width, "h": camera.height, "fx": fx, "fy": fy, "cx": cx, "cy": cy}
        file = {"file_path": f"images/cam_{index:03d}.png", "blender_camera_name": camera.name}
        frames.append(size | {"w2c": camera.camera_from_world.tolist()} | file)
    (folder / "opencv_cameras.json").write_text(json.dumps({"id": "x", "frames": frames}))
    return folder / "opencv_cameras.json"


def write_explicit(folder: Path, rig: Rig) -> Path:
    cameras = [
        {
            "name": camera.name,
            "width": camera.width,
            "height": camera.height,
            "K": shifted(camera, -0.5).tolist(),
            "dist": list(camera.lens.coefficients),
            "w2c": camera.camera_from_world.tolist(),
        }
        for camera in rig.cameras
    ]
    (folder / "rig.json").write_text(json.dumps({"units": "mm", "cameras": cameras}))
    return folder / "rig.json"


class Family(NamedTuple):
    """How a family's files are written, and what they can carry."""

    format: str
    write: Callable[[Path, Rig], Path]
    skew: float = 0.0
    lens: Lens = Lens(FIVE)
    has_size: bool = True
    unit: str | None = None
    undistorted: bool = False


FAMILIES = {
    "dannce": Family("dannce", write_dannce, skew=-1.4, has_size=False, unit="mm"),
    "dannce_73": Family("dannce", write_dannce_73, skew=-1.4, has_size=False, unit="mm"),
    "dannce_files": Family("dannce", write_dannce_files, skew=-1.4, has_size=False, unit="mm"),
    "mammal": Family("mammal", write_mammal, skew=-1.4, lens=Lens(), has_size=False, unit="mm", undistorted=True),
    "anipose": Family("anipose", write_anipose, unit="mm"),
    "anipose_rational": Family("anipose", write_anipose, lens=Lens(EIGHT), unit="mm"),
    "anipose_fisheye": Family("anipose", write_anipose, lens=Lens(FISHEYE, "fisheye"), unit="mm"),
    "jarvis": Family("jarvis", write_jarvis, has_size=False, unit="mm"),
    "opencv": Family("opencv", write_opencv, lens=Lens(EIGHT)),
    "easymocap": Family("easymocap", write_easymocap, has_size=False),
    "colmap_text": Family("colmap", write_colmap_text, lens=Lens(EIGHT)),
    "colmap_text_fisheye": Family("colmap", write_colmap_text, lens=Lens(FISHEYE, "fisheye")),
    "colmap_binary": Family("colmap", write_colmap_binary, lens=Lens(EIGHT)),
    "nerfstudio": Family("nerfstudio", write_nerfstudio),
    "nerfstudio_fisheye": Family("nerfstudio", write_nerfstudio, lens=Lens(FISHEYE, "fisheye")),
    "facelift": Family("facelift", write_facelift, lens=Lens(), undistorted=True),
    "explicit": Family("explicit", write_explicit, skew=-1.4, lens=Lens(EIGHT), unit="mm"),
}


def rig_of(family: Family, count: int = 4) -> Rig:
    return lab_rig(count, skew=family.skew, lens=family.lens, sized=True)


def assert_same_cameras(found: Rig, expected: Rig, *, tolerance: float = 1e-9, has_size: bool = True) -> None:
    """Names, intrinsics, lenses, poses and sizes agree."""
    assert found.names == expected.names
    for one, other in zip(found.cameras, expected.cameras, strict=True):
        np.testing.assert_allclose(one.intrinsics, other.intrinsics, rtol=tolerance, atol=tolerance)
        np.testing.assert_allclose(one.camera_from_world, other.camera_from_world, rtol=tolerance, atol=tolerance)
        np.testing.assert_allclose(one.lens.coefficients, other.lens.coefficients, rtol=tolerance, atol=tolerance)
        assert one.lens.model == other.lens.model
        assert (one.width, one.height) == ((other.width, other.height) if has_size else (None, None))
