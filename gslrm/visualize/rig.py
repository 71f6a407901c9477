"""A camera rig as a drawing: frusta, optical axes, corner rays and the object, from above and from the side."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from gslrm.cameras import Cameras
from gslrm.visualize.grids import BANDS
from gslrm.visualize.sheet import GAP, INK, PAPER, Colour, Picture

PANEL = 720  # pixels across one drawing
FINE = 2  # drawn larger and reduced: Pillow's lines have no soft edges
MARGIN = 0.16  # of a panel, free around the cameras for their names
FRUSTUM_LENGTH = 0.16  # of the mean camera distance
TEXT = 15
LABELS_AT = 90  # pixels below a panel's upper edge, where a side view has its row of names
QUIET: Colour = (150, 154, 162)
OBJECT: Colour = (214, 40, 120)
AXES: tuple[Colour, ...] = ((200, 40, 40), (30, 140, 60), (40, 70, 200))  # of the world: x, y, z
PROJECTIONS = {"from above": (0, 1), "from the side": (0, 2)}  # world axes to the right and up


@dataclass(frozen=True)
class RigView:
    """Cameras of one world (unbatched, any sizes) and the object in it."""

    title: str
    unit: str
    cameras: tuple[Cameras, ...]
    names: tuple[str, ...]
    is_input: tuple[bool, ...]
    center: Float[Tensor, "3"]
    diameter: float | None = None
    """Of the sphere around the object; none where no mask shows it."""

    @property
    def positions(self) -> Float[Tensor, "v 3"]:
        """Camera centres."""
        return torch.stack([camera.position.double() for camera in self.cameras])

    @property
    def distances(self) -> list[float]:
        """From every camera to the object."""
        return (self.positions - self.center).norm(dim=1).tolist()

    @property
    def mean_distance(self) -> float:
        """Of the input cameras."""
        chosen = [d for d, given in zip(self.distances, self.is_input, strict=True) if given]
        return sum(chosen) / len(chosen)

    def angles(self) -> list[tuple[float, float]]:
        """Azimuth from +x towards +y, and elevation towards +z, of every camera seen from the object, in degrees."""
        offsets = (self.positions - self.center).tolist()
        return [(math.degrees(math.atan2(y, x)), math.degrees(math.atan2(z, math.hypot(x, y)))) for x, y, z in offsets]

    def off_axis(self) -> list[float]:
        """Angle between every optical axis and the object, in degrees."""
        axes = torch.stack([camera.world_from_camera[:3, 2].double() for camera in self.cameras])
        toward = torch.nn.functional.normalize(self.center - self.positions, dim=1)
        return torch.rad2deg(torch.acos((axes * toward).sum(1).clamp(-1, 1))).tolist()


def corner_points(camera: Cameras, depth: float) -> Float[Tensor, "4 3"]:
    """World points at `depth` along the optical axis that project to the image's corners, clockwise from the first."""
    corner = torch.tensor([[0, 0], [1, 0], [1, 1], [0, 1]], dtype=torch.float64)
    size = torch.tensor([camera.width, camera.height], dtype=torch.float64)
    offset = (corner * size - camera.center.double()) / camera.focal.double()
    pose = camera.world_from_camera.double()
    return pose[:3, 3] + depth * torch.cat([offset, torch.ones(4, 1).double()], dim=1) @ pose[:3, :3].mT


def rig_sheet(rigs: Sequence[RigView]) -> Picture:
    """A row per rig, each from above and from the side; every row has its own scale."""
    return np.concatenate([np.concatenate([_panel(rig, name) for name in PROJECTIONS], axis=1) for rig in rigs])


def _panel(rig: RigView, projection: str) -> Picture:
    right, up = PROJECTIONS[projection]
    frame = _frame_around(rig, right, up)
    large = Image.new("RGB", (PANEL * FINE, PANEL * FINE), PAPER)
    draw = ImageDraw.Draw(large, "RGBA")
    _draw_world(draw, rig, frame)
    for camera, is_input in zip(rig.cameras, rig.is_input, strict=True):
        _draw_camera(draw, camera, rig, frame=frame, colour=BANDS[is_input])
    paper = large.resize((PANEL, PANEL), Image.Resampling.LANCZOS)
    _write(ImageDraw.Draw(paper), rig, frame, projection)
    framed = Image.new("RGB", (PANEL + GAP, PANEL + GAP), QUIET)
    framed.paste(paper)
    return np.array(framed)


@dataclass(frozen=True)
class _Frame:
    """World points to pixels of a panel."""

    middle: tuple[float, float]
    scale: float  # pixels per unit
    right: int
    up: int

    def __call__(self, point: Tensor, factor: int = FINE) -> tuple[float, float]:
        x = PANEL / 2 + (float(point[self.right]) - self.middle[0]) * self.scale
        y = PANEL / 2 - (float(point[self.up]) - self.middle[1]) * self.scale
        return x * factor, y * factor


