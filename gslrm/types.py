"""The nouns that cross room borders: Views, Batch, Gaussians, Rendering."""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from gslrm import harmonics as sh
from gslrm.cameras import Cameras
from gslrm.similarity import Similarity
from gslrm.tensor_struct import TensorStruct


@dataclass(frozen=True)
class Views(TensorStruct):
    """Images, masks and cameras together, so that a crop cannot forget the intrinsics.

    Images are RGB in [0, 1], already composited on the background; masks are coverage in [0, 1]. `depths` is the true z
    along the optical axis in world units, 0 where it is not known; none unless a loss asks for it.
    """

    images: Float[Tensor, "*batch v 3 h w"]
    masks: Float[Tensor, "*batch v 1 h w"]
    cameras: Cameras
    depths: Float[Tensor, "*batch v 1 h w"] | None = None


@dataclass(frozen=True)
class Batch(TensorStruct):
    """Input and target views of a batch of scenes, with what is needed to trace them back to files."""

    input: Views
    target: Views
    input_index: Int[Tensor, "*batch v"]
    target_index: Int[Tensor, "*batch t"]
    background: Float[Tensor, "*batch 3"]
    names: tuple[str, ...]


@dataclass(frozen=True)
class Gaussians(TensorStruct):
    """Activated Gaussians in world units: what a renderer needs, not what a network emits.

    `scales` are standard deviations, `rotations` unit quaternions wxyz (world from Gaussian), `opacities` in [0, 1],
    `harmonics` spherical-harmonic colour coefficients, degree 0 first, RGB last.
    """

    means: Float[Tensor, "*batch n 3"]
    scales: Float[Tensor, "*batch n 3"]
    rotations: Float[Tensor, "*batch n 4"]
    opacities: Float[Tensor, "*batch n"]
    harmonics: Float[Tensor, "*batch n k 3"]

    @property
    def degree(self) -> int:
        """Degree of the spherical harmonics."""
        return round(self.harmonics.shape[-2] ** 0.5) - 1

    def transform(self, target_from_world: Similarity) -> "Gaussians":
        """The same Gaussians after a similarity of the world: means, scales, rotations and colours together."""
        similarity = target_from_world.to(self.means.dtype).to(self.means.device)
        turn = quaternion_from_matrix(similarity.rotation)
        return replace(
            self,
            means=similarity.apply(self.means),
            scales=similarity.scale * self.scales,
            rotations=multiply_quaternions(turn.expand_as(self.rotations), self.rotations),
            harmonics=sh.rotate(self.harmonics, similarity.rotation),
        )


@dataclass(frozen=True)
class Rendering(TensorStruct):
    """Pictures of Gaussians. `depth` is the expected z along the optical axis, 0 where nothing is."""

    rgb: Float[Tensor, "*batch v 3 h w"]
    alpha: Float[Tensor, "*batch v 1 h w"]
    depth: Float[Tensor, "*batch v 1 h w"]


def multiply_quaternions(
    left: Float[Tensor, "*batch 4"], right: Float[Tensor, "*batch 4"]
) -> Float[Tensor, "*batch 4"]:
    """Hamilton product of quaternions wxyz: the rotation `right` followed by `left`."""
    w1, x1, y1, z1 = left.unbind(-1)
    w2, x2, y2, z2 = right.unbind(-1)
    return torch.stack(
        [
            w1 * w2 - x1 * x2 - y1 * y2 - z1 * z2,
            w1 * x2 + x1 * w2 + y1 * z2 - z1 * y2,
            w1 * y2 - x1 * z2 + y1 * w2 + z1 * x2,
            w1 * z2 + x1 * y2 - y1 * x2 + z1 * w2,
        ],
        dim=-1,
    )


def quaternion_from_matrix(rotation: Float[Tensor, "*batch 3 3"]) -> Float[Tensor, "*batch 4"]:
    """Unit quaternion wxyz (w >= 0) of a rotation: the main eigenvector of Bar-Itzhack's matrix, stable everywhere."""
    r = rotation.double()
    k = torch.zeros(*r.shape[:-2], 4, 4, dtype=torch.float64, device=r.device)
    trace = r.diagonal(dim1=-2, dim2=-1).sum(-1)
    k[..., 0, 0] = trace
    k[..., 1:, 1:] = r + r.mT - trace[..., None, None] * torch.eye(3, dtype=torch.float64, device=r.device)
    skew = torch.stack([r[..., 2, 1] - r[..., 1, 2], r[..., 0, 2] - r[..., 2, 0], r[..., 1, 0] - r[..., 0, 1]], dim=-1)
    k[..., 0, 1:] = skew
    k[..., 1:, 0] = skew
    quaternion = torch.linalg.eigh(k).eigenvectors[..., -1]
    return (quaternion * torch.where(quaternion[..., :1] < 0, -1.0, 1.0)).to(rotation.dtype)


def matrix_from_quaternion(quaternion: Float[Tensor, "*batch 4"]) -> Float[Tensor, "*batch 3 3"]:
    """Rotation matrix of a quaternion wxyz of any norm but zero."""
    w, x, y, z = torch.nn.functional.normalize(quaternion, dim=-1).unbind(-1)
    rows = [
        torch.stack([1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)], dim=-1),
        torch.stack([2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)], dim=-1),
        torch.stack([2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)], dim=-1),
    ]
    return torch.stack(rows, dim=-2)
