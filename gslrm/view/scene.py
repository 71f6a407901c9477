"""What there is to look at in a folder: Gaussians moment by moment, the cameras that saw them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor

from gslrm.cameras import Cameras
from gslrm.data.normalize import rig_up
from gslrm.data.sample import SampleView
from gslrm.errors import UserError
from gslrm.look_around import extent
from gslrm.types import Gaussians

DISTINCT = 0.02  # of the cameras' horizontal axes: below, they lie on a line, to which all of a plane is perpendicular


@dataclass(frozen=True)
class ViewCamera:
    """A camera (unbatched, float64, in the world of the Gaussians) with the picture that it took, if that is there."""

    name: str
    camera: Cameras
    is_input: bool
    stored: SampleView | None = None


@dataclass(frozen=True)
class Grain:
    """The pixels of the pictures that Gaussians were made for: `density` per world unit at `center`.

    A model learns splats that are right together with the blur of its own pixels (`eps2d`, square pixels); finer
    pictures need the same blur in world units.
    """

    density: float
    center: tuple[float, float, float]
    eps2d: float = 0.3
    antialiased: bool = False

    def ratio(self, camera: Cameras) -> float:
        """Pixels of `camera` per pixel of the model's pictures, at the object."""
        center = torch.tensor(self.center, dtype=torch.float64)
        return float(camera.focal.mean() / (camera.position.double() - center).norm()) / self.density


@dataclass(frozen=True)
class Moment:
    """One moment: its Gaussians are read when asked for, `time` is in seconds."""

    name: str
    time: float
    load: Callable[[], Gaussians]
    cameras: tuple[ViewCamera, ...] = ()
    grain: Grain | None = None

    def camera(self, name: str) -> ViewCamera:
        """The camera of that name.

        Raises:
            UserError: this moment has no such camera.
        """
        for camera in self.cameras:
            if camera.name == name:
                return camera
        names = ", ".join(camera.name for camera in self.cameras) or "none are known"
        raise UserError(f"{self.name} has no camera {name!r}; its cameras: {names}")


@dataclass(frozen=True)
class Scene:
    """Everything of one folder; `unit` is empty where nobody knows it."""

    title: str
    moments: tuple[Moment, ...]
    fps: float
    unit: str = ""
    given_up: tuple[float, float, float] | None = None

    @property
    def up(self) -> Float[Tensor, "3"]:
        """The unit vector that points up: as told, else that of the cameras, else +z; float64."""
        if self.given_up is not None:
            return torch.nn.functional.normalize(torch.tensor(self.given_up, dtype=torch.float64), dim=0)
        return up_of([camera.camera for camera in self.moments[0].cameras])

    @property
    def rate(self) -> float:
        """Moments per second at which they follow one another; `fps` counts those of a recording that are left out."""
        times = sorted(moment.time for moment in self.moments)
        steps = sorted(late - early for early, late in pairwise(times))
        return self.fps if not steps or steps[len(steps) // 2] <= 0 else 1 / steps[len(steps) // 2]

    @cached_property
    def ball(self) -> tuple[Float[Tensor, "3"], float]:
        """Middle and radius of a ball around the object at the first moment.

        Raises:
            UserError: all its Gaussians are nearly transparent.
        """
        return ball_around(self.moments[0])


def ball_around(moment: Moment) -> tuple[Float[Tensor, "3"], float]:
    """Middle and radius of a ball around the solid Gaussians of a moment.

    Raises:
        UserError: all Gaussians are nearly transparent.
    """
    try:
        return extent(moment.load())
    except ValueError as error:
        raise UserError(f"{moment.name}: {error}; look at another sample") from error


def up_of(cameras: Sequence[Cameras]) -> Float[Tensor, "3"]:
    """Where a rig of upright cameras has its up, in float64; +z where there is no camera."""
    if not cameras:
        return torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64)
    rotations = torch.stack([camera.world_from_camera[:3, :3].double() for camera in cameras])
    spread = torch.linalg.svdvals(rotations[:, :, 0])
    if len(cameras) > 1 and spread[1] > DISTINCT * spread[0]:
        return rig_up(rotations)
    return torch.nn.functional.normalize(-rotations[:, :, 1].mean(0), dim=0)
