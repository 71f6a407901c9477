"""The panel of the viewer's page: what is chosen there, in words of this package."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from gslrm.view.comparison import PICTURES, Comparison
from gslrm.view.scene import Moment, Scene, ViewCamera

FREE, SPLATS = "free view", "splats"
NO_CROP = 1.5  # end of the crop's slider
MAX_FPS = 30
Act = Callable[[Any], None]


@dataclass
class Controls:
    """Handles of the panel."""

    model: Any
    time: Any
    play: Any
    speed: Any
    about: Any
    cameras: Any
    pictures: Any
    opacity: Any
    cropping: Any
    through: Any
    instead: Any
    share: Any
    score: Any
    export: Any

    @property
    def model_index(self) -> int:
        """Which model is shown."""
        return 0 if self.model is None else list(self.model.options).index(self.model.value)

    @property
    def moment_index(self) -> int:
        """Which moment is shown."""
        return 0 if self.time is None else int(self.time.value)

    @property
    def playing(self) -> bool:
        """Whether time runs."""
        return self.play is not None and bool(self.play.value)

    @property
    def fps(self) -> float:
        """Moments per second."""
        return 10.0 if self.speed is None else float(self.speed.value)

    @property
    def faintest(self) -> float:
        """Opacity below which Gaussians are hidden."""
        return float(self.opacity.value)

    @property
    def crop(self) -> float | None:
        """Half a side of the crop, of the object's radius; none where nothing is cropped."""
        return None if self.cropping.value >= NO_CROP else float(self.cropping.value)

    @property
    def camera(self) -> str:
        """The camera looked through, or `FREE`."""
        return str(self.through.value)

    @property
    def picture(self) -> str:
        """What is seen through it: `SPLATS` or a kind of picture of a comparison."""
        return str(self.instead.value)

    @property
    def blend(self) -> float:
        """Share of the photograph in a blend."""
        return float(self.share.value)

    @property
    def with_cameras(self) -> bool:
        """Whether frusta are shown."""
        return bool(self.cameras.value)

    @property
    def with_pictures(self) -> bool:
        """Whether frusta carry their pictures."""
        return bool(self.pictures.value)

    def step(self) -> None:
        """One moment on; after the last comes the first."""
        self.time.value = (self.moment_index + 1) % (int(self.time.max) + 1)

    def leave(self) -> None:
        """Back to the free view."""
        self.through.value = FREE

    def describe(self, moment: Moment) -> None:
        """Say what is shown, and offer its cameras."""
        self.about.content = f"**{moment.name}** · {moment.time:.2f} s · {len(moment.load().means):,} Gaussians"
        names = (FREE, *(camera.name for camera in moment.cameras))
        if tuple(self.through.options) != names:
            self.through.options = names

    def tell(self, view: ViewCamera, comparison: Comparison) -> None:
        """Say how well a rendering agrees with its photograph."""
        kind = "input" if view.is_input else "not input"
        if comparison.photo is None:
            self.score.content = f"{view.name} ({kind}): no photograph"
        elif comparison.psnr is None:
            self.score.content = f"{view.name} ({kind}): no mask, so errors are those of the whole picture"
        else:
            self.score.content = f"{view.name} ({kind}): {comparison.psnr:.1f} dB in the object's box"

    def on_change(self, act: Callable[[], None]) -> None:
        """Call when something else is to be shown."""
        for handle in (self.model, self.time, self.cameras, self.pictures, self.opacity, self.cropping):
            if handle is not None:
                handle.on_update(lambda _: act())

    def on_snap(self, act: Act) -> None:
        """Call with the client that has chosen a camera."""
        self.through.on_update(_by_hand(act))

    def on_picture(self, act: Act) -> None:
        """Call with the client that has chosen what to see through a camera."""
        for handle in (self.instead, self.share):
            handle.on_update(_by_hand(act))

    def on_save(self, act: Act) -> None:
        """Call with the client that wants a picture."""
        self.export.on_click(_by_hand(act))


def _by_hand(act: Act) -> Act:
    """What is done when somebody, not the program, changes a handle."""

    def listen(event: Any) -> None:
        if event.client is not None:
            act(event.client)

    return listen


def add_controls(gui: Any, scenes: Sequence[Scene]) -> Controls:
    """Build the panel for scenes; what they have no use for is left out."""
    names = [scene.title for scene in scenes]
    if len(set(names)) < len(names):
        names = [f"{number}: {name}" for number, name in enumerate(names, 1)]
    last = max(len(scene.moments) for scene in scenes) - 1
    about = gui.add_markdown("")
    model = gui.add_dropdown("model", names) if len(scenes) > 1 else None
    time = gui.add_slider("moment", 0, last, 1, 0) if last else None
    play = gui.add_checkbox("play", False) if last else None
    fps = min(max(round(scenes[0].rate), 1), MAX_FPS)
    speed = gui.add_slider("moments per second", 1, MAX_FPS, 1, fps) if last else None
    with gui.add_folder("splats"):
        opacity = gui.add_slider("hide fainter than", 0.0, 0.95, 0.01, 0.0)
        cropping = gui.add_slider("crop, of the radius", 0.05, NO_CROP, 0.01, NO_CROP)
    with gui.add_folder("cameras"):
        cameras, pictures = gui.add_checkbox("show", True), gui.add_checkbox("with pictures", True)
        through = gui.add_dropdown("look through", [FREE])
        instead = gui.add_dropdown("and see", [SPLATS, *PICTURES])
        share = gui.add_slider("photo in blend", 0.0, 1.0, 0.05, 0.5)
        score = gui.add_markdown("")
    export = gui.add_button("save view as PNG")
    return Controls(
        model, time, play, speed, about, cameras, pictures, opacity, cropping, through, instead, share, score, export
    )
