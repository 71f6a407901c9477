"""Pinhole cameras: THE conventions of this code base, stated once.

* Camera axes are OpenCV's: +x right, +y down, +z forward.
* Pixel centres lie at half-integers: the first pixel's centre is (0.5, 0.5), an image spans [0, width] x [0, height].
* Transforms are named `to_from`: `world_from_camera` maps camera points to world points.
* Lengths are world units. Focal lengths and principal points are pixels of an image of `height` x `width`.

Every other convention is converted at the door by a named constructor and never seen again.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from gslrm.similarity import Similarity
from gslrm.tensor_struct import TensorStruct

OPENCV_FROM_OPENGL = (1.0, -1.0, -1.0, 1.0)  # diagonal: OpenGL cameras look along -z with +y up
ROTATION_TOLERANCE = 1e-3  # camera files carry 6 or more digits; anything above this is not a rounded rotation


@dataclass(frozen=True)
class Cameras(TensorStruct):
    """A batch of pinhole cameras that share an image size; see the module docstring for the conventions."""

    world_from_camera: Float[Tensor, "*batch 4 4"]
    focal: Float[Tensor, "*batch 2"]
    center: Float[Tensor, "*batch 2"]
    height: int
    width: int

    @staticmethod
    def from_opengl(
        world_from_camera: Float[Tensor, "*batch 4 4"],
        focal: Float[Tensor, "*batch 2"],
        center: Float[Tensor, "*batch 2"],
        *,
        height: int,
        width: int,
    ) -> "Cameras":
        """Cameras given as camera-to-world matrices with OpenGL axes (NeRF, Blender, nerfstudio)."""
        flip = torch.tensor(OPENCV_FROM_OPENGL, dtype=world_from_camera.dtype, device=world_from_camera.device)
        return Cameras(world_from_camera * flip, focal, center, height, width)

    @staticmethod
    def from_w2c(
        w2c: Sequence[Sequence[Sequence[float]]],
        focal: Sequence[Sequence[float]],
        center: Sequence[Sequence[float]],
        *,
        height: int,
        width: int,
    ) -> "Cameras":
        """Cameras in float64 from nested lists of OpenCV world-to-camera matrices, as in `opencv_cameras.json`.

        Raises:
            ValueError: a matrix is not a rigid motion, or an intrinsic is impossible (see `validate`).
        """
        camera_from_world = torch.tensor(w2c, dtype=torch.float64)
        _require_rigid(camera_from_world)
        as_tensor = lambda values: torch.tensor(values, dtype=torch.float64)  # noqa: E731
        cameras = Cameras(invert_rigid(camera_from_world), as_tensor(focal), as_tensor(center), height, width)
        cameras.validate()
        return cameras

    @staticmethod
    def look_at(
        position: Float[Tensor, "*batch 3"],
        target: Float[Tensor, "*batch 3"],
        up: Float[Tensor, "3"],
        *,
        focal: Float[Tensor, "*batch 2"],
        center: Float[Tensor, "*batch 2"],
        height: int,
        width: int,
    ) -> "Cameras":
        """Cameras at `position` that look at `target`, with the image's vertical in the plane of `up`.

        Raises:
            ValueError: a camera looks along `up`, so that its roll is undefined.
        """
        forward = torch.nn.functional.normalize(target - position, dim=-1)
        right = torch.linalg.cross(forward, up.expand_as(forward))
        length = torch.linalg.vector_norm(right, dim=-1, keepdim=True)
        if (length < 1e-6).any():
            raise ValueError("look_at: a camera looks along the up direction; its roll is undefined")
        right = right / length
        down = torch.linalg.cross(forward, right)
        pose = torch.eye(4, dtype=position.dtype, device=position.device).repeat(*position.shape[:-1], 1, 1)
        pose[..., :3, :] = torch.stack([right, down, forward, position], dim=-1)
        return Cameras(pose, focal, center, height, width)

    @staticmethod
    def orbit(
        count: int,
        *,
        radius: float,
        elevation: float = 20.0,
        field_of_view: float = 50.0,
        size: int = 512,
        start_azimuth: float = 270.0,
        dtype: torch.dtype = torch.float32,
    ) -> "Cameras":
        """`count` cameras in equal steps on a circle about the z axis that look at the origin (FaceLift's turntable).

        Angles are degrees; azimuth ascends from `start_azimuth` without repeating the first camera.
        """
        azimuth = torch.deg2rad(start_azimuth + torch.arange(count, dtype=torch.float64) * 360.0 / count)
        tilt = math.radians(elevation)
        position = radius * torch.stack(
            [azimuth.cos() * math.cos(tilt), azimuth.sin() * math.cos(tilt), torch.full_like(azimuth, math.sin(tilt))],
            dim=-1,
        )
        focal = 0.5 * size / math.tan(math.radians(field_of_view) / 2)
        return Cameras.look_at(
            position,
            torch.zeros_like(position),
            torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64),
            focal=torch.full((count, 2), focal, dtype=torch.float64),
            center=torch.full((count, 2), size / 2, dtype=torch.float64),
            height=size,
            width=size,
        ).to(dtype)

    @property
    def position(self) -> Float[Tensor, "*batch 3"]:
        """Camera centres in world units."""
        return self.world_from_camera[..., :3, 3]

    @property
    def camera_from_world(self) -> Float[Tensor, "*batch 4 4"]:
        """OpenCV world-to-camera matrices (`w2c`, gsplat's `viewmats`)."""
        return invert_rigid(self.world_from_camera)

    @property
    def intrinsics(self) -> Float[Tensor, "*batch 3 3"]:
        """The pinhole matrix K, without skew."""
        matrix = torch.zeros(*self.focal.shape[:-1], 3, 3, dtype=self.focal.dtype, device=self.focal.device)
        matrix[..., 0, 0], matrix[..., 1, 1] = self.focal.unbind(-1)
        matrix[..., :2, 2] = self.center
        matrix[..., 2, 2] = 1
        return matrix

    def validate(self) -> None:
        """Refuse cameras that cannot exist.

        Raises:
            ValueError: non-finite numbers, a rotation that is not one, a focal length that is not positive, or an
                empty image.
        """
        for name in ("world_from_camera", "focal", "center"):
            if not getattr(self, name).isfinite().all():
                raise ValueError(f"{name} holds NaN or infinity")
        if not (self.focal > 0).all():
            raise ValueError(f"focal length must be positive, got {self.focal.flatten().tolist()}")
        if self.height < 1 or self.width < 1:
            raise ValueError(f"image size must be positive, got {self.width}x{self.height}")
        _require_rigid(self.world_from_camera)

    def transform(self, target_from_world: Similarity) -> "Cameras":
        """The same cameras after a similarity of the world; their images do not change."""
        pose = self.world_from_camera.clone()
        pose[..., :3, :3] = target_from_world.rotation @ self.world_from_camera[..., :3, :3]
        pose[..., :3, 3] = target_from_world.apply(self.position)
        return replace(self, world_from_camera=pose)

    def project(
        self, points: Float[Tensor, "*batch n 3"]
    ) -> tuple[Float[Tensor, "*batch n 2"], Float[Tensor, "*batch n"]]:
        """Pixel positions and z-depths of world points, one set of points per camera."""
        rigid = self.camera_from_world
        point_camera = points @ rigid[..., :3, :3].mT + rigid[..., None, :3, 3]
        depth = point_camera[..., 2]
        pixel = point_camera[..., :2] / depth[..., None] * self.focal[..., None, :] + self.center[..., None, :]
        return pixel, depth

    def pixel_grid(self) -> Float[Tensor, "h w 2"]:
        """Pixel centres (x, y)."""
        rows, columns = torch.arange(self.height), torch.arange(self.width)
        y, x = torch.meshgrid(rows.to(self.focal) + 0.5, columns.to(self.focal) + 0.5, indexing="ij")
        return torch.stack([x, y], dim=-1)

    def rays(self) -> tuple[Float[Tensor, "*batch h w 3"], Float[Tensor, "*batch h w 3"]]:
        """Origins and unit directions of the rays through all pixel centres, in the world.

        Call outside autocast: a rotation in bfloat16 bends rays by up to two pixels (FaceLift spec 1.6).
        """
        offset = (self.pixel_grid() - self.center[..., None, None, :]) / self.focal[..., None, None, :]
        direction_camera = torch.nn.functional.normalize(
            torch.cat([offset, torch.ones_like(offset[..., :1])], dim=-1), dim=-1
        )
        rotation = self.world_from_camera[..., :3, :3]
        direction = torch.einsum("...ij,...hwj->...hwi", rotation, direction_camera)
        origin = self.position[..., None, None, :].expand_as(direction)
        return origin, torch.nn.functional.normalize(direction, dim=-1)


def invert_rigid(rigid: Float[Tensor, "*batch 4 4"]) -> Float[Tensor, "*batch 4 4"]:
    """The inverse of a rotation with a shift, without a general matrix inverse."""
    inverse = rigid.clone()
    rotation = rigid[..., :3, :3].mT
    inverse[..., :3, :3] = rotation
    inverse[..., :3, 3] = -(rotation @ rigid[..., :3, 3:])[..., 0]
    return inverse


def shortest_turn(start: Float[Tensor, "3"], end: Float[Tensor, "3"]) -> Float[Tensor, "3 3"]:
    """The smallest rotation that takes the unit vector `start` to the unit vector `end`.

    Opposite vectors have no unique one; half a turn about an axis perpendicular to `start` is taken then.
    """
    identity = torch.eye(3, dtype=start.dtype, device=start.device)
    cosine = start @ end
    if cosine <= -1 + 1e-12:
        helper = torch.nn.functional.normalize(torch.linalg.cross(start, identity[start.abs().argmin()]), dim=0)
        return 2 * torch.outer(helper, helper) - identity
    x, y, z = torch.linalg.cross(start, end)
    zero = torch.zeros_like(x)
    skew = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero]).reshape(3, 3)
    return identity + skew + skew @ skew / (1 + cosine)