def _frame_around(rig: RigView, right: int, up: int) -> _Frame:
    shown = torch.cat([rig.positions, rig.center[None]])[:, [right, up]]
    low, high = shown.amin(0), shown.amax(0)
    middle = ((low + high) / 2).tolist()
    extent = max(float((high - low).max()), 1e-9)
    return _Frame((middle[0], middle[1]), PANEL * (1 - 2 * MARGIN) / extent, right, up)


def _draw_world(draw: ImageDraw.ImageDraw, rig: RigView, frame: _Frame) -> None:
    origin = torch.zeros(3, dtype=torch.float64)
    for axis in (frame.right, frame.up):
        tip = origin.clone()
        tip[axis] = 0.25 * rig.mean_distance
        draw.line([frame(origin), frame(tip)], AXES[axis], 2 * FINE)
    if rig.diameter is not None:
        _circle(draw, frame(rig.center), rig.diameter / 2 * frame.scale * FINE, (*OBJECT, 60))
    _circle(draw, frame(rig.center), 3.0 * FINE, (*OBJECT, 255))


def _draw_camera(draw: ImageDraw.ImageDraw, camera: Cameras, rig: RigView, *, frame: _Frame, colour: Colour) -> None:
    apex = camera.position.double()
    axis = camera.world_from_camera[:3, 2].double()
    reach = max(float((rig.center - apex) @ axis), 0.0)  # depth of the object
    far, near = corner_points(camera, reach), corner_points(camera, FRUSTUM_LENGTH * rig.mean_distance)
    for corner in far:
        draw.line([frame(apex), frame(corner)], (*colour, 60), FINE)
    draw.line([frame(apex), frame(apex + reach * axis)], (*colour, 200), FINE)
    for first, second in zip(near, near.roll(-1, dims=0), strict=True):
        draw.polygon([frame(apex), frame(first), frame(second)], fill=(*colour, 40))
        draw.line([frame(apex), frame(first), frame(second)], (*colour, 255), FINE)
    _circle(draw, frame(apex), 4.0 * FINE, (*colour, 255))


def _circle(draw: ImageDraw.ImageDraw, middle: tuple[float, float], radius: float, colour: tuple[int, ...]) -> None:
    x, y = middle
    draw.ellipse((x - radius, y - radius, x + radius, y + radius), colour)


def _write(draw: ImageDraw.ImageDraw, rig: RigView, frame: _Frame, projection: str) -> None:
    font, small = ImageFont.load_default(TEXT + 3), ImageFont.load_default(TEXT)
    mean = f"mean distance of the input cameras {rig.mean_distance:.5g} {rig.unit}"
    draw.text((10, 8), f"{rig.title}, {projection}", INK, font)
    draw.text((10, 8 + 1.4 * TEXT), mean, INK, small)
    step = 10.0 ** math.floor(math.log10(0.3 * PANEL / frame.scale))
    draw.line([(10, PANEL - 12), (10 + step * frame.scale, PANEL - 12)], INK, 3)
    draw.text((10, PANEL - 16), f"{step:g} {rig.unit}", INK, small, "ls")
    for axis in (frame.right, frame.up):
        tip = torch.zeros(3, dtype=torch.float64)
        tip[axis] = 0.29 * rig.mean_distance
        draw.text(frame(tip, 1), "xyz"[axis], AXES[axis], small, "mm")
    labels = _around if projection == "from above" else _along_the_top
    labels(draw, rig, frame)


def _around(draw: ImageDraw.ImageDraw, rig: RigView, frame: _Frame) -> None:
    """Names and distances, each on its camera's side away from the object."""
    font, middle = ImageFont.load_default(TEXT), frame(rig.center, 1)
    for camera, name, distance in zip(rig.cameras, rig.names, rig.distances, strict=True):
        x, y = frame(camera.position, 1)
        length = math.hypot(x - middle[0], y - middle[1]) or 1.0
        half = max(font.getlength(line) for line in (name, f"{distance:.4g}")) / 2
        x += (half + 12) * (x - middle[0]) / length
        y += 32 * (y - middle[1]) / length
        place = (min(max(x, half + 4), PANEL - half - 4), min(max(y, 70), PANEL - 45))
        draw.text(place, f"{name}\n{distance:.4g}", INK, font, "mm", align="center")


def _along_the_top(draw: ImageDraw.ImageDraw, rig: RigView, frame: _Frame) -> None:
    """View numbers and elevations in one row, from left to right as the cameras stand, with lines to them."""
    font = ImageFont.load_default(TEXT)
    places = [frame(camera.position, 1) for camera in rig.cameras]
    angles = rig.angles()
    for slot, view in enumerate(sorted(range(len(places)), key=lambda view: places[view][0])):
        x = PANEL * (slot + 0.5) / len(places)
        draw.line([(x, LABELS_AT + 1.3 * TEXT), places[view]], QUIET, 1)
        draw.text((x, LABELS_AT), f"{view}\n{angles[view][1]:.1f}°", INK, font, "mm", align="center")
