"""A lab recording in small: an animal of balls on a white disc, seen by raw cameras with skew and distortion."""

from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
import scipy.io
import torch
from helpers import ring

from gslrm.data.images import write_image
from gslrm.data.rig import Lens, Rig, RigCamera

WIDTH, HEIGHT = 240, 208
SAMPLES = 2  # per raw pixel and axis
FUR, DISC, CLUTTER = np.array([46, 38, 32]), np.array([205, 204, 200]), np.array([58, 52, 50])
DISC_CENTRE, DISC_RADIUS = np.array([50.0, 55.0]), 150.0
SHADOW = 0.72  # of the light


def raw_rig(count: int = 6, *, distorted: bool = True) -> Rig:
    """Cameras around (50, 55, 30) mm with the lens faults of a real rig."""
    cameras = []
    for index, camera in enumerate(ring(count, size=HEIGHT, radius=330.0)):
        generator = np.random.default_rng(index)
        fx, fy = 1.5 * WIDTH * (1 + 0.02 * generator.normal(size=2))
        skew = -0.004 * fx if distorted else 0.0
        lens = Lens((-0.13, 0.3, -0.001, -0.003, -1.2 + 0.2 * index)) if distorted else Lens()
        matrix = np.array([[fx, skew, WIDTH / 2 + 4.0], [0, fy, HEIGHT / 2 - 5.0], [0, 0, 1]])
        pose = camera.camera_from_world.numpy()
        cameras.append(RigCamera(f"Camera{index + 1}", matrix, pose, lens, WIDTH, HEIGHT))
    return Rig(tuple(cameras), Path("rig.mat"), "dannce", unit="mm")


@dataclass(frozen=True)
class Animal:
    """Balls: a body, a head and a thin tail, all in mm."""

    centres: np.ndarray
    radii: np.ndarray

    def moved(self, offset: tuple[float, float, float]) -> "Animal":
        return Animal(self.centres + np.array(offset), self.radii)


def animal(x: float = 50.0, y: float = 55.0, heading: float = 0.4) -> Animal:
    along = np.linspace(-1, 1, 7)
    body = np.stack([26 * along, np.zeros(7), 16 + 0 * along], axis=1)
    tail = np.stack([-34 - 4 * np.arange(9), 2 * np.sin(np.arange(9)), 8 - 0.6 * np.arange(9)], axis=1)
    centres = np.concatenate([body, tail])
    turn = np.array([[np.cos(heading), -np.sin(heading), 0], [np.sin(heading), np.cos(heading), 0], [0, 0, 1]])
    radii = np.concatenate([15 - 5 * along**2, np.full(9, 3.0)])
    return Animal(centres @ turn.T + [x, y, 0], radii)


@dataclass
class Photographer:
    """Pictures and exact coverages of one camera; rays are traced once."""

    camera: RigCamera
    gain: float = 1.0
    size: tuple[int, int] = (WIDTH, HEIGHT)

    def __post_init__(self) -> None:
        step = [(np.arange(side * SAMPLES) + 0.5) / SAMPLES for side in self.size]
        pixel = np.stack(np.meshgrid(*step), axis=-1)
        self.rays = self.camera.rays(pixel) @ self.camera.camera_from_world[:3, :3]
        reach = -self.camera.position[2] / np.where(self.rays[..., 2] < -1e-6, self.rays[..., 2], np.nan)
        self.floor = self.camera.position[:2] + reach[..., None] * self.rays[..., :2]
        off_axis = np.linalg.norm(self.floor - DISC_CENTRE, axis=-1)
        texture = 22 * np.sin(pixel[..., 0] / 5) * np.sin(pixel[..., 1] / 7)
        self.scene = np.where((off_axis < DISC_RADIUS)[..., None], DISC, CLUTTER + texture[..., None])

    def coverage(self, animals: list[Animal]) -> np.ndarray:
        """Float32 [H, W]."""
        return _binned(self._hits(animals).astype(np.float32))

    def photograph(
        self, animals: list[Animal], *, shadow: bool = True, noise: float = 1.5, seed: int = 0
    ) -> np.ndarray:
        """Uint8 [H, W, 3]; the light comes from one side, so the shadow lies beside the animal."""
        colour = self.scene.astype(np.float64).copy()
        if shadow:
            for one in animals:
                for centre, radius in zip(one.centres, one.radii, strict=True):
                    fallen = centre[:2] + 0.6 * centre[2]
                    colour[np.linalg.norm(self.floor - fallen, axis=-1) < radius] = -1
            shaded = (colour < 0).all(axis=-1)
            colour[shaded] = self.scene[shaded] * SHADOW
        colour[self._hits(animals)] = FUR
        picture = _binned(colour) * self.gain
        picture += np.random.default_rng(seed).normal(0, noise, picture.shape)
        return np.clip(np.rint(picture), 0, 255).astype(np.uint8)

    def _hits(self, animals: list[Animal]) -> np.ndarray:
        inside = np.zeros(self.rays.shape[:2], bool)
        for one in animals:
            for centre, radius in zip(one.centres, one.radii, strict=True):
                offset = centre - self.camera.position
                along = self.rays @ offset
                with np.errstate(invalid="ignore"):
                    inside |= (offset @ offset - along**2 < radius**2) & (along > 0)
        return inside


