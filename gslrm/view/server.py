"""A scene on a page of a running viser server."""

import io
import threading
import time
from collections.abc import Sequence
from functools import lru_cache
from types import ModuleType
from typing import Any

import numpy as np
from PIL import Image

from gslrm import cli
from gslrm.errors import UserError
from gslrm.export import as_uint8
from gslrm.render import Rasterizer, build_rasterizer
from gslrm.types import Gaussians
from gslrm.view.comparison import Comparison, compare, read_photo
from gslrm.view.controls import FREE, SPLATS, Controls, add_controls
from gslrm.view.scene import Moment, Scene, ViewCamera, ball_around
from gslrm.view.stage import RADIUS, Pose, Stage, in_window, shown, window_angle
from gslrm.visualize import BANDS

FRUSTUM = 0.5 * RADIUS
LINE = 2.0  # pixels
CHOOSE = "choose a camera to look through first"
THUMBNAIL = 256  # pixels of the longer side
EXPORT = 1600  # pixels of the longer side of a saved view
MOVED = 1e-3 * RADIUS  # from a camera's place, beyond which its picture no longer fits


def serve(scenes: Sequence[Scene], *, host: str, port: int) -> None:
    """Serve until interrupted; scenes are models to switch between, in one world.

    Raises:
        UserError: viser is not installed, or a file is damaged.
    """
    viewer = Viewer(scenes, host=host, port=port)
    cli.report(f"{viewer.address} (Ctrl+C ends)")
    try:
        viewer.run()
    finally:
        viewer.stop()


