"""A scene as one page that needs neither Python nor a network: Gaussians, cameras, pictures inside."""

import base64
import io
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from gslrm.errors import UserError
from gslrm.export import as_uint8, replacing
from gslrm.html_page import escape
from gslrm.look_around import extent
from gslrm.types import Gaussians
from gslrm.view.comparison import read_photo
from gslrm.view.packing import pack
from gslrm.view.scene import Grain, Moment, Scene, ViewCamera
from gslrm.visualize.rig import corner_points

SCRIPTS = ("splats.js", "shaders.js", "renderer.js", "orbit.js", "viewer.js", "hands.js")
FRUSTUM_LENGTH = 0.25  # of the mean distance of the cameras
PICTURE_SIDE = 256  # pixels of the longer side of a camera's picture
PICTURE_QUALITY = 80  # of WebP
Reduce = Callable[[Gaussians], Gaussians]


@dataclass(frozen=True)
class Size:
    """What a page weighs, in bytes; `splats` as base64 of all moments, `pictures` likewise."""

    page: int
    splats: int
    pictures: int
    moments: int
    gaussians: int


@dataclass
class _Parts:
    """What moments share is stored once."""

    rigs: list[list[dict[str, Any]]] = field(default_factory=list)
    pictures: list[str] = field(default_factory=list)
    blocks: list[str] = field(default_factory=list)
    gaussians: int = 0

    def rig(self, cameras: Sequence[ViewCamera]) -> int:
        entries = _camera_entries(cameras)
        if entries not in self.rigs:
            self.rigs.append(entries)
        return self.rigs.index(entries)

    def picture(self, camera: ViewCamera, side: int) -> int | None:
        if not side or camera.stored is None or not camera.stored.image_path.is_file():
            return None
        uri = _thumbnail(camera, side)
        if uri not in self.pictures:
            self.pictures.append(uri)
        return self.pictures.index(uri)


def write_page(
    path: Path,
    scenes: Sequence[Scene],
    *,
    reduce: Reduce | None = None,
    picture_side: int = PICTURE_SIDE,
    track: Callable[[Sequence[Moment]], Any] = iter,
) -> Size:
    """Write one page that shows scenes as models to switch between, with the cameras and times of each.

    Args:
        path: the page.
        scenes: in one world; the first gives title, up and size.
        reduce: what to show of the Gaussians of a moment; all if none.
        picture_side: longer side of the cameras' pictures in pixels; 0 leaves them out.
        track: wraps the moments of each scene, to show progress.

    Raises:
        UserError: a file is damaged, or all Gaussians of the first moment are nearly transparent.
    """
    parts, models = _Parts(), []
    first = _about(scenes[0])
    for number, scene in enumerate(scenes):
        frames, place = [], first["center"]
        for index, moment in enumerate(track(scene.moments)):
            gaussians = moment.load() if reduce is None else reduce(moment.load())
            entry = _frame(moment, gaussians, place, name=f"{number}-{index}", parts=parts, side=picture_side)
            place = entry["center"]
            frames.append(entry)
        models.append({"name": scene.title, "frames": frames})
    text = page_text(first | {"models": models, "rigs": parts.rigs, "pictures": parts.pictures}, parts.blocks)
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
    splats, pictures = sum(map(len, parts.blocks)), sum(map(len, parts.pictures))
    return Size(len(text.encode()), splats, pictures, len(parts.blocks), parts.gaussians)


