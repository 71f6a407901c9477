"""A camera rig as a self-contained page with a view that turns under the mouse.

The drawing is orthographic, so pictures on the frusta are plain parallelograms and a canvas without WebGL is enough.
"""

import base64
import json
import math
from collections.abc import Sequence
from typing import Any

from gslrm.html_page import Html, escape, page, section, table
from gslrm.rig_page_script import SCRIPT, STYLE
from gslrm.visualize.rig import RigView, corner_points

FRUSTUM_LENGTH = 0.3  # of the mean camera distance: large enough to see the pictures


def rig_page(
    title: str, rigs: Sequence[RigView], thumbnails: Sequence[Sequence[bytes]], *, parts: Sequence[str] = ()
) -> str:
    """The page: verdict-like `parts` first, the turning view, and a table of numbers per rig.

    Args:
        title: heading.
        rigs: states that buttons switch between, such as before and after normalisation.
        thumbnails: JPEG of what each camera of each rig shows.
        parts: paragraphs and pictures to stand above.
    """
    scene = [_state(rig, pictures) for rig, pictures in zip(rigs, thumbnails, strict=True)]
    tables = [section(f"Cameras {rig.title}", _table(rig)) for rig in rigs]
    return page(title, [*parts, _canvas(scene), *tables])


def _canvas(scene: list[dict[str, Any]]) -> Html:
    buttons = "".join(
        f'<button type="button" data-state="{index}" aria-pressed="{str(index == 0).lower()}">{escape(state["title"])}'
        "</button>"
        for index, state in enumerate(scene)
    )
    data = json.dumps(scene, allow_nan=False).replace("<", "\\u003c")  # a name cannot end the script
    return Html(
        f'<style>{STYLE}</style><div class="rig"><div class="controls">{buttons}'
        '<label><input type="checkbox" data-show="rays" checked> corner rays</label>'
        '<label><input type="checkbox" data-show="pictures" checked> pictures</label>'
        '<label><input type="checkbox" data-show="names" checked> names</label></div>'
        '<canvas tabindex="0" role="img" aria-label="camera rig; the table below holds its numbers"></canvas>'
        '<p class="note">Drag or arrow keys turn, the wheel or + and - zoom, a double click resets. '
        "Blue cameras are input, orange ones are not; the disc is the sphere around the object.</p>"
        f'<script type="application/json">{data}</script></div><script>{SCRIPT}</script>'
    )


def _state(rig: RigView, pictures: Sequence[bytes]) -> dict[str, Any]:
    cameras = []
    for camera, name, is_input, picture in zip(rig.cameras, rig.names, rig.is_input, pictures, strict=True):
        apex, axis = camera.position.double(), camera.world_from_camera[:3, 2].double()
        reach = max(float((rig.center - apex) @ axis), 0.0)
        cameras.append(
            {
                "name": name,
                "input": is_input,
                "position": apex.tolist(),
                "corners": corner_points(camera, FRUSTUM_LENGTH * rig.mean_distance).tolist(),
                "rays": corner_points(camera, reach).tolist(),
                "axis": (apex + reach * axis).tolist(),
                "size": [camera.width, camera.height],
                "picture": "data:image/jpeg;base64," + base64.b64encode(picture).decode("ascii"),
            }
        )
    object_ = {"center": rig.center.tolist(), "radius": (rig.diameter or 0.0) / 2}
    return {
        "title": rig.title,
        "unit": rig.unit,
        "cameras": cameras,
        "object": object_,
        "reach": max(rig.distances),
        "mean": rig.mean_distance,
    }


def _table(rig: RigView) -> Html:
    headers = (
        "camera", "kind", f"distance, {rig.unit}", "of the mean", "azimuth °", "elevation °", "object off axis °",
        "fx", "fy", "cx", "cy", "field of view °",
    )  # fmt: skip
    rows = []
    figures = zip(rig.cameras, rig.distances, rig.angles(), rig.off_axis(), strict=True)
    for number, (camera, distance, (azimuth, elevation), off) in enumerate(figures):
        (fx, fy), (cx, cy) = camera.focal.tolist(), camera.center.tolist()
        kind = "input" if rig.is_input[number] else "not input"
        share = f"{100 * (distance / rig.mean_distance - 1):+.1f} %"
        angle = f"{_field_of_view(camera.width, fx):.1f} x {_field_of_view(camera.height, fy):.1f}"
        words = [f"{value:.1f}" for value in (azimuth, elevation, off, fx, fy, cx, cy)]
        rows.append((rig.names[number], kind, f"{distance:.5g}", share, *words, angle))
    return table(headers, rows)


def _field_of_view(pixels: int, focal: float) -> float:
    return math.degrees(2 * math.atan(pixels / (2 * focal)))
