"""Reconstructions and sequences on the disk, for tests of gslrm/view."""

import json
from pathlib import Path

import numpy as np
import torch
from export_helpers import mouse_like
from helpers import ring

from gslrm.cameras import Cameras
from gslrm.data.images import write_image
from gslrm.data.sample import CAMERA_FILE, camera_frames
from gslrm.export import as_uint8, write_ply
from gslrm.render import Rasterizer, build_rasterizer
from gslrm.similarity import Similarity
from gslrm.types import Gaussians
from gslrm.view.comparison import render

SCALE = 60.0  # millimetres per unit of `mouse_like`
PLACE = (48.0, 52.0, 45.0)  # where the cameras of `ring` look
SIDE = 96
ROOT = Path(__file__).parents[1]


def mouse(count: int = 2000, shift: float = 0.0) -> Gaussians:
    """A body of millimetres in the middle of `ring`."""
    place = torch.tensor([PLACE[0] + shift, PLACE[1], PLACE[2]]) - SCALE * torch.tensor([0.1, -0.2, 0.3])
    return mouse_like(count).transform(Similarity(torch.tensor(SCALE), torch.eye(3), place))


def rig(count: int = 4) -> Cameras:
    return ring(count, size=SIDE, radius=300.0, fx=2.2, fy=2.4)


def write_reconstruction(root: Path, name: str = "moment_0", *, shift: float = 0.0, inputs: int = 3) -> Path:
    """`samples/NAME` with pictures of a mouse, and `out/NAME` as inference.py leaves it; returns the latter."""
    gaussians, cameras = mouse(shift=shift), rig()
    sample, output = root / "samples" / name, root / "out" / name
    (sample / "images").mkdir(parents=True)
    output.mkdir(parents=True)
    frames = camera_frames(cameras)
    rasterizer: Rasterizer = build_rasterizer("cpu", device="cpu")
    for index, frame in enumerate(frames):
        frame["file_path"], frame["camera_name"] = f"images/cam_{index:03d}.png", f"cam{index}"
        picture = as_uint8(render(gaussians, cameras[index], rasterizer))
        coverage = (picture.min(axis=2) < 250).astype(np.uint8) * 255
        write_image(sample / str(frame["file_path"]), np.dstack([picture, coverage]))
    (sample / CAMERA_FILE).write_text(json.dumps({"id": name, "frames": frames}))
    write_ply(gaussians, output / "gaussians.ply")
    record = {"source": str(sample), "input_views": list(range(inputs))}
    (output / "done.json").write_text(json.dumps(record))
    return output