def page_text(content: dict[str, Any], blocks: Sequence[str]) -> str:
    """The document of a scene: its template with style, scripts and data put in."""
    several = len(content["models"]) > 1
    moving = max(len(model["frames"]) for model in content["models"]) > 1
    buttons = "".join(
        f'<button type="button" data-model="{number}" aria-pressed="{str(not number).lower()}">'
        f"{escape(model['name'])}</button>"
        for number, model in enumerate(content["models"])
    )
    data = json.dumps(content, allow_nan=False).replace("<", "\\u003c")  # a name cannot end the script
    parts = {
        "{{title}}": escape(content["title"]),
        "{{style}}": _resource("page.css"),
        "{{models}}": f'<div class="row">{buttons}</div>' if several else "",
        "{{time_hidden}}": "" if moving else " hidden",
        "{{data}}": "\n".join([*blocks, f'<script type="application/json" id="scene">{data}</script>']),
        "{{script}}": "".join(_resource(name) for name in SCRIPTS),
    }
    head, *rest = _resource("page.html").split("{{")
    return head + "".join(parts["{{" + piece.partition("}}")[0] + "}}"] + piece.partition("}}")[2] for piece in rest)


def _about(scene: Scene) -> dict[str, Any]:
    """What the page says of its first scene as a whole."""
    center, radius = scene.ball
    return {
        "title": scene.title,
        "up": scene.up.tolist(),
        "unit": scene.unit,
        "rate": scene.rate,
        "center": center.tolist(),
        "radius": radius,
        "start": _start(scene, center.tolist()),
    }


def _resource(name: str) -> str:
    return (resources.files("gslrm.view") / "page" / name).read_text(encoding="utf-8")


def _frame(
    moment: Moment, gaussians: Gaussians, place: list[float], *, name: str, parts: _Parts, side: int
) -> dict[str, Any]:
    """What the page says of one moment; its Gaussians go into a block of their own."""
    try:
        packed = pack(gaussians)
    except ValueError as error:
        raise UserError(f"{moment.name}: {error}; make it again") from error
    parts.blocks.append(f'<script type="text/plain" id="splats-{name}">{packed.text}</script>')
    parts.gaussians += packed.header["count"]
    return {
        "name": moment.name,
        "time": moment.time,
        "header": packed.header,
        "center": _center(gaussians, place),
        "grain": _grain(moment.grain),
        "rig": parts.rig(moment.cameras),
        "pictures": [parts.picture(camera, side) for camera in moment.cameras],
    }


def _center(gaussians: Gaussians, place: list[float]) -> list[float]:
    """Where the object is; where it was before, if nothing of it is solid."""
    try:
        return extent(gaussians)[0].tolist()
    except ValueError:
        return place


def _grain(grain: Grain | None) -> dict[str, Any] | None:
    return None if grain is None else {"density": grain.density, "center": list(grain.center), "eps2d": grain.eps2d}


def _start(scene: Scene, center: list[float]) -> list[float] | None:
    """The direction from the object to its first camera, as a first view; none without cameras."""
    cameras = scene.moments[0].cameras
    if not cameras:
        return None
    return (np.array(cameras[0].camera.position.tolist()) - np.array(center)).tolist()


def _camera_entries(cameras: Sequence[ViewCamera]) -> list[dict[str, Any]]:
    if not cameras:
        return []
    positions = np.array([view.camera.position.tolist() for view in cameras])
    spread = float(np.linalg.norm(positions - positions.mean(axis=0), axis=1).mean())
    reach = FRUSTUM_LENGTH * (spread or 1.0)
    return [
        {
            "name": view.name,
            "input": view.is_input,
            "position": view.camera.position.tolist(),
            "turn": view.camera.world_from_camera[:3, :3].mT.tolist(),
            "focal": view.camera.focal.tolist(),
            "center": view.camera.center.tolist(),
            "size": [view.camera.width, view.camera.height],
            "corners": corner_points(view.camera, reach).tolist(),
        }
        for view in cameras
    ]


def _thumbnail(view: ViewCamera, side: int) -> str:
    """A camera's picture as a data address, reduced; on white where its coverage is known."""
    assert view.stored is not None
    picture = Image.fromarray(as_uint8(read_photo(view.stored)[0]))
    picture.thumbnail((side, side), Image.Resampling.LANCZOS)
    encoded = io.BytesIO()
    picture.save(encoded, "WEBP", quality=PICTURE_QUALITY, method=6)
    return "data:image/webp;base64," + base64.b64encode(encoded.getvalue()).decode("ascii")
