"""What a checkpoint is put through: fewer views, each camera left out, another order, wrong masks, wrong cameras."""

import itertools
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from gslrm.cameras import nearest_to_lines
from gslrm.data.sample import Sample
from gslrm.errors import UserError
from gslrm.evaluation.baselines import TRIVIAL
from gslrm.evaluation.disturbance import Disturbance

HULL = "visual_hull"
FEWEST = 3  # views that a rig is cut down to
MASK_PIXELS = (1.0, 2.0)
CAMERA_MILLIMETRES = (1.0, 2.0)
TURN_PER_MILLIMETRE = 0.05  # degrees: at 320 mm it moves a picture by 0.28 mm
EVERYTHING, PERMUTED = "all_views", "permuted"
FLOAT32, PERMUTED_FLOAT32 = "float32", "permuted_float32"  # in which the order is compared without rounding


@dataclass(frozen=True)
class Setting:
    """One way of giving samples to a model."""

    name: str
    """Of its file of scores."""
    label: str
    """Of its row."""
    views: int | None = None
    """As many input views, as far apart as they can be chosen; none for all."""
    left_out: int | None = None
    """The one input view that is not given, by its place among them."""
    permuted: bool = False
    disturbance: Disturbance = Disturbance()
    float32: bool = False
    """Whether the network runs in float32 even where it is configured not to."""
    refine: int = 0
    """Gradient steps on each sample."""
    baselines: tuple[str, ...] = (HULL,)

    def inputs(self, sample: Sample, every: tuple[int, ...]) -> tuple[int, ...]:
        """The input views of a sample, of all that may be given."""
        if self.left_out is not None:
            return tuple(view for place, view in enumerate(every) if place != self.left_out)
        if self.permuted:
            return permuted(sample, every)
        return every if self.views is None else farthest_apart(sample, every, self.views)


def standard_settings(views: int, *, unit: float, refine: Sequence[int] = ()) -> list[Setting]:
    """All settings for a rig of so many input views, that with all of them and all baselines first.

    Args:
        views: input views.
        unit: millimetres of one unit of the samples' worlds.
        refine: numbers of gradient steps.

    Raises:
        UserError: there are too few views to leave one out.
    """
    if views <= FEWEST:
        raise UserError(f"{views} input views: to leave one out and place the object {FEWEST + 1} are needed")
    settings = [Setting(EVERYTHING, f"all {views} views", baselines=(*TRIVIAL, HULL))]
    settings += [Setting(f"refined_{steps}", f"and {steps} steps on each sample", refine=steps) for steps in refine]
    settings += [
        Setting(PERMUTED, "in another order", permuted=True, baselines=()),
        Setting(FLOAT32, "in float32", float32=True, baselines=()),
        Setting(PERMUTED_FLOAT32, "in float32, in another order", permuted=True, float32=True, baselines=()),
    ]
    settings += [Setting(f"without_{place}", f"without input {place}", left_out=place) for place in range(views)]
    settings += [Setting(f"views_{count}", f"{count} views", views=count) for count in range(views - 2, FEWEST - 1, -1)]
    for pixels in MASK_PIXELS:
        error = Disturbance(mask_pixels=pixels)
        settings.append(Setting(f"masks_{pixels:g}px", f"outlines off by up to {pixels:g} px", disturbance=error))
    return settings + _camera_settings(unit)


def _camera_settings(unit: float) -> list[Setting]:
    settings = []
    for length in CAMERA_MILLIMETRES:
        turn, name = TURN_PER_MILLIMETRE * length, f"cameras_{length:g}mm"
        error = Disturbance(camera_shift=length / unit, camera_turn=turn)
        label = f"cameras off by {length:g} mm"
        settings += [
            Setting(name, f"{label} and {turn:g} degrees", disturbance=error),
            Setting(f"{name}_aimed", f"{label}, turned to see the middle where it was", disturbance=_aimed(error)),
        ]
    return settings


def _aimed(error: Disturbance) -> Disturbance:
    return replace(error, aimed=True)


def farthest_apart(sample: Sample, every: tuple[int, ...], count: int) -> tuple[int, ...]:
    """So many views whose nearest two are as far apart as can be, seen from where the cameras look; then the next two.

    Raises:
        UserError: the sample has no such views.
    """
    cameras = [view.camera for view in sample.select(every)]
    poses = torch.stack([camera.world_from_camera for camera in cameras])
    focus = nearest_to_lines(poses[:, :3, 3], poses[:, :3, 2])
    direction = torch.nn.functional.normalize(poses[:, :3, 3] - focus, dim=1)
    angle = torch.rad2deg(torch.acos((direction @ direction.mT).clamp(-1, 1))).round(decimals=6).numpy()

    def closeness(places: tuple[int, ...]) -> list[float]:
        return sorted(float(angle[pair]) for pair in itertools.combinations(places, 2))

    best = max(itertools.combinations(range(len(every)), count), key=closeness)
    return tuple(every[place] for place in best)


def permuted(sample: Sample, every: tuple[int, ...]) -> tuple[int, ...]:
    """The views in another order, the same one each time."""
    order = np.random.default_rng(zlib.crc32(sample.name.encode())).permutation(len(every))
    shuffled = tuple(every[place] for place in order)
    return shuffled if shuffled != every else every[::-1]
