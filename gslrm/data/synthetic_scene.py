"""A synthetic animal before the cameras that will photograph it."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from gslrm.cameras import Cameras
from gslrm.compiled import kernel
from gslrm.data.synthetic_coat import COATS
from gslrm.data.synthetic_mouse import MouseOptions, place_in_arena, sample_mouse
from gslrm.data.synthetic_pose import RATES, with_rearing
from gslrm.data.synthetic_raster import Mesh
from gslrm.data.synthetic_rig import FOCAL, between_cameras, sees_whole, six_camera_rig, sphere_cameras
from gslrm.data.transforms import turn_to
from gslrm.errors import UserError
from gslrm.tensor_struct import concatenate, stack

RIG_VIEWS = 6
MARGIN = 0.02  # of the image's width
MOST_RIGS = 200  # hardly any mouse needs more than two
PLACES_PER_RIG = 40  # a mouse with a long tail fits only near the middle; rather another rig than a long search
TYPICAL_DIAMETER, TYPICAL_DISTANCE = 165.0, 320.0  # mm, of the animal with its tail, and to the cameras
FINEST, COARSEST = 0.8, 1.6  # mm between the vertices of a mouse
DIRECTIONS = 64  # in which the outermost vertices stand for all: what is left out lies well within the margin


@dataclass(frozen=True)
class Views:
    """Which cameras photograph an animal.

    `size` is width and height in pixels. `extra` cameras follow the rig's six; where `held_out`, they begin with those
    between the rig's, which samples for training never have. `crop`, if not 0, turns every camera to the animal and
    makes pictures as wide as `crop` times its diameter.
    """

    size: int
    extra: int
    held_out: bool
    crop: float = 0.0


def mouse_options(
    views: Views, *, rearing: float | None = None, coats: tuple[str, ...] = tuple(COATS), whiskers: bool = False
) -> MouseOptions:
    """Which mice to draw, with a mesh that is as fine as the views' pixels at the animal."""
    millimetres = (views.crop * TYPICAL_DIAMETER if views.crop else TYPICAL_DISTANCE / FOCAL[0]) / views.size
    return MouseOptions(
        rates=RATES if rearing is None else with_rearing(rearing),
        coats=coats,
        whiskers=whiskers,
        spacing=float(np.clip(millimetres, FINEST, COARSEST)),
    )


def sample_scene(
    rng: np.random.Generator, *, size: int, extra_views: int, held_out: bool
) -> tuple[Mesh, Cameras, list[str]]:
    """A mouse that every camera sees whole, its cameras, and their names; see `scene_of`."""
    views = Views(size, extra_views, held_out)
    return scene_of(rng, views, mouse_options(views))


def scene_of(
    rng: np.random.Generator,
    views: Views,
    options: MouseOptions | None = None,
    animal: Callable[[np.random.Generator], Mesh] | None = None,
) -> tuple[Mesh, Cameras, list[str]]:
    """An animal, the cameras before which it stands, and their names; the six of the rig come first.

    Args:
        rng: decides everything.
        views: which cameras.
        options: which mice.
        animal: draws another animal than these mice, in mm, on a floor at z = 0.

    Raises:
        UserError: the animal is too large for the rig's pictures.
    """
    mesh = animal(rng) if animal else sample_mouse(rng, options)
    points = outermost(mesh.vertices)
    rig, between, shift = _in_view(rng, mesh, points, views.size)
    points = points + shift
    names = [f"Camera{index + 1}" for index in range(RIG_VIEWS)]
    extra = [between[: min(views.extra, RIG_VIEWS)]] if views.held_out else []
    names += [f"Between{index + 1}" for index in range(RIG_VIEWS)][: views.extra] if views.held_out else []
    missing = RIG_VIEWS + views.extra - len(names)
    if missing:
        extra.append(_around_animal(rng, missing, points, views.size))
        names += [f"Sphere{index + 1}" for index in range(missing)]
    cameras = concatenate([rig, *extra])
    return mesh.moved(shift.numpy()), _cropped(cameras, points, views) if views.crop else cameras, names


def outermost(vertices: Float[np.ndarray, "v 3"]) -> Float[Tensor, "n 3"]:
    """The vertices that reach furthest in many directions, in double precision."""
    directions = np.random.default_rng(0).normal(size=(DIRECTIONS, 3))
    furthest = np.zeros(DIRECTIONS, np.int64)
    _find_furthest(np.ascontiguousarray(vertices), directions, furthest)
    return torch.from_numpy(vertices[np.unique(furthest)])


@kernel
def _find_furthest(vertices, directions, furthest):
    for d in range(len(directions)):
        most = -1e30
        for v in range(len(vertices)):
            reach = (
                vertices[v, 0] * directions[d, 0]
                + vertices[v, 1] * directions[d, 1]
                + vertices[v, 2] * directions[d, 2]
            )
            if reach > most:
                most, furthest[d] = reach, v


def _in_view(
    rng: np.random.Generator, mesh: Mesh, points: Float[Tensor, "n 3"], size: int
) -> tuple[Cameras, Cameras, Float[Tensor, "3"]]:
    """A rig, the cameras between its own, and the shift that brings the animal to where all see it whole.

    Raises:
        UserError: it is too large.
    """
    for _ in range(MOST_RIGS):
        rig = six_camera_rig(rng, size)
        between = between_cameras(rig)
        both = concatenate([rig, between])
        for _ in range(PLACES_PER_RIG):
            shift = torch.from_numpy(place_in_arena(rng, mesh))
            if sees_whole(both, points + shift, MARGIN).all():
                return rig, between, shift
    extent = float((points.amax(dim=0) - points.amin(dim=0)).max())
    raise UserError(
        f"an animal {extent:.0f} mm long fits whole into the pictures of none of {MOST_RIGS} rigs; make it smaller "
        "(for meshes: --mesh-scale)"
    )


def _around_animal(rng: np.random.Generator, count: int, points: Float[Tensor, "n 3"], size: int) -> Cameras:
    middle = 0.5 * (points.amin(dim=0) + points.amax(dim=0))
    found: list[Cameras] = []
    while sum(len(cameras.focal) for cameras in found) < count:  # ends: what the rig's cameras see, most others do
        cameras = sphere_cameras(rng, count, size, tuple(middle.tolist()))
        found.append(cameras[sees_whole(cameras, points, MARGIN)])
    return concatenate(found)[:count]


def _cropped(cameras: Cameras, points: Float[Tensor, "n 3"], views: Views) -> Cameras:
    """The cameras turned about their own centres to the animal: rays stay exact, every pixel is new."""
    middle = 0.5 * (points.amin(dim=0) + points.amax(dim=0))
    footprint = views.crop * 2 * float((points - middle).norm(dim=1).max())
    distance = (cameras.position - middle).norm(dim=1)
    return stack(
        [
            turn_to(cameras[index], middle, focal=views.size * float(away) / footprint, size=views.size)
            for index, away in enumerate(distance)
        ]
    )
