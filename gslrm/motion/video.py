"""A sequence as a video: an input camera's picture, the rendering at that camera, a free orbit, side by side."""

from collections.abc import Iterator
from statistics import median

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from gslrm.cameras import Cameras
from gslrm.data.masks import MaskPolicy, read_view
from gslrm.data.sample import read_sample
from gslrm.data.transforms import turn_to, warp
from gslrm.errors import UserError
from gslrm.look_around import MARGIN, Circle, solid_reach
from gslrm.motion.figures import REACH, Paint
from gslrm.motion.sequence import GaussianSequence
from gslrm.motion.smoothing import smooth_over_time
from gslrm.visualize import Column, Picture
from gslrm.visualize.sheet import sheet

ELEVATION = 20.0  # degrees, of the orbit


def side_by_side(
    sequence: GaussianSequence, paint: Paint, *, view: int, size: int, turns: float, policy: MaskPolicy
) -> Iterator[Picture]:
    """One labelled picture per frame, with `size` pixels across each panel.

    Panels are ray-exact crops about the animal, at one focal length throughout, by a camera that travels along the
    smoothed path of its centre, so that what shakes is the reconstruction. Frames whose sample is not known, or lacks
    the picture, show the orbit alone, if that is so for all.

    Args:
        sequence: where to read.
        paint: draws one scene.
        view: index of the camera among the sample's.
        size: pixels.
        turns: of the orbit, over the whole sequence.
        policy: where masks are.

    Raises:
        UserError: a frame is damaged, its sample has no such view, or a picture is missing.
    """
    path, radius = _path(sequence), _reach(sequence)
    with_input = all(sequence.sample(index) is not None for index in range(len(sequence)))
    count = max(round(len(sequence) / turns), 1) if turns else 1
    for index, entry in enumerate(sequence.manifest.frames):
        scene = sequence.gaussians(index)
        circle = Circle(path[index], radius, sequence.up, ELEVATION)
        draw = lambda camera, index=index, scene=scene: paint(  # noqa: E731
            scene, camera, sequence.resolution_ratio(index, camera)
        ).rgb[0]
        panels = {"free orbit": draw(circle.cameras(count, size)[index % count])}
        if with_input:
            camera = _camera(sequence, index, view)
            crop = _crop(camera, path[index], radius=radius, size=size)
            truth = _picture(sequence, index, view, camera, crop, policy)
            panels = {f"{sequence.cameras(index)[view].name}": truth, "rendered": draw(crop), **panels}
        columns = [
            Column(f"{name}\n{entry.time:.2f} s" if not place else f"{name}\n") for place, name in enumerate(panels)
        ]
        yield sheet({"": torch.stack(list(panels.values())).clamp(0, 1)}, columns)


def _path(sequence: GaussianSequence) -> Float[Tensor, "t 3"]:
    """The smoothed path of the animal; frames without anything solid take the place before."""
    centers: list[tuple[float, float, float]] = []
    for entry in sequence.manifest.frames:
        centers.append(entry.center or (centers[-1] if centers else sequence.manifest.normalisation.center))
    return smooth_over_time(sequence.times, torch.tensor(centers, dtype=torch.float64), reach=REACH)


def _reach(sequence: GaussianSequence) -> float:
    """How far the animal usually reaches from its own centre: floaters of single frames do not make it small."""
    seen = [index for index, entry in enumerate(sequence.manifest.frames) if entry.center is not None]
    reaches = [
        solid_reach(sequence.gaussians(index), torch.tensor(sequence.manifest.frames[index].center).double())
        for index in seen
    ]
    return median(reaches) if reaches else 1 / sequence.manifest.normalisation.scale


def _camera(sequence: GaussianSequence, index: int, view: int) -> Cameras:
    cameras = sequence.cameras(index)
    if not 0 <= view < len(cameras):
        name = sequence.manifest.frames[index].name
        raise UserError(f"--view {view}: frame {name} has the views 0-{len(cameras) - 1}")
    return cameras[view].camera


def _crop(camera: Cameras, center: Float[Tensor, "3"], *, radius: float, size: int) -> Cameras:
    """The camera turned to the centre, with a ball about it just inside its picture."""
    distance = float((center - camera.position).norm())
    return turn_to(camera, center, focal=0.5 * size * distance / (MARGIN * radius), size=size)


def _picture(
    sequence: GaussianSequence, index: int, view: int, camera: Cameras, crop: Cameras, policy: MaskPolicy
) -> Float[Tensor, "3 h w"]:
    """What the camera saw, on white, resampled for the crop."""
    sample = sequence.sample(index)
    assert sample is not None
    stored = read_view(read_sample(sample).select((view,))[0], policy)
    picture = warp(np.ascontiguousarray(stored, dtype=np.float32), camera, crop)
    tensor = torch.from_numpy(picture).movedim(-1, 0)
    return (tensor[:3] + 1 - tensor[3:]).clamp(0, 1)
