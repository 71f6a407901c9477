"""A brute-force rasterizer: every pixel against every Gaussian, plain torch, gradients by autograd. For tests only."""

import math

import numpy as np
import torch
from torch import Tensor

ALPHA_MIN = float(np.float32(1 / 255))
TRANSMITTANCE_MIN = float(np.float32(1e-4))


def _float32(value: float) -> float:
    return float(np.float32(value))


def rotations(quats: Tensor) -> Tensor:
    """Rotation matrices [N,3,3] of quaternions (w, x, y, z) of any norm."""
    w, x, y, z = (quats / quats.norm(dim=-1, keepdim=True)).unbind(-1)
    rows = [
        1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y),
        2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x),
        2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y),
    ]  # fmt: skip
    return torch.stack(rows, dim=-1).unflatten(-1, (3, 3))


def jacobians(points: Tensor, intrinsics: Tensor, width: int, height: int) -> Tensor:
    """Derivatives [N,2,3] of the projection, frozen beyond a margin around the image."""
    focal, center = intrinsics.diagonal()[:2], intrinsics[:2, 2]
    size = torch.tensor([width, height], dtype=points.dtype)
    margin = 0.3 * 0.5 * size / focal
    z = points[:, 2:]
    slopes = (points[:, :2] / z).clamp(-(center / focal + margin), (size - center) / focal + margin)
    return torch.cat([torch.diag_embed(focal / z), (-focal * slopes / z)[..., None]], dim=-1)


def blend(splats: tuple[Tensor, ...], width: int, height: int, max_alpha: float) -> tuple[Tensor, Tensor]:
    """Blend splats (means2d, covariances, opacities, features), sorted by depth, into features and transmittance."""
    means2d, covariances, opacities, features = splats
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    pixels = torch.stack([columns, rows], dim=-1).to(means2d) + 0.5
    transmittance = means2d.new_ones(height, width)
    image = means2d.new_zeros(height, width, features.shape[-1])
    running = torch.ones(height, width, dtype=torch.bool)
    for mean, conic, opacity, feature in zip(means2d, torch.linalg.inv(covariances), opacities, features, strict=True):
        offsets = mean - pixels
        sigma = 0.5 * torch.einsum("hwi,ij,hwj->hw", offsets, conic, offsets)
        alpha = (opacity * torch.exp(-sigma)).clamp(max=max_alpha)
        counts = running & (sigma >= 0) & (alpha >= ALPHA_MIN)
        remaining = transmittance * (1 - alpha)
        running = running & ~(counts & (remaining <= TRANSMITTANCE_MIN))
        blends = counts & running
        image = image + torch.where(blends, alpha * transmittance, 0.0)[..., None] * feature
        transmittance = torch.where(blends, remaining, transmittance)
    return image, transmittance


def rasterize_view(
    means: Tensor, quats: Tensor, scales: Tensor, opacities: Tensor, colors: Tensor, viewmat: Tensor,
    intrinsics: Tensor, width: int, height: int, near_plane: float = 0.01, far_plane: float = 1e10, eps2d: float = 0.3,
    background: Tensor | None = None, max_alpha: float = 0.999, antialiased: bool = False,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """Colours [H,W,D], alpha [H,W,1] and accumulated depth [H,W,1] of one camera."""
    points = means @ viewmat[:3, :3].T + viewmat[:3, 3]
    kept = (points[:, 2] >= _float32(near_plane)) & (points[:, 2] <= _float32(far_plane)) & (quats.norm(dim=-1) > 0)
    points, quats, scales = points[kept], quats[kept], scales[kept]
    opacities, colors = opacities[kept], colors[kept]
    axes = rotations(quats) * scales[:, None, :]
    maps = jacobians(points, intrinsics, width, height) @ viewmat[:3, :3]
    sharp = maps @ axes @ axes.mT @ maps.mT
    covariances = sharp + _float32(eps2d) * torch.eye(2, dtype=means.dtype)
    if antialiased:
        ratio = torch.linalg.det(sharp) / torch.linalg.det(covariances)
        opacities = opacities * ratio.clamp(min=0).sqrt()
    means2d = points[:, :2] / points[:, 2:] * intrinsics.diagonal()[:2] + intrinsics[:2, 2]
    # What cannot reach any pixel centre is left out; the remaining decisions are per pixel.
    reach = (covariances.diagonal(dim1=-2, dim2=-1).sqrt() * 3.33).ceil()
    size = torch.tensor([width, height], dtype=means.dtype)
    visible = (opacities >= ALPHA_MIN) & ((means2d + reach > 0) & (means2d - reach < size)).all(dim=-1)
    order = torch.argsort(points[:, 2].float(), stable=True)
    order = order[visible[order]]
    features = torch.cat([colors, points[:, 2:]], dim=-1)
    splats = (means2d[order], covariances[order], opacities[order], features[order])
    image, transmittance = blend(splats, width, height, _float32(max_alpha))
    transmittance = transmittance[..., None]
    rgb = image[..., :-1] if background is None else image[..., :-1] + transmittance * background
    return rgb, 1 - transmittance, image[..., -1:]


def random_scene(count: int, cameras: int, seed: int, dtype: torch.dtype = torch.float64) -> dict[str, Tensor]:
    """A cloud around the origin seen by cameras on a circle, as arguments of `rasterization` (40 x 56 pixels)."""
    generator = torch.Generator().manual_seed(seed)
    normal = torch.randn(count, 11, generator=generator, dtype=torch.float64)
    uniform = torch.rand(count, 4, generator=generator, dtype=torch.float64)
    viewmats, intrinsics = torch.eye(4).repeat(cameras, 1, 1).double(), torch.eye(3).repeat(cameras, 1, 1).double()
    for c in range(cameras):
        angle = 2 * math.pi * c / cameras + 0.3
        cosine, sine = math.cos(angle), math.sin(angle)
        viewmats[c, :3, :3] = torch.tensor([[cosine, 0, sine], [0, 1, 0], [-sine, 0, cosine]])
        viewmats[c, :3, 3] = torch.tensor([0.05, -0.1, 3.0])
    intrinsics[:, 0, 0], intrinsics[:, 1, 1], intrinsics[:, 0, 2], intrinsics[:, 1, 2] = 60.0, 66.0, 27.0, 21.5
    scene = {
        "means": 0.5 * normal[:, :3],
        "quats": normal[:, 3:7],
        "scales": torch.exp(0.5 * normal[:, 7:10] - 2.8),
        "opacities": 0.02 + 0.97 * uniform[:, 0],
        "colors": uniform[:, 1:],
        "viewmats": viewmats,
        "Ks": intrinsics,
    }
    return {name: tensor.to(dtype) for name, tensor in scene.items()}
