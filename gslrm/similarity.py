"""Similarities of the world: one scale, one rotation, one shift for everything in a scene.

A similarity of the whole world leaves every image unchanged. It is the only way in which camera positions may be
altered: moving or scaling cameras one by one destroys multi-view geometry.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from gslrm.tensor_struct import TensorStruct

MATRIX_TOLERANCE = 1e-4  # files carry 6 or more digits; anything above this is not a rounded similarity


@dataclass(frozen=True)
class Similarity(TensorStruct):
    """`x_target = scale * rotation @ x_source + translation`.

    Instances are named like transforms: `world_from_source` maps points of the source world to the target world.
    """

    scale: Float[Tensor, "*batch"]
    rotation: Float[Tensor, "*batch 3 3"]
    translation: Float[Tensor, "*batch 3"]

    @staticmethod
    def identity(dtype: torch.dtype = torch.float64) -> "Similarity":
        """The similarity that changes nothing."""
        return Similarity(torch.ones((), dtype=dtype), torch.eye(3, dtype=dtype), torch.zeros(3, dtype=dtype))

    @staticmethod
    def from_matrix(matrix: Float[Tensor, "4 4"]) -> "Similarity":
        """The similarity of a 4x4 matrix with the scale inside; see `matrix`.

        Raises:
            ValueError: the matrix shears, stretches, mirrors, projects, or holds NaN.
        """
        if not matrix.isfinite().all():
            raise ValueError("the matrix holds NaN or infinity")
        determinant = torch.linalg.det(matrix[:3, :3])
        if not determinant > 0:
            raise ValueError(f"the 3x3 block mirrors or flattens the world (determinant {float(determinant):.3g})")
        scale = determinant ** (1 / 3)
        rotation = matrix[:3, :3] / scale
        error = float((rotation @ rotation.mT - torch.eye(3, dtype=matrix.dtype)).abs().max())
        if error > MATRIX_TOLERANCE:
            raise ValueError(f"the 3x3 block is no scaled rotation (R R^T differs from the identity by {error:.3g})")
        if (matrix[3] - matrix.new_tensor([0, 0, 0, 1])).abs().max() > MATRIX_TOLERANCE:
            raise ValueError("the last row is not 0 0 0 1; is the matrix transposed?")
        return Similarity(scale, rotation, matrix[:3, 3])

    @staticmethod
    def about(center: Float[Tensor, "3"], *, scale: Float[Tensor, ""], rotation: Float[Tensor, "3 3"]) -> "Similarity":
        """The similarity that brings `center` to the origin, then rotates and scales about it."""
        return Similarity(scale, rotation, -scale * rotation @ center)

    def apply(self, points: Float[Tensor, "*points 3"]) -> Float[Tensor, "*points 3"]:
        """Map points of the source world to the target world."""
        return self.scale * points @ self.rotation.mT + self.translation

    def inverse(self) -> "Similarity":
        """The similarity that undoes this one."""
        rotation = self.rotation.mT
        return Similarity(1 / self.scale, rotation, -(rotation @ self.translation[..., None])[..., 0] / self.scale)

    def compose(self, inner: "Similarity") -> "Similarity":
        """`self` after `inner`."""
        return Similarity(self.scale * inner.scale, self.rotation @ inner.rotation, self.apply(inner.translation))

    def matrix(self) -> Float[Tensor, "4 4"]:
        """The 4x4 matrix with the scale inside, as written to camera files."""
        matrix = torch.eye(4, dtype=self.rotation.dtype)
        matrix[:3, :3] = self.scale * self.rotation
        matrix[:3, 3] = self.translation
        return matrix