class Viewer:
    """One server with its state: model, moment, camera; everyone who opens the page shares it."""

    def __init__(self, scenes: Sequence[Scene], *, host: str, port: int) -> None:
        viser = _viser()
        self.scenes = scenes
        self.stage = Stage.around(*scenes[0].ball)
        self.rasterizer: Rasterizer = build_rasterizer("cpu", device="cpu")
        self.server = viser.ViserServer(host=host, port=port, label=scenes[0].title, verbose=False)
        self.lock = threading.RLock()
        self.cameras: dict[str, Any] = {}
        self.snapped: dict[int, Pose] = {}
        self.arrived: set[int] = set()
        self.covered = False
        self.splats: Any = None
        self.server.scene.set_up_direction(tuple(scenes[0].up.tolist()))
        self._place_first_view()
        self.controls: Controls = add_controls(self.server.gui, scenes)
        self._listen()
        self.show()

    @property
    def address(self) -> str:
        """Where the page is."""
        return f"http://{self.server.get_host()}:{self.server.get_port()}"

    @property
    def moment(self) -> Moment:
        """The moment that is shown, of the model that is shown."""
        scene = self.scenes[self.controls.model_index]
        return scene.moments[min(self.controls.moment_index, len(scene.moments) - 1)]

    def run(self) -> None:
        """Play, when asked to, until interrupted."""
        while True:
            if self.controls.playing:
                self.controls.step()
            time.sleep(1.0 / self.controls.fps)

    def stop(self) -> None:
        """Close the server."""
        self.server.stop()

    def show(self) -> None:
        """Bring Gaussians and cameras of the present moment to the page."""
        with self.lock, self.server.atomic():
            moment = self.moment
            splats = self.stage.splats(self.visible(moment))
            self.splats = self.server.scene.add_gaussian_splats("/splats", **splats, visible=not self.covered)
            self._show_cameras(moment)
            self.controls.describe(moment)
        for client in self.server.get_clients().values():
            if client.client_id in self.snapped:
                self.picture(client)

    def visible(self, moment: Moment) -> Gaussians:
        """What the sliders leave of a moment's Gaussians."""
        gaussians, share = moment.load(), self.controls.crop
        if share is None:
            return shown(gaussians, faintest=self.controls.faintest)
        center, radius = ball_around(moment)
        return shown(gaussians, faintest=self.controls.faintest, center=center, half=share * radius)

    def snap(self, client: Any, name: str) -> None:
        """Look through a camera."""
        self.arrived.discard(client.client_id)
        if name == FREE:
            self.snapped.pop(client.client_id, None)
        else:
            camera = self.moment.camera(name).camera
            pose = self.stage.pose(camera)
            with client.atomic():
                client.camera.position, client.camera.wxyz = pose.position, pose.wxyz
                client.camera.fov = window_angle(camera, client.camera.aspect)
            self.snapped[client.client_id] = pose
        self.picture(client)

    def picture(self, client: Any) -> None:
        """The page's background: the photograph, our rendering or both, in place of the splats; or nothing."""
        kind, is_free = self.controls.picture, client.client_id not in self.snapped
        if is_free or kind == SPLATS:
            client.scene.set_background_image(None)
            self._cover(False)
            self.controls.score.content = CHOOSE if is_free and kind != SPLATS else ""
            return
        view = self.moment.camera(self.controls.camera)
        comparison = self.compare(view)
        picture = comparison.picture(kind, self.controls.blend)
        client.scene.set_background_image(in_window(picture, view.camera, client.camera.aspect), format="png")
        self._cover(True)
        self.controls.tell(view, comparison)

    def compare(self, view: ViewCamera) -> Comparison:
        """The present moment, as the sliders leave it, at a camera."""
        moment = self.moment
        return compare(self.visible(moment), view, self.rasterizer, moment.grain)

    def save(self, client: Any) -> None:
        """Send what a client sees as a PNG file."""
        aspect = client.camera.aspect
        width, height = (EXPORT, round(EXPORT / aspect)) if aspect >= 1 else (round(EXPORT * aspect), EXPORT)
        content = io.BytesIO()
        Image.fromarray(client.get_render(height, width, transport_format="png")).save(content, "PNG")
        client.send_file_download(f"{self.scenes[0].title}_{self.moment.name}.png", content.getvalue())

    def _place_first_view(self) -> None:
        cameras = self.scenes[0].moments[0].cameras
        distance = 2.6 * RADIUS
        start = np.array([1.0, -1.0, 0.7])
        if cameras:
            start = np.array(self.stage.pose(cameras[0].camera).position)
        first = self.server.initial_camera
        first.position, first.look_at = distance * start / np.linalg.norm(start), (0.0, 0.0, 0.0)
        first.fov, first.far = 0.8, 1e4

    def _listen(self) -> None:
        controls = self.controls
        controls.on_change(self.show)
        controls.on_snap(lambda client: self.snap(client, controls.camera))
        controls.on_picture(self.picture)
        controls.on_save(self.save)

        @self.server.on_client_connect
        def _(client: Any) -> None:
            client.camera.on_update(lambda camera: self._left(client, camera))

    def _left(self, client: Any, camera: Any) -> None:
        """A client has moved: a camera's picture no longer fits what it sees."""
        pose = self.snapped.get(client.client_id)
        if pose is None:
            return
        if np.linalg.norm(camera.position - np.array(pose.position)) < MOVED:
            self.arrived.add(client.client_id)
        elif client.client_id in self.arrived:  # before, the page tells of where it came from
            self.controls.leave()
            self.snap(client, FREE)

    def _cover(self, covered: bool) -> None:
        """Hide splats and frusta where a picture is seen instead."""
        self.covered = covered
        self.splats.visible = not covered
        for name, frustum in self.cameras.items():
            frustum.visible = self._has_frustum(name)

    def _has_frustum(self, name: str) -> bool:
        """Whether a camera is drawn: that which is looked through would hide what it sees."""
        return self.controls.with_cameras and not self.covered and name != self.controls.camera

    def _show_cameras(self, moment: Moment) -> None:
        for name in set(self.cameras) - {view.name for view in moment.cameras}:
            self.cameras.pop(name).remove()
        for view in moment.cameras:
            pose = self.stage.pose(view.camera)
            self.cameras[view.name] = self.server.scene.add_camera_frustum(
                f"/cameras/{view.name}",
                fov=pose.fov,
                aspect=pose.aspect,
                scale=FRUSTUM,
                thickness=LINE,
                thickness_units="screen",
                color=BANDS[view.is_input],
                image=_thumbnail(view) if self.controls.with_pictures else None,
                wxyz=pose.wxyz,
                position=pose.position,
                visible=self._has_frustum(view.name),
            )


@lru_cache(maxsize=256)
def _thumbnail(view: ViewCamera) -> np.ndarray | None:
    if view.stored is None or not view.stored.image_path.is_file():
        return None
    picture = Image.fromarray(as_uint8(read_photo(view.stored)[0]))
    picture.thumbnail((THUMBNAIL, THUMBNAIL))
    return np.asarray(picture)


def _viser() -> ModuleType:
    try:
        import viser
    except ImportError as error:
        raise UserError(
            f"the page needs viser ({error}): pip install viser; or write a page by itself with --static FILE.html"
        ) from error
    return viser
