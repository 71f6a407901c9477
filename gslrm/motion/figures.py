"""How a sequence moves: speed, jitter of its place, flicker of its pictures."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from gslrm.cameras import Cameras
from gslrm.look_around import Circle
from gslrm.motion.sequence import GaussianSequence
from gslrm.motion.smoothing import departures, smooth_over_time
from gslrm.types import Gaussians, Rendering

Paint = Callable[[Gaussians, Cameras, float], Rendering]
"""Gaussians `[N]` at one camera, with the resolution ratio of `Rasterizer` -> picture [1, ...] on white."""

REACH = 5  # frames on either side that the path of the travelling cameras is smoothed with
VIEWS, ELEVATION = 3, 20.0  # travelling cameras around, degrees
INSIDE = 0.5  # coverage from which a pixel belongs to the animal
USUAL_STEP = 1.5  # of the usual time between frames; where more is missing, nothing is compared
LEVELS = 255
DEFINITIONS = {
    "speed": "distance of the centres before and after a frame by the time between them; the centre is the mean of the "
    "solid Gaussians' centres weighted by opacity",
    "jitter": "distance of a frame's centre from the line between its neighbours' centres: 0 under constant velocity",
    "flicker": "mean absolute difference, over R, G, B and the animal's pixels, between a frame's picture and the mean "
    "of its neighbours' pictures, in levels of 255, at 3 cameras that travel along the smoothed path of the centre: 0 "
    "for a rigid object under constant velocity",
    "flicker_fixed": "the same at cameras that stand still: movement counts too",
}


def motion_figures(sequence: GaussianSequence, paint: Paint, *, size: int = 128) -> dict[str, Any]:
    """Speed, jitter, flicker of every frame, with their means; none where a frame has no neighbours or no place.

    The second difference in time is the acceleration error of human mesh recovery (Kanazawa et al. 2019, "Learning 3D
    human dynamics from video") taken of pictures; that the camera travels does what warping by optical flow does for
    the temporal error of video (Lai et al. 2018, "Learning blind video temporal consistency"), without an estimated
    flow. Turning and bending are not compensated.

    Raises:
        UserError: a frame is missing or damaged.
    """
    entries = sequence.manifest.frames
    seen = [index for index, entry in enumerate(entries) if entry.center is not None]
    values: dict[str, list[float | None]] = {name: [None] * len(entries) for name in DEFINITIONS}
    runs = _runs([entries[index].time for index in seen])
    for run in runs:
        indices = [seen[place] for place in run]
        for name, numbers in _of_run(sequence, indices, paint, size).items():
            for index, number in zip(indices, numbers, strict=True):
                values[name][index] = number
    return {
        "definitions": DEFINITIONS,
        "unit": sequence.manifest.unit,
        "fps": sequence.manifest.fps,
        "means": {name: _mean(numbers) for name, numbers in values.items()},
        "frames": [entry.name for entry in entries],
        "times": sequence.times,
        **values,
    }


def _of_run(sequence: GaussianSequence, indices: Sequence[int], paint: Paint, size: int) -> dict[str, list]:
    """The figures of frames that follow one another."""
    entries = [sequence.manifest.frames[index] for index in indices]
    times = [entry.time for entry in entries]
    centers = torch.tensor([entry.center for entry in entries], dtype=torch.float64)
    none = [None] * len(entries)
    if len(entries) < 3:
        return {"speed": _speeds(times, centers) if len(entries) > 1 else none} | {
            name: none for name in ("jitter", "flicker", "flicker_fixed")
        }
    path = smooth_over_time(times, centers, reach=REACH)
    still = path.mean(dim=0).expand_as(path)
    return {
        "speed": _speeds(times, centers),
        "jitter": [None, *departures(times, centers).tolist(), None],
        "flicker": [None, *_flicker(times, _pictures(sequence, indices, path, paint, size)), None],
        "flicker_fixed": [None, *_flicker(times, _pictures(sequence, indices, still, paint, size)), None],
    }


def _pictures(
    sequence: GaussianSequence, indices: Sequence[int], path: Float[Tensor, "t 3"], paint: Paint, size: int
) -> Iterator[list[Rendering]]:
    """Each frame at the travelling cameras."""
    radius = 1 / sequence.manifest.normalisation.scale
    for index, center in zip(indices, path, strict=True):
        scene = sequence.gaussians(index)
        cameras = Circle(center, radius, sequence.up, ELEVATION).cameras(VIEWS, size)
        views = [cameras[view] for view in range(VIEWS)]
        yield [paint(scene, camera, sequence.resolution_ratio(index, camera)) for camera in views]


def _flicker(times: Sequence[float], pictures: Iterator[list[Rendering]]) -> list[float]:
    """Per frame but the first and last, against the pictures beside it."""
    found = []
    before, middle = next(pictures), next(pictures)
    for index, after in enumerate(pictures, start=1):
        share = (times[index] - times[index - 1]) / (times[index + 1] - times[index - 1])
        total = area = 0.0
        for early, now, late in zip(before, middle, after, strict=True):
            inside = torch.maximum(torch.maximum(early.alpha, now.alpha), late.alpha) >= INSIDE
            line = (1 - share) * early.rgb + share * late.rgb
            total += float(((now.rgb - line).abs() * inside).double().sum() / 3)
            area += float(inside.sum())
        found.append(LEVELS * total / max(area, 1.0))
        before, middle = middle, after
    return found


def _speeds(times: Sequence[float], centers: Float[Tensor, "t 3"]) -> list[float]:
    """Central differences, one-sided at the ends."""
    at = torch.tensor(times, dtype=torch.float64)
    before, after = (torch.arange(len(at)) + step for step in (-1, 1))
    before, after = before.clamp_min(0), after.clamp_max(len(at) - 1)
    speeds: list[float] = ((centers[after] - centers[before]).norm(dim=1) / (at[after] - at[before])).tolist()
    return speeds


def _runs(times: Sequence[float]) -> list[list[int]]:
    """Positions of frames that follow one another without a gap."""
    if len(times) < 2:
        return [list(range(len(times)))] if times else []
    steps = torch.tensor(times, dtype=torch.float64).diff()
    ends = (steps > USUAL_STEP * steps.median()).nonzero()[:, 0].tolist()
    starts = [0, *(end + 1 for end in ends)]
    return [list(range(start, end + 1)) for start, end in zip(starts, [*ends, len(times) - 1], strict=True)]


def _mean(numbers: Sequence[float | None]) -> float | None:
    known = [number for number in numbers if number is not None]
    return sum(known) / len(known) if known else None
