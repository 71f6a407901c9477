"""Placement: how a sample's cameras become the network's, with the way back."""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from gslrm.cameras import Cameras
from gslrm.data.transforms import resize, turn_to
from gslrm.similarity import Similarity


@dataclass(frozen=True)
class Placement:
    """How a sample's cameras become the network's cameras, in float64.

    `center` is the point of the sample's world to which crops turn, `density` the network's pixels per source unit
    there. Crops either cover the same `footprint` there (source units) or share one `focal` length (pixels of the
    crop); with neither, whole images are used as they are.
    """

    world_from_source: Similarity
    size: int
    center: Float[Tensor, "3"]
    density: float
    footprint: float | None = None
    focal: float | None = None
    ablated_distance: float | None = None
    """Broken on purpose (`mouse.camera_distance: each_ablation`): every network camera is moved to this distance."""

    @property
    def world_footprint(self) -> float:
        """What a crop covers at the centre, in the network's world; the mean where crops differ."""
        return self.size / self.density * float(self.world_from_source.scale)

    def crop_camera(self, camera: Cameras) -> Cameras:
        """The camera of the network's image, still in the source world, at the place of `camera`.

        Only the pose of `camera` counts, unless whole images are used.

        Raises:
            ValueError: whole images are used and this one is not square.
        """
        if self.footprint is not None:
            distance = float((self.center - camera.position).norm())
            return turn_to(camera, self.center, focal=self.size * distance / self.footprint, size=self.size)
        if self.focal is not None:
            return turn_to(camera, self.center, focal=self.focal, size=self.size)
        if camera.width != camera.height:
            raise ValueError(
                f"image is {camera.width}x{camera.height}, not square; set mouse.normalize_cameras: true, which "
                "cuts square crops with exact rays"
            )
        return resize(camera, width=self.size, height=self.size)

    def network_camera(self, camera: Cameras) -> Cameras:
        """The camera that the network is told for its image of `camera`: the crop's, in the network's world."""
        placed = self.to_world(self.crop_camera(camera))
        if self.ablated_distance is None:
            return placed
        pose = placed.world_from_camera.clone()
        pose[:3, 3] *= self.ablated_distance / placed.position.norm()
        return replace(placed, world_from_camera=pose)

    def to_world(self, camera: Cameras) -> Cameras:
        """The same camera in the network's world."""
        return camera.transform(self.world_from_source)

    def to_source(self, camera: Cameras) -> Cameras:
        """A camera of the network's world in the sample's own: the inverse of `to_world`."""
        return camera.transform(self.world_from_source.inverse())

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


def _density(camera: Cameras, point: Float[Tensor, "3"]) -> float:
    return float(camera.focal.mean() / (camera.position - point).norm())
