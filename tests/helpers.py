"""Random but reproducible inputs that several tests share."""

import json
from pathlib import Path

import numpy as np
import torch

from gslrm.cameras import Cameras
from gslrm.data.images import write_image
from gslrm.data.sample import CAMERA_FILE, camera_frames
from gslrm.types import Gaussians, matrix_from_quaternion

FIXTURES = Path(__file__).parent / "fixtures"


def random_rotation(seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return matrix_from_quaternion(torch.randn(4, generator=generator, dtype=torch.float64))


def random_cameras(count: int, *, size: tuple[int, int] = (20, 24), seed: int = 0, radius: float = 2.5) -> Cameras:
    """Cameras around the origin that look near it: fx != fy, off-centre principal points, float64, [count]."""
    generator = torch.Generator().manual_seed(seed)
    draw = lambda *shape: torch.rand(*shape, generator=generator, dtype=torch.float64)  # noqa: E731
    height, width = size
    position = torch.nn.functional.normalize(draw(count, 3) - 0.5, dim=-1) * radius * (0.9 + 0.2 * draw(count, 1))
    scale = torch.tensor([width, height], dtype=torch.float64)
    return Cameras.look_at(
        position,
        0.1 * (draw(count, 3) - 0.5),
        torch.tensor([0.05, 0.1, 1.0], dtype=torch.float64),
        focal=scale * (1.1 + 0.3 * draw(count, 2)),
        center=scale * (0.45 + 0.1 * draw(count, 2)),
        height=height,
        width=width,
    )


def ring(count: int, *, size: int = 64, radius: float = 300.0, fx: float = 1.4, fy: float = 1.6) -> Cameras:
    """A rig like the real one: millimetres, z up, pixels that are not square, distances that differ, [count]."""
    azimuth = 2 * torch.pi * torch.arange(count, dtype=torch.float64) / count + 0.3
    distance = radius * (1 + 0.1 * (torch.arange(count) % 3 - 1))
    height = 60.0 + 60.0 * (torch.arange(count) % 2)
    position = torch.stack([distance * azimuth.cos() + 50, distance * azimuth.sin() + 55, height.double()], dim=-1)
    ones = torch.ones(count, dtype=torch.float64)
    return Cameras.look_at(
        position,
        torch.tensor([48.0, 52.0, 45.0], dtype=torch.float64).expand(count, 3),
        torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64),
        focal=torch.stack([fx * size * ones, fy * size * ones], dim=-1),
        center=torch.stack([0.53 * size * ones, 0.47 * size * ones], dim=-1),
        height=size,
        width=size,
    )


def random_gaussians(count: int, *, degree: int = 0, seed: int = 0, dtype: torch.dtype = torch.float64) -> Gaussians:
    generator = torch.Generator().manual_seed(seed)
    draw = lambda *shape: torch.randn(*shape, generator=generator, dtype=torch.float64)  # noqa: E731
    return Gaussians(
        means=0.3 * draw(count, 3),
        scales=0.05 * draw(count, 3).exp(),
        rotations=torch.nn.functional.normalize(draw(count, 4), dim=-1),
        opacities=torch.sigmoid(draw(count)),
        harmonics=0.5 * draw(count, (degree + 1) ** 2, 3),
    ).to(dtype)


def ball_coverage(camera: Cameras, center: torch.Tensor, radius: float) -> np.ndarray:
    """Where an unbatched camera sees a ball: boolean [H, W]."""
    origin, direction = camera.rays()
    offset = center - origin
    distance = (offset - (offset * direction).sum(-1, keepdim=True) * direction).norm(dim=-1)
    return (distance < radius).numpy()


def write_ball_sample(
    directory: Path,
    cameras: Cameras,
    *,
    center: tuple[float, float, float] = (70.0, 40.0, 20.0),
    radius: float = 30.0,
    colour: tuple[int, int, int] = (90, 60, 40),
    mode: str = "rgba",
    bits: int = 8,
    background: int = 255,
) -> Path:
    """A sample in FaceLift's layout that shows one ball; `mode` is rgba, rgb (white, no mask) or masks."""
    (directory / "images").mkdir(parents=True)
    frames = camera_frames(cameras)
    high, dtype = (255, np.uint8) if bits == 8 else (65535, np.uint16)
    for index, frame in enumerate(frames):
        inside = ball_coverage(cameras[index], torch.tensor(center, dtype=torch.float64), radius)
        image = np.full((*inside.shape, 3), background * high // 255, dtype)
        image[inside] = np.array(colour) * (high // 255)
        coverage = (inside * high).astype(dtype)
        frame["file_path"] = f"images/cam_{index:03d}.png"
        path = directory / str(frame["file_path"])
        write_image(path, np.dstack([image, coverage]) if mode == "rgba" else image)
        if mode == "masks":
            (directory / "masks").mkdir(exist_ok=True)
            write_image(directory / "masks" / path.name, (inside * 255).astype(np.uint8))
    (directory / CAMERA_FILE).write_text(json.dumps({"id": directory.name, "frames": frames}))
    return directory
