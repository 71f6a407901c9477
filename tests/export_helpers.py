"""Gaussians for tests of file formats, and what two sets of them differ by."""

import torch

from gslrm.types import Gaussians, matrix_from_quaternion

FIELDS = ("means", "scales", "rotations", "opacities", "harmonics")


def random_gaussians(count: int = 50, degree: int = 0) -> Gaussians:
    generator = torch.Generator().manual_seed(degree)
    normal = lambda *shape: torch.randn(*shape, generator=generator)  # noqa: E731
    return Gaussians(
        means=100 * normal(count, 3),
        scales=normal(count, 3).exp(),
        rotations=torch.nn.functional.normalize(normal(count, 4), dim=-1),
        opacities=torch.rand(count, generator=generator),
        harmonics=normal(count, (degree + 1) ** 2, 3),
    )


def assert_same(left: Gaussians, right: Gaussians, tolerance: float = 2e-6) -> None:
    for name in FIELDS:
        torch.testing.assert_close(getattr(left, name), getattr(right, name), rtol=tolerance, atol=tolerance)


def mouse_like(count: int, degree: int = 0) -> Gaussians:
    """Small, mostly solid Gaussians on an ellipsoid of one unit, coloured by place: what a model makes of an animal."""
    generator = torch.Generator().manual_seed(count + degree)
    normal = lambda *shape: torch.randn(*shape, generator=generator)  # noqa: E731
    direction = torch.nn.functional.normalize(normal(count, 3), dim=-1)
    colour = (0.4 + 0.2 * direction + 0.05 * normal(count, 3)).clamp(0, 1)
    base = ((colour - 0.5) / 0.28209479177387814)[:, None]
    return Gaussians(
        means=direction * torch.tensor([0.6, 0.3, 0.25]) + torch.tensor([0.1, -0.2, 0.3]),
        scales=0.02 * (0.3 * normal(count, 3)).exp(),
        rotations=torch.nn.functional.normalize(normal(count, 4), dim=-1),
        opacities=torch.sigmoid(1 + normal(count)),
        harmonics=torch.cat([base, 0.1 * normal(count, (degree + 1) ** 2 - 1, 3).clamp(-3, 3)], dim=1),
    )


def covariances(gaussians: Gaussians) -> torch.Tensor:
    """Shapes without the freedom of a quaternion's sign, or of half a turn about a Gaussian's own axes."""
    axes = matrix_from_quaternion(gaussians.rotations.double()) * gaussians.scales.double()[:, None]
    return axes @ axes.mT