def _binned(fine: np.ndarray) -> np.ndarray:
    height, width = fine.shape[0] // SAMPLES, fine.shape[1] // SAMPLES
    return fine.reshape(height, SAMPLES, width, SAMPLES, *fine.shape[2:]).mean(axis=(1, 3))


def write_video(path: Path, pictures: list[np.ndarray], *, codec: str = "libx264", options: dict | None = None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=100, options=options or {"crf": "10"})
        stream.height, stream.width = pictures[0].shape[:2]
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        for picture in pictures:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())


def write_dannce(path: Path, rig: Rig, frames: np.ndarray | None) -> Path:
    """A Label3D file with transposed matrices and MATLAB's pixel origin; `frames` [T, V] is the sync table."""
    params = np.empty((len(rig.cameras), 1), object)
    names = np.empty((1, len(rig.cameras)), object)
    sync = np.empty((len(rig.cameras), 1), object)
    for index, camera in enumerate(rig.cameras):
        k1, k2, p1, p2, k3, *_ = camera.lens.coefficients
        matrix = camera.intrinsics.copy()
        matrix[:2, 2] += 0.5
        params[index, 0] = {
            "K": matrix.T,
            "RDistort": np.array([[k1, k2, k3]]),
            "TDistort": np.array([[p1, p2]]),
            "r": camera.camera_from_world[:3, :3].T,
            "t": camera.camera_from_world[None, :3, 3],
        }
        names[0, index] = camera.name
        if frames is not None:
            rows = frames[:, index : index + 1]
            sync[index, 0] = {"data_frame": rows, "data_sampleID": 10 * np.arange(len(rows))[:, None] + 1}
    content = {"camnames": names, "params": params} | ({} if frames is None else {"sync": sync})
    scipy.io.savemat(path, content)
    return path


def write_recording(
    directory: Path, rig: Rig, scenes: list[list[Animal]], *, gains: tuple[float, ...] = (), plates: bool = True
) -> list[list[np.ndarray]]:
    """videos/CameraN/0.mp4, background/CameraN.png and rig.mat; returns the exact coverages [frame][camera]."""
    coverages: list[list[np.ndarray]] = [[] for _ in scenes]
    for index, camera in enumerate(rig.cameras):
        photographer = Photographer(camera, gains[index] if gains else 1.0)
        pictures = [photographer.photograph(scene, seed=time) for time, scene in enumerate(scenes)]
        write_video(directory / "videos" / camera.name / "0.mp4", pictures)
        for time, scene in enumerate(scenes):
            coverages[time].append(photographer.coverage(scene))
        if plates:
            (directory / "background").mkdir(parents=True, exist_ok=True)
            write_image(directory / "background" / f"{camera.name}.png", photographer.photograph([], seed=99))
    frames = np.repeat(np.arange(len(scenes))[:, None], len(rig.cameras), axis=1)
    write_dannce(directory / "rig.mat", rig, frames)
    return coverages


def origin_of(rig: Rig) -> torch.Tensor:
    """Mean camera position, for tests of units."""
    return torch.from_numpy(np.mean([camera.position for camera in rig.cameras], axis=0))