def nearest_to_lines(
    origins: Float[Tensor, "n 3"], directions: Float[Tensor, "n 3"], weights: Float[Tensor, "n"] | None = None
) -> Float[Tensor, "3"]:
    """The point with the least weighted sum of squared distances to lines with unit directions.

    Raises:
        ValueError: the lines are parallel, so no such point is unique.
    """
    identity = torch.eye(3, dtype=origins.dtype, device=origins.device)
    projectors = identity - directions[:, :, None] * directions[:, None, :]
    if weights is not None:
        projectors = weights[:, None, None] * projectors
    try:  # a least-squares solver would be forgiving, but LAPACK's gives other last bits at every call
        return torch.linalg.solve(projectors.sum(0), (projectors @ origins[:, :, None]).sum(0))[:, 0]
    except torch.linalg.LinAlgError as error:
        raise ValueError("the cameras all look along parallel lines, so they meet nowhere") from error


def nearest_to_origin(
    origin: Float[Tensor, "*batch 3"], direction: Float[Tensor, "*batch 3"]
) -> tuple[Float[Tensor, "*batch"], Float[Tensor, "*batch 3"]]:
    """Ray parameter and position of the point of each ray that is nearest to the world origin."""
    parameter = -(origin * direction).sum(dim=-1)
    return parameter, origin + parameter[..., None] * direction


def _require_rigid(matrices: Float[Tensor, "*batch 4 4"]) -> None:
    rotation = matrices[..., :3, :3]
    error = (rotation @ rotation.mT - torch.eye(3, dtype=rotation.dtype, device=rotation.device)).abs().amax()
    if not error <= ROTATION_TOLERANCE:
        raise ValueError(f"the 3x3 block is not a rotation (R R^T differs from the identity by {error:.3g})")
    if (torch.linalg.det(rotation) < 0).any():
        raise ValueError("the 3x3 block is a reflection, not a rotation (determinant -1): an axis is flipped")
    last_row = matrices[..., 3, :] - torch.tensor([0.0, 0.0, 0.0, 1.0], dtype=matrices.dtype, device=matrices.device)
    if not last_row.abs().amax() <= ROTATION_TOLERANCE:
        raise ValueError("the last row is not 0 0 0 1; is the matrix transposed?")
