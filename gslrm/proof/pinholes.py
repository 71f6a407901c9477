"""The cameras of one sample as plain float64 arrays, in which a suspected fault is one changed array."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from gslrm.cameras import Cameras

NEAR = 1e-9  # of the distance unit: what lies closer to a camera's plane, or behind it, has no pixel


@dataclass(frozen=True)
class Pinholes:
    """Pinhole cameras, conventions of `gslrm.cameras`; unlike there, image sizes may differ.

    `rotation` maps world axes to camera axes; `size` is (width, height).
    """

    rotation: Float[np.ndarray, "v 3 3"]
    position: Float[np.ndarray, "v 3"]
    focal: Float[np.ndarray, "v 2"]
    center: Float[np.ndarray, "v 2"]
    size: Float[np.ndarray, "v 2"]

    @staticmethod
    def from_cameras(cameras: Sequence[Cameras]) -> "Pinholes":
        """Unbatched cameras side by side."""
        as_array = lambda tensors: np.stack([tensor.double().cpu().numpy() for tensor in tensors])  # noqa: E731
        pose = as_array([camera.world_from_camera for camera in cameras])
        return Pinholes(
            rotation=pose[:, :3, :3].transpose(0, 2, 1),
            position=pose[:, :3, 3],
            focal=as_array([camera.focal for camera in cameras]),
            center=as_array([camera.center for camera in cameras]),
            size=np.array([[camera.width, camera.height] for camera in cameras], np.float64),
        )

    def __len__(self) -> int:
        return len(self.position)

    def take(self, views: Sequence[int]) -> "Pinholes":
        """Some of the cameras, in the given order."""
        index = list(views)
        return Pinholes(
            self.rotation[index], self.position[index], self.focal[index], self.center[index], self.size[index]
        )

    def directions(self, view: int, pixel: Float[np.ndarray, "*batch 2"]) -> Float[np.ndarray, "*batch 3"]:
        """Unit world directions through pixels of one view."""
        plane = (pixel - self.center[view]) / self.focal[view]
        direction = np.concatenate([plane, np.ones_like(plane[..., :1])], axis=-1) @ self.rotation[view]
        return direction / np.linalg.norm(direction, axis=-1, keepdims=True)

    def project(
        self, view: int, point: Float[np.ndarray, "*batch 3"]
    ) -> tuple[Float[np.ndarray, "*batch 2"], Float[np.ndarray, "*batch"]]:
        """Pixels of world points in one view, with their depths; without meaning where the depth is not positive."""
        point_camera = (point - self.position[view]) @ self.rotation[view].T
        depth = point_camera[..., 2]
        plane = point_camera[..., :2] / np.where(depth > NEAR, depth, 1.0)[..., None]
        return plane * self.focal[view] + self.center[view], depth


def triangulate(
    origin: Float[np.ndarray, "n 3"], direction: Float[np.ndarray, "n 3"], weight: Float[np.ndarray, "n"] | None = None
) -> Float[np.ndarray, "3"]:
    """The point with the least weighted sum of squared distances to lines with unit directions; NaN if parallel."""
    projector = np.eye(3) - direction[:, :, None] * direction[:, None, :]
    if weight is not None:
        projector = projector * weight[:, None, None]
    matrix = projector.sum(axis=0)
    if np.linalg.cond(matrix) > 1e12:
        return np.full(3, np.nan)
    return np.linalg.solve(matrix, np.einsum("nij,nj->i", projector, origin))
