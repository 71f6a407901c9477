"""Where the network sees a sample: ray-exact crops in a world scaled by one similarity.

The centre is triangulated from the masks of the input views, or given; every camera then turns about its own centre to
look at it with new square pixels. Cameras are never moved one by one: the only change of the world is one similarity
for all of them, so multi-view geometry stays exact and can be undone exactly.
"""

import math
from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from gslrm.cameras import Cameras, nearest_to_lines, shortest_turn
from gslrm.config import MouseConfig
from gslrm.data.placement import Placement
from gslrm.data.sightings import Found, Sighting, find_object, sight
from gslrm.data.transforms import turn_pose
from gslrm.errors import UserError
from gslrm.similarity import Similarity

# Per pixel of the image's side.
FACELIFT_FOCAL = 548.9937744140625 / 512  # 50 degrees, as its camera files round it
LGM_FOCAL = 0.5 / math.tan(math.radians(49.1) / 2)


def place_object(coverages: list[np.ndarray], cameras: list[Cameras], *, size: int, mouse: MouseConfig) -> Placement:
    """Place the network's world by the masks and pinhole cameras of the input views; see `place_sightings`.

    Args:
        coverages: one float32 [H, W] per input view.
        cameras: the views' cameras (unbatched, float64, any unit).
        size: side of the crops in pixels.
        mouse: see `place_sightings`.

    Raises:
        UserError: see `place_sightings`.
    """
    sightings = [sight(coverage, camera) for coverage, camera in zip(coverages, cameras, strict=True)]
    return place_sightings(sightings, size=size, mouse=mouse)


def place_sightings(sightings: Sequence[Sighting], *, size: int, mouse: MouseConfig) -> Placement:
    """Place the network's world by what the input views see; masks are looked at only where they are needed.

    Args:
        sightings: one per input view, also where its mask is empty.
        size: side of the crops in pixels.
        mouse: `center`; `object_size` or `target_camera_distance`; `crop`; `normalize_to_z_up`; `camera_distance`.

    Raises:
        UserError: fewer than two views show the object, the masks do not agree on a place, or the centre is not in
            front of every camera.
        ValueError: the arena's centre is asked for and the cameras look along parallel lines.
    """
    found = find_object(sightings) if mouse.center == "animal" or mouse.object_size is not None else None
    center = _center(mouse, sightings, found)
    _require_in_front(center, sightings)
    distances = torch.stack([sighting.position - center for sighting in sightings]).norm(dim=1)
    if found is not None and mouse.object_size is not None:
        scale = mouse.object_size / found.diameter
    else:
        scale = mouse.target_camera_distance / float(distances.mean())
    rotation = _z_up(sightings) if mouse.normalize_to_z_up else torch.eye(3, dtype=torch.float64)
    similarity = Similarity.about(center, scale=torch.tensor(scale, dtype=torch.float64), rotation=rotation)
    moved = mouse.target_camera_distance if mouse.camera_distance == "each_ablation" else None
    if mouse.crop == "footprint":
        footprint = mouse.crop_footprint / scale
        return Placement(
            similarity, size, center, density=size / footprint, footprint=footprint, ablated_distance=moved
        )
    focal = (LGM_FOCAL if mouse.crop == "pretrained_lgm" else FACELIFT_FOCAL) * size
    if mouse.crop == "fill":
        focal = _filling_focal(sightings, center, size=size, margin=mouse.crop_margin)
    density = focal * float((1 / distances).mean())
    return Placement(similarity, size, center, density=density, focal=focal, ablated_distance=moved)


def _center(mouse: MouseConfig, sightings: Sequence[Sighting], found: Found | None) -> Float[Tensor, "3"]:
    """The point of the source world that becomes the origin."""
    if mouse.center == "animal":
        assert found is not None
        return found.center
    if mouse.center == "arena":
        poses = torch.stack([sighting.world_from_camera for sighting in sightings])
        return nearest_to_lines(poses[:, :3, 3], poses[:, :3, 2])
    return torch.tensor(mouse.center, dtype=torch.float64)


def _filling_focal(sightings: Sequence[Sighting], center: Float[Tensor, "3"], *, size: int, margin: float) -> float:
    """The largest focal length at which all outlines lie inside their crops, `margin` of the side from the edges.

    Raises:
        UserError: no view shows an object.
    """
    reach = 0.0
    for sighting in sightings:
        point = sighting.directions @ turn_pose(sighting.world_from_camera, center)[:3, :3]
        reach = max([reach, *(point[:, :2] / point[:, 2:].clamp_min(1e-3)).abs().amax(dim=1).tolist()])
    if not reach:
        raise UserError("mouse.crop: fill needs a mask in at least one input view; repair the masks or use footprint")
    return size * (0.5 - margin) / reach


def _z_up(sightings: Sequence[Sighting]) -> Float[Tensor, "3 3"]:
    """The smallest rotation that turns the rig's up direction to +z."""
    up = rig_up(torch.stack([sighting.world_from_camera[:3, :3] for sighting in sightings]))
    return shortest_turn(up, torch.eye(3, dtype=up.dtype)[2])


def rig_up(rotations: Float[Tensor, "v 3 3"]) -> Float[Tensor, "3"]:
    """The unit direction to which the horizontal axes of cameras (world from camera) are most nearly perpendicular."""
    horizontal, upward = rotations[:, :, 0], -rotations[:, :, 1].mean(0)
    up = torch.linalg.eigh(horizontal.mT @ horizontal).eigenvectors[:, 0]
    return up * torch.where(up @ upward < 0, -1.0, 1.0)


def _require_in_front(center: Float[Tensor, "3"], sightings: Sequence[Sighting]) -> None:
    for number, sighting in enumerate(sightings):
        direction = center - sighting.position
        cosine = float(direction @ sighting.world_from_camera[:3, 2] / direction.norm().clamp_min(1e-12))
        if not math.isfinite(cosine) or cosine <= 0.1:
            raise UserError(
                f"the centre {[round(v, 3) for v in center.tolist()]} is not in front of camera {number} of the input "
                "views: w2c may be inverted or transposed, axes flipped (OpenGL?), or mouse.center in another unit"
            )
