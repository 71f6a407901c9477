"""Where masks say that an object is: rays through their outlines, triangulated robustly.

It needs directions only, so raw pictures with lens distortion and finished pinhole pictures are served alike.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from gslrm.cameras import Cameras, nearest_to_lines
from gslrm.errors import UserError

SPECK_SHARE = 0.002  # connected parts of a mask below this share of its area are segmentation noise
DISAGREEMENT = 0.25  # of the object's diameter: how far the middles of the masks may miss one another
HUBER_ANGLE = 0.02  # radians; centroids of a good rig's masks meet within this


@dataclass(frozen=True)
class Sighting:
    """What one camera contributes: its pose, and unit world directions to the outline of its mask (none if empty).

    The pose has OpenCV axes; both are float64, in any unit.
    """

    world_from_camera: Float[Tensor, "4 4"]
    directions: Float[Tensor, "n 3"]

    @property
    def position(self) -> Float[Tensor, "3"]:
        """The camera's centre in the world."""
        return self.world_from_camera[:3, 3]


@dataclass(frozen=True)
class Found:
    """An object in the world of its sightings: its middle, and the diameter of the sphere around it there."""

    center: Float[Tensor, "3"]
    diameter: float


def outline(coverage: Float[np.ndarray, "h w"]) -> Float[np.ndarray, "n 2"]:
    """Centres (x, y) of a mask's outermost pixels without specks: they decide its box and its extent. Empty if it is.

    Float64, corner convention. Coverage above 0.5 is inside.
    """
    mask = (coverage > 0.5).astype(np.uint8)
    parts, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    areas = [cv2.contourArea(part) + len(part) / 2 for part in parts]  # a polygon through pixel centres, and its rim
    kept = [part for part, area in zip(parts, areas, strict=True) if area >= SPECK_SHARE * sum(areas)]
    points = np.concatenate(kept).reshape(-1, 2) if kept else np.empty((0, 2))
    return points + 0.5


def is_cut(coverage: Float[np.ndarray, "h w"]) -> bool:
    """Whether the object touches the picture's border, so that a part of it may lie outside."""
    border = np.concatenate([coverage[[0, -1]].ravel(), coverage[:, [0, -1]].ravel()])
    if not (border > 0.5).any():
        return False
    points, last = outline(coverage), np.array(coverage.shape[::-1]) - 0.5
    return bool(((points == 0.5) | (points == last)).any())


def sight(coverage: Float[np.ndarray, "h w"], camera: Cameras) -> Sighting:
    """The sighting of a pinhole camera (unbatched, float64) with its mask."""
    offset = (torch.from_numpy(outline(coverage)) - camera.center) / camera.focal
    direction = torch.cat([offset, torch.ones_like(offset[:, :1])], dim=1) @ camera.world_from_camera[:3, :3].mT
    return Sighting(camera.world_from_camera, torch.nn.functional.normalize(direction, dim=1))


def find_object(sightings: Sequence[Sighting]) -> Found:
    """Triangulate the middles of the masks' boxes.

    Raises:
        UserError: fewer than two masks show something, or they do not agree on a place.
    """
    seen = [sighting for sighting in sightings if len(sighting.directions)]
    if len(seen) < 2:
        raise UserError(
            f"object-centred crops need masks in at least two input views, {len(seen)} of {len(sightings)} show an "
            "object; repair the masks or set mouse.normalize_cameras: false"
        )
    positions = torch.stack([sighting.position for sighting in seen])
    rays = [sighting.directions for sighting in seen]
    center = _meet(positions, torch.stack([torch.nn.functional.normalize(r.mean(dim=0), dim=0) for r in rays]))
    for _ in range(2):
        middles = torch.stack([_box_middle(r, p, center) for r, p in zip(rays, positions, strict=True)])
        center = _meet(positions, middles)
    diameter = _object_diameter(rays, positions, center)
    _require_agreement(center, positions, middles, diameter)
    return Found(center, diameter)


def _meet(origins: Float[Tensor, "v 3"], directions: Float[Tensor, "v 3"]) -> Float[Tensor, "3"]:
    """The point nearest to all rays in angle, with Huber weights so that one wrong mask cannot pull it away."""
    weights = torch.ones(len(origins), dtype=origins.dtype)
    for _ in range(20):
        point = nearest_to_lines(origins, directions, weights)
        offset = point - origins
        distance = offset.norm(dim=1).clamp_min(1e-12)
        angle = torch.linalg.cross(offset, directions).norm(dim=1) / distance
        weights = (HUBER_ANGLE / angle.clamp_min(HUBER_ANGLE)) / distance**2
    return point


def _box_middle(rays: Float[Tensor, "n 3"], position: Float[Tensor, "3"], center: Float[Tensor, "3"]) -> Tensor:
    """Direction of the middle of the mask's bounding box, measured in a picture that faces `center`."""
    forward = torch.nn.functional.normalize(center - position, dim=0)
    helper = torch.eye(3, dtype=forward.dtype)[forward.abs().argmin()]
    right = torch.nn.functional.normalize(torch.linalg.cross(forward, helper), dim=0)
    frame = torch.stack([right, torch.linalg.cross(forward, right)])
    plane = rays @ frame.mT / (rays @ forward).clamp_min(1e-3)[:, None]
    middle = (plane.amin(0) + plane.amax(0)) / 2
    return torch.nn.functional.normalize(forward + middle @ frame, dim=0)


def _object_diameter(rays: list[Tensor], positions: Float[Tensor, "v 3"], center: Float[Tensor, "3"]) -> float:
    """Diameter of the sphere around the centre that the silhouettes touch.

    With four or more views the second largest counts: opposite cameras see the same extent, so a single larger one is
    a wrong mask.
    """
    radii = sorted(
        float(torch.linalg.cross((center - position).expand_as(ray), ray).norm(dim=1).max())
        for ray, position in zip(rays, positions, strict=True)
    )
    return 2 * (radii[-2] if len(radii) >= 4 else radii[-1])


def _require_agreement(
    center: Float[Tensor, "3"], positions: Float[Tensor, "v 3"], middles: Float[Tensor, "v 3"], diameter: float
) -> None:
    miss = torch.linalg.cross(center - positions, middles).norm(dim=1)
    if not float(miss.median()) <= DISAGREEMENT * diameter:
        raise UserError(
            f"the masks do not show one object at one place: rays through their middles miss one another by "
            f"{float(miss.median()):.3g}, the object being {diameter:.3g} wide; w2c may be inverted, axes flipped "
            "(OpenGL?), images and cameras in different order, or intrinsics those of another image size"
        )
