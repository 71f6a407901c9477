"""Once around a reconstruction: the video, a sheet of frames, how evenly the picture changes."""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, UInt8
from numpy import ndarray
from torch import Tensor

from gslrm.config import InferenceConfig
from gslrm.data.normalize import rig_up
from gslrm.export import as_uint8, replacing, write_json, write_picture, write_video
from gslrm.look_around import Circle, solid_reach
from gslrm.motion.turn import InputView, TurnMeter, turn_figures, turn_page
from gslrm.reconstruct import Reconstruction, Reconstructor
from gslrm.types import Rendering
from gslrm.visualize import KeptFrames

AXES = {"x": (1.0, 0.0, 0.0), "y": (0.0, 1.0, 0.0), "z": (0.0, 0.0, 1.0)}


@dataclass(frozen=True)
class Turntable:
    """The frames of one turn, and the figures of `gslrm.motion.turn.turn_figures` about them."""

    name: str
    frames: list[UInt8[ndarray, "h w 3"]]
    figures: dict[str, Any]


def draw_turntable(reconstructor: Reconstructor, reconstruction: Reconstruction) -> Turntable:
    """Render one turn in equal angular steps; the step after the last frame leads back to the first."""
    options = reconstructor.config.inference
    circle = turntable_circle(options, reconstruction)
    cameras = circle.cameras(options.turntable_frames, options.turntable_size)

    def renderings() -> Iterator[Rendering]:
        for number in range(options.turntable_frames):
            yield reconstructor.render(reconstruction, cameras[number])

    meter = TurnMeter(renderings())
    frames = [as_uint8(rendering.rgb[0]) for rendering in meter]
    placed = reconstruction.placed
    views = [
        InputView(view.name, circle.azimuth(view.camera.position)) for view in placed.sample.select(placed.input_index)
    ]
    shape = {"elevation": circle.elevation, "distance": circle.distance, "field_of_view": circle.field_of_view}
    found = shape | {"up": circle.up.tolist()} | turn_figures(meter.changes(), views)
    return Turntable(placed.sample.name, frames, found)


def write_turntable(folder: Path, *, turntable: Turntable) -> None:
    """Write `turntable.mp4`, a sheet of its frames, its figures as JSON and as a page with a plot.

    Raises:
        UserError: a file cannot be written.
    """
    kept = KeptFrames(turntable.frames, len(turntable.frames))
    write_video(folder / "turntable.mp4", kept)
    write_picture(folder / "turntable.png", kept.sheet())
    write_json(folder / "turntable.json", turntable.figures)
    with replacing(folder / "turntable.html") as temporary:
        temporary.write_text(turn_page(f"Once around {turntable.name}", turntable.figures), encoding="utf-8")


def turntable_circle(options: InferenceConfig, reconstruction: Reconstruction) -> Circle:
    """The turn's circle in the sample's world: about the object, as far away as the input cameras are on average.

    The frames show the solid Gaussians, or where these reach further or there are none, what the network's crops show;
    so a floater does not make the object small.
    """
    placed = reconstruction.placed
    scale = float(placed.placement.world_from_source.scale)
    cameras = [view.camera for view in placed.sample.select(placed.input_index)]
    positions = torch.stack([camera.position for camera in cameras])
    radius = placed.placement.world_footprint / 2
    with suppress(ValueError):  # nothing is solid, and nothing will be seen
        radius = min(radius, solid_reach(reconstruction.gaussians, torch.zeros(3, dtype=torch.float64)))
    return Circle.at_distance(
        float((positions - reconstruction.center).norm(dim=1).mean()),
        center=reconstruction.center,
        radius=radius / scale,
        up=_up(options.turntable_up, torch.stack([camera.world_from_camera[:3, :3] for camera in cameras])),
        elevation=options.turntable_elevation,
    )


def _up(name: str, rotations: Float[Tensor, "v 3 3"]) -> Float[Tensor, "3"]:
    """The unit vector that stays vertical in the frames, in the sample's world."""
    if name != "rig":
        sign = -1.0 if name.startswith("-") else 1.0
        return sign * torch.tensor(AXES[name[-1]], dtype=torch.float64)
    return rig_up(rotations) if len(rotations) > 1 else -rotations[0, :, 1]
