"""One moment of a recording, from raw pictures with masks to the pinhole views of a sample."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float

from gslrm.cameras import Cameras
from gslrm.data.lens import Cutout, resample
from gslrm.data.normalize import place_sightings
from gslrm.data.placement import Placement
from gslrm.data.rig import Rig, RigCamera, directions_world
from gslrm.data.sightings import Found, Sighting, outline
from gslrm.prepare.options import Options
from gslrm.similarity import Similarity


@dataclass(frozen=True)
class PreparedView:
    """One view of a sample: its pinhole camera in the rig's own world (float64), picture and mask."""

    name: str
    camera: Cameras
    image: np.ndarray
    """uint8 [H, W, 3], RGB."""
    coverage: np.ndarray
    """float32 [H, W]."""

    @property
    def mask(self) -> np.ndarray:
        """The coverage as it is written: uint8 [H, W]."""
        return np.rint(self.coverage * 255).astype(np.uint8)


def sightings(coverages: Sequence[np.ndarray], cameras: Sequence[RigCamera]) -> list[Sighting]:
    """What each raw mask says about the animal's place."""
    return [
        Sighting(camera.pinhole().world_from_camera, directions_world(camera, outline(coverage)))
        for coverage, camera in zip(coverages, cameras, strict=True)
    ]


def pinhole_views(
    colours: Sequence[Cutout], rig: Rig, placement: Placement | None, backgrounds: Sequence[np.ndarray] | None
) -> list[PreparedView]:
    """Every raw picture resampled once.

    Args:
        colours: RGB times coverage, and coverage, per camera.
        rig: the raw cameras, with sizes.
        placement: the crops; none takes whole pictures, freed of distortion and skew.
        backgrounds: uint8 [H, W, 3] per camera to lay behind the animal; none lays white.
    """
    views = []
    for index, (picture, source) in enumerate(zip(colours, rig.cameras, strict=True)):
        target = source.pinhole() if placement is None else placement.crop_camera(source.pinhole())
        views.append(_view(picture, source, target, None if backgrounds is None else backgrounds[index]))
    return views


def _view(picture: Cutout, source: RigCamera, target: Cameras, background: np.ndarray | None) -> PreparedView:
    warped = resample(picture, source, target)
    coverage = np.clip(warped[..., 3], 0, 1)
    behind: np.ndarray | float = 1.0
    if background is not None:
        behind = resample(Cutout(0, 0, background.astype(np.float32) / 255), source, target)
    colour = warped[..., :3] + (1 - coverage[..., None]) * behind
    return PreparedView(source.name, target, np.rint(np.clip(colour, 0, 1) * 255).astype(np.uint8), coverage)


def keypoints_in_views(
    pixel: Float[np.ndarray, "v j 2"], views: Sequence[PreparedView], rig: Rig
) -> Float[np.ndarray, "v j 2"]:
    """Keypoints marked in raw pictures, in the pixels of the views made of them; NaN where not marked."""
    found = np.full(pixel.shape, np.nan)
    for index, (view, source) in enumerate(zip(views, rig.cameras, strict=True)):
        marked = np.flatnonzero(np.isfinite(pixel[index]).all(axis=1))
        ahead = source.rays(pixel[index, marked]) @ source.camera_from_world[:3, :3] + source.position
        found[index, marked] = view.camera.project(torch.from_numpy(ahead))[0].numpy()
    return found


def place(seen: Sequence[Sighting], options: Options) -> Placement:
    """Where the crops go.

    Raises:
        UserError: the masks do not show one animal at one place in front of the cameras.
    """
    return place_sightings(seen, size=options.size, mouse=options.mouse)


def world_of_recording(found: Sequence[Found], seen: Sequence[Sighting], options: Options) -> Similarity:
    """One similarity for all samples: centred on the median place of the animal, scaled by the mean camera distance.

    Args:
        found: the animal at some evenly spread moments.
        seen: sightings of any one of them, for the cameras' poses.
        options: `target_camera_distance` and `z_up`.
    """
    center = torch.stack([animal.center for animal in found]).median(dim=0).values
    mouse = options.mouse.model_copy(update={"center": center.tolist()})
    return place_sightings(seen, size=options.size, mouse=mouse).world_from_source


def in_world(views: Sequence[PreparedView], world_from_source: Similarity) -> list[PreparedView]:
    """The same views in another world."""
    return [replace(view, camera=view.camera.transform(world_from_source)) for view in views]
