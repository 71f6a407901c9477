"""Real spherical harmonics up to degree 3, in the order and sign of 3D Gaussian splatting (Kerbl et al. 2023)."""

import torch
from jaxtyping import Float
from torch import Tensor

DEGREE_0 = 0.28209479177387814  # 1 / (2 sqrt(pi)), the constant harmonic
MAX_DEGREE = 3


def coefficient_count(degree: int) -> int:
    """Number of coefficients per colour channel."""
    return (degree + 1) ** 2


def basis(direction: Float[Tensor, "*batch 3"], degree: int) -> Float[Tensor, "*batch k"]:
    """The (degree + 1)^2 basis functions at unit directions."""
    x, y, z = direction.unbind(-1)
    values = [torch.full_like(x, DEGREE_0)]
    if degree >= 1:
        values += [-0.4886025119029199 * y, 0.4886025119029199 * z, -0.4886025119029199 * x]
    if degree >= 2:
        values += [
            1.0925484305920792 * x * y,
            -1.0925484305920792 * y * z,
            0.31539156525252005 * (2 * z * z - x * x - y * y),
            -1.0925484305920792 * x * z,
            0.5462742152960396 * (x * x - y * y),
        ]
    if degree >= 3:
        values += [
            -0.5900435899266435 * y * (3 * x * x - y * y),
            2.890611442640554 * x * y * z,
            -0.4570457994644658 * y * (4 * z * z - x * x - y * y),
            0.3731763325901154 * z * (2 * z * z - 3 * x * x - 3 * y * y),
            -0.4570457994644658 * x * (4 * z * z - x * x - y * y),
            1.445305721320277 * z * (x * x - y * y),
            -0.5900435899266435 * x * (x * x - 3 * y * y),
        ]
    return torch.stack(values, dim=-1)


def evaluate(
    harmonics: Float[Tensor, "*batch k 3"], direction: Float[Tensor, "*#batch 3"]
) -> Float[Tensor, "*batch 3"]:
    """RGB seen along unit viewing directions (from the camera to the Gaussian), clamped at 0 below as renderers do."""
    degree = round(harmonics.shape[-2] ** 0.5) - 1
    colour = torch.einsum("...kc,...k->...c", harmonics, basis(direction, degree))
    return (colour + 0.5).clamp_min(0)


def rgb_from_degree_0(coefficient: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
    """Colour of a Gaussian whose harmonics have degree 0, before the clamp at 0."""
    return DEGREE_0 * coefficient + 0.5


def degree_0_from_rgb(rgb: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
    """The degree-0 coefficient that gives a colour."""
    return (rgb - 0.5) / DEGREE_0


def rotate(harmonics: Float[Tensor, "*batch k 3"], rotation: Float[Tensor, "3 3"]) -> Float[Tensor, "*batch k 3"]:
    """Harmonics of the rotated object: the colour along `rotation @ d` equals the old colour along `d`.

    Each band is closed under rotation, so its matrix follows exactly from the basis at enough directions; solving for
    it keeps one definition of the harmonics instead of a second table of Wigner matrices.
    """
    degree = round(harmonics.shape[-2] ** 0.5) - 1
    if degree == 0:
        return harmonics
    generator = torch.Generator().manual_seed(0)
    direction = torch.randn(64, 3, generator=generator, dtype=torch.float64)
    direction = torch.nn.functional.normalize(direction, dim=-1)
    rotated = direction @ rotation.detach().cpu().double().mT
    matrix = torch.linalg.lstsq(basis(rotated, degree), basis(direction, degree)).solution
    return torch.einsum("jk,...kc->...jc", matrix.to(harmonics), harmonics)
