"""What a model has to beat: pictures of held-out cameras made from the given views without one."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from gslrm.cameras import Cameras
from gslrm.evaluation.hull import Hull
from gslrm.metrics import nearest_input_view
from gslrm.tensor_struct import stack
from gslrm.types import Rendering, Views

Painter = Callable[[Cameras], Rendering]
"""The picture [1, ...] at an unbatched camera of the sample's world; it never sees the truth."""


@dataclass(frozen=True)
class Given:
    """The views [1] of one reconstruction, at their own sizes and on white, and where the object is."""

    views: tuple[Views, ...]
    center: Float[Tensor, "3"]


Baseline = Callable[[Given], Painter | None]
"""Makes a painter of given views; none where they do not allow it."""


def white(given: Given) -> Painter:
    """Paper."""
    return lambda camera: _plain(torch.ones(3), camera)


def mean_colour(given: Given) -> Painter:
    """One colour everywhere, the mean of all given pixels: what a collapsed model paints."""
    total = torch.stack([view.images[0].sum(dim=(1, 2)) for view in given.views]).sum(dim=0)
    mean = total / sum(view.masks.numel() for view in given.views)
    return lambda camera: _plain(mean, camera)


def nearest_input(given: Given) -> Painter:
    """The given view from the most similar direction; for a given camera the nearest other one."""

    def paint(camera: Cameras) -> Rendering:
        elsewhere = [view for view in given.views if not torch.equal(view.cameras[0].position, camera.position)]
        others = elsewhere or list(given.views)
        cameras = stack([replace(view.cameras[0], height=0, width=0) for view in others])  # sizes may differ
        source = others[int(nearest_input_view(camera[None], cameras, given.center))]
        size = (camera.height, camera.width)
        image, mask = (torch.nn.functional.interpolate(x, size, mode="bilinear") for x in (source.images, source.masks))
        return Rendering(image, mask, torch.zeros_like(mask))

    return paint


def visual_hull(given: Given) -> Painter | None:
    """The coloured visual hull of the given masks."""
    hull = Hull.of(given.views)
    return None if hull is None else hull.render


TRIVIAL: Mapping[str, Baseline] = {"white": white, "mean_colour": mean_colour, "nearest_input": nearest_input}
ALL: Mapping[str, Baseline] = {**TRIVIAL, "visual_hull": visual_hull}


def _plain(colour: Float[Tensor, "3"], camera: Cameras) -> Rendering:
    empty = torch.zeros(1, 1, camera.height, camera.width)
    return Rendering(colour[None, :, None, None].expand(1, 3, camera.height, camera.width), empty, empty)
