"""Where the network sees a sample: object-centred, ray-exact crops in a world scaled by one similarity.

The centre is triangulated from the masks of the input views; every camera then turns about its own centre to look at
it with the focal length at which the same footprint fills each crop. Cameras are never moved one by one: the only
change of the world is one similarity for all of them, so multi-view geometry stays exact and can be undone exactly.
"""

import math
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from gslrm.cameras import Cameras, nearest_to_lines, shortest_turn
from gslrm.config import MouseConfig
from gslrm.data.transforms import resize, turn_to
from gslrm.errors import UserError
from gslrm.similarity import Similarity

SPECK_SHARE = 0.002  # connected parts of a mask below this share of its area are segmentation noise
DISAGREEMENT = 0.25  # of the object's diameter: how far the middles of the masks may miss one another
HUBER_ANGLE = 0.02  # radians; centroids of a good rig's masks meet within this


@dataclass(frozen=True)
class Placement:
    """How a sample's cameras become the network's cameras, in float64.

    `center` is where the object is in the sample's world, `density` the network's pixels per source unit there.
    `footprint` is what a crop covers there, in source units; none where whole images are used as they are.
    """

    world_from_source: Similarity
    size: int
    center: Float[Tensor, "3"]
    density: float
    footprint: float | None = None

    def crop_camera(self, camera: Cameras) -> Cameras:
        """The camera of the network's image, still in the source world, at the place of `camera`.

        Raises:
            ValueError: whole images are used and this one is not square.
        """
        if self.footprint is not None:
            distance = float((self.center - camera.position).norm())
            return turn_to(camera, self.center, focal=self.size * distance / self.footprint, size=self.size)
        if camera.width != camera.height:
            raise ValueError(
                f"image is {camera.width}x{camera.height}, not square; set mouse.normalize_cameras: true, which "
                "cuts square crops with exact rays"
            )
        return resize(camera, width=self.size, height=self.size)

    def to_world(self, camera: Cameras) -> Cameras:
        """The same camera in the network's world."""
        return camera.transform(self.world_from_source)

    def resolution_ratio(self, camera: Cameras) -> float:
        """Pixels of `camera` per pixel of the network's images, at the object."""
        return _density(camera, self.center) / self.density


def place_whole(cameras: list[Cameras], *, size: int, mean_distance: float = 0.0) -> Placement:
    """Whole images in the sample's own world, scaled about its origin to a mean camera distance if that is not 0."""
    scale = torch.ones((), dtype=torch.float64)
    if mean_distance:
        scale = mean_distance / torch.stack([camera.position.norm() for camera in cameras]).mean()
    origin = torch.zeros(3, dtype=torch.float64)
    similarity = Similarity(scale, torch.eye(3, dtype=torch.float64), origin)
    density = sum(_density(camera, origin) * size / camera.width for camera in cameras) / len(cameras)
    return Placement(similarity, size, origin, density)


def place_object(coverages: list[np.ndarray], cameras: list[Cameras], *, size: int, mouse: MouseConfig) -> Placement:
    """Centre the world on the object that the masks of the input views show.

    Args:
        coverages: one float32 [H, W] per input view.
        cameras: the views' cameras (unbatched, float64, any unit).
        size: side of the crops in pixels.
        mouse: `object_size` or `target_camera_distance`, `crop_footprint`, `normalize_to_z_up`.

    Raises:
        UserError: fewer than two views show the object, or the masks do not agree on a place in front of the cameras.
    """
    outlines = [_outline(coverage) for coverage in coverages]
    seen = [(outline, camera) for outline, camera in zip(outlines, cameras, strict=True) if len(outline)]
    if len(seen) < 2:
        raise UserError(
            f"object-centred crops need masks in at least two input views, {len(seen)} of {len(cameras)} show an "
            "object; repair the masks or set mouse.normalize_cameras: false"
        )
    positions = torch.stack([camera.position for _, camera in seen])
    rays = [_rays(outline, camera) for outline, camera in seen]
    center = _meet(positions, torch.stack([torch.nn.functional.normalize(r.mean(dim=0), dim=0) for r in rays]))
    for _ in range(2):
        middles = torch.stack([_box_middle(r, p, center) for r, p in zip(rays, positions, strict=True)])
        center = _meet(positions, middles)
    diameter = _object_diameter(rays, positions, center)
    _require_agreement(center, positions, middles, diameter)
    _require_in_front(center, [camera for _, camera in seen])
    if mouse.object_size is not None:
        scale = mouse.object_size / diameter
    else:
        scale = mouse.target_camera_distance / float((positions - center).norm(dim=1).mean())
    rotation = _z_up([camera for _, camera in seen]) if mouse.normalize_to_z_up else torch.eye(3, dtype=torch.float64)
    similarity = Similarity.about(center, scale=torch.tensor(scale, dtype=torch.float64), rotation=rotation)
    footprint = mouse.crop_footprint / scale
    return Placement(similarity, size, center, size / footprint, footprint)


def _density(camera: Cameras, point: Float[Tensor, "3"]) -> float:
    return float(camera.focal.mean() / (camera.position - point).norm())


def _outline(coverage: np.ndarray) -> Float[Tensor, "n 2"]:
    """Centres of the mask's outermost pixels without specks: they decide its box and its extent. Empty if it is."""
    mask = (coverage > 0.5).view(np.uint8)
    parts, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    areas = [cv2.contourArea(part) + len(part) / 2 for part in parts]  # a polygon through pixel centres, and its rim
    kept = [part for part, area in zip(parts, areas, strict=True) if area >= SPECK_SHARE * sum(areas)]
    points = np.concatenate(kept).reshape(-1, 2) if kept else np.empty((0, 2))
    return torch.from_numpy(points + 0.5)


def _rays(pixel: Float[Tensor, "n 2"], camera: Cameras) -> Float[Tensor, "n 3"]:
    """Unit world directions through pixels."""
    offset = (pixel - camera.center) / camera.focal
    direction = torch.cat([offset, torch.ones_like(offset[:, :1])], dim=1) @ camera.world_from_camera[:3, :3].mT
    return torch.nn.functional.normalize(direction, dim=1)


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


def _z_up(cameras: list[Cameras]) -> Float[Tensor, "3 3"]:
    """The smallest rotation that turns the rig's up direction to +z.

    Up is the direction to which the cameras' horizontal axes are most nearly perpendicular.
    """
    poses = torch.stack([camera.world_from_camera[:3, :3] for camera in cameras])
    horizontal, upward = poses[:, :, 0], -poses[:, :, 1].mean(0)
    up = torch.linalg.eigh(horizontal.mT @ horizontal).eigenvectors[:, 0]
    up = up * torch.where(up @ upward < 0, -1.0, 1.0)
    return shortest_turn(up, torch.eye(3, dtype=up.dtype)[2])


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


def _require_in_front(center: Float[Tensor, "3"], cameras: list[Cameras]) -> None:
    for number, camera in enumerate(cameras):
        direction = center - camera.position
        cosine = float(direction @ camera.world_from_camera[:3, 2] / direction.norm().clamp_min(1e-12))
        if not math.isfinite(cosine) or cosine <= 0.1:
            raise UserError(
                f"the masks meet at {[round(v, 3) for v in center.tolist()]}, which is not in front of camera "
                f"{number} of the views with a mask: w2c may be inverted or transposed, or axes flipped (OpenGL?)"
            )
