"""Gaussian rasterization in plain torch, readable and slow, on any device: for tests and benchmarks only.

It follows the semantics that `gslrm.render.cpu_backend.rasterization` documents, one camera at a time. Pixels are
handled tile by tile, all tiles with lists of similar length at once.
"""

import math
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

# gsplat's kernels hold their constants as float32, and some decisions depend on the rounding.
ALPHA_MIN = float(np.float32(1 / 255))
TRANSMITTANCE_MIN = float(np.float32(1e-4))
EXTENT_MAX = 3.33  # standard deviations; alpha is below 1/255 beyond sqrt(2 ln 255) = 3.329
TILE = 8  # pixels; of 8, 16 and 32 the fastest
CHUNK_ELEMENTS = 2**19  # (tile, splat, pixel) triples handled at once; what fits the caches is fastest


class Splats(NamedTuple):
    """Visible Gaussians of one camera, nearest first."""

    means: Tensor  # [M,2] px
    covariances: Tensor  # [M,2,2] px^2
    opacities: Tensor  # [M]
    features: Tensor  # [M,D]


def rasterize_view(
    means: Tensor, quats: Tensor, scales: Tensor, opacities: Tensor, colors: Tensor, viewmat: Tensor,
    intrinsics: Tensor, width: int, height: int, near_plane: float = 0.01, far_plane: float = 1e10, eps2d: float = 0.3,
    background: Tensor | None = None, max_alpha: float = 0.999, antialiased: bool = False,
    min_compensation: float = 0.0,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """Colours [H,W,D], alpha [H,W,1] and accumulated depth [H,W,1] of one camera."""
    points = means @ viewmat[:3, :3].T + viewmat[:3, 3]
    kept = (points[:, 2] >= _float32(near_plane)) & (points[:, 2] <= _float32(far_plane)) & (quats.norm(dim=-1) > 0)
    points, opacities = points[kept], opacities[kept]
    axes = rotations(quats[kept]) * scales[kept][:, None, :]
    maps = jacobians(points, intrinsics, width, height) @ viewmat[:3, :3]
    sharp = maps @ axes @ axes.mT @ maps.mT
    covariances = sharp + _float32(eps2d) * torch.eye(2, dtype=means.dtype, device=means.device)
    if antialiased:
        ratio = torch.linalg.det(sharp) / torch.linalg.det(covariances)
        opacities = opacities * ratio.clamp(min=_float32(min_compensation) ** 2).sqrt()
    centers = points[:, :2] / points[:, 2:] * intrinsics.diagonal()[:2] + intrinsics[:2, 2]
    features = torch.cat([colors[kept], points[:, 2:]], dim=-1)
    drawn = (opacities >= ALPHA_MIN).nonzero().squeeze(1)
    # The order is that of float32 depths even in float64, ties in ascending index.
    order = drawn[torch.argsort(points[drawn, 2].float(), stable=True)]
    splats = Splats(*(_rows(tensor, order) for tensor in (centers, covariances, opacities, features)))
    image, transmittance = blend(splats, width, height, _float32(max_alpha))
    rgb = image[..., :-1] if background is None else image[..., :-1] + transmittance * background
    return rgb, 1 - transmittance, image[..., -1:]


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
    size = points.new_tensor([width, height])
    margin = 0.3 * 0.5 * size / focal
    z = points[:, 2:]
    slopes = (points[:, :2] / z).clamp(-(center / focal + margin), (size - center) / focal + margin)
    return torch.cat([torch.diag_embed(focal / z), (-focal * slopes / z)[..., None]], dim=-1)


def blend(splats: Splats, width: int, height: int, max_alpha: float) -> tuple[Tensor, Tensor]:
    """Features [H,W,D] and transmittance [H,W,1] of splats."""
    columns, rows = -(-width // TILE), -(-height // TILE)
    lists, lengths = tile_lists(splats, columns, rows)
    conics = torch.linalg.inv(splats.covariances)
    # An invisible splat at the end fills up the shorter lists of a chunk.
    table = torch.cat([splats.means, conics[:, 0], conics[:, 1, 1:], splats.opacities[:, None], splats.features], dim=1)
    table = torch.cat([table, table.new_zeros(1, table.shape[1])])
    blended, tiles = [], []
    for chunk in chunks(lengths):
        index = padded_lists(lists, lengths, chunk, filler=table.shape[0] - 1)
        pixels = pixel_centers(chunk, columns).to(table)
        blended.append(blend_tiles(_rows(table, index.flatten()).unflatten(0, index.shape), pixels, max_alpha))
        tiles.append(chunk)
    places = torch.argsort(torch.cat(tiles))
    by_tile = _rows(torch.cat(blended), places).unflatten(0, (rows, columns)).unflatten(2, (TILE, TILE))
    image = by_tile.permute(0, 2, 1, 3, 4).flatten(2, 3).flatten(0, 1)[:height, :width]
    return image[..., :-1], image[..., -1:]


def tile_lists(splats: Splats, columns: int, rows: int) -> tuple[Tensor, Tensor]:
    """Splats of all tiles, tile after tile and nearest first, then the number of splats of each tile."""
    means, sigmas = splats.means.detach(), splats.covariances.detach().diagonal(dim1=-2, dim2=-1).sqrt()
    extents = (2 * (255 * splats.opacities.detach()).log().clamp(min=0)).sqrt().clamp(max=EXTENT_MAX)
    reach = extents[:, None] * sigmas + 1  # a pixel too many: the alpha test decides
    limit = torch.tensor([columns, rows], device=means.device)
    first = ((means - reach) / TILE).floor().clamp(min=0).minimum(limit.to(means)).long()
    last = ((means + reach) / TILE).floor().clamp(min=-1).minimum(limit.to(means) - 1).long()
    spans = (last - first + 1).clamp(min=0)
    counts = spans.prod(dim=1)
    splat = torch.repeat_interleave(counts)
    place = torch.arange(splat.numel(), device=means.device) - (counts.cumsum(0) - counts)[splat]
    column, row = first[splat, 0] + place % spans[splat, 0], first[splat, 1] + place // spans[splat, 0]
    tile, order = torch.sort(row * columns + column, stable=True)
    return splat[order], torch.bincount(tile, minlength=columns * rows)


def chunks(lengths: Tensor) -> list[Tensor]:
    """Tiles in groups of similar list length, each small enough to be held at once."""
    order = torch.argsort(lengths, descending=True, stable=True)
    groups, first = [], 0
    while first < order.numel():
        longest = max(int(lengths[order[first]]), 1)
        last = first + max(1, CHUNK_ELEMENTS // (longest * TILE * TILE))
        groups.append(order[first:last])
        first = last
    return groups


def padded_lists(lists: Tensor, lengths: Tensor, tiles: Tensor, *, filler: int) -> Tensor:
    """The lists of some tiles [T,K], filled up at their ends."""
    starts = lengths.cumsum(0) - lengths
    place = torch.arange(max(int(lengths[tiles].max()), 1), device=lists.device)
    padded = torch.cat([lists, lists.new_tensor([filler])])
    used = place < lengths[tiles][:, None]
    return torch.where(used, padded[(starts[tiles][:, None] + place).clamp(max=lists.numel())], filler)


def pixel_centers(tiles: Tensor, columns: int) -> Tensor:
    """Centres [T,TILE^2,2] of the pixels of some tiles."""
    within = torch.arange(TILE, device=tiles.device)
    inside = torch.stack(torch.meshgrid(within, within, indexing="xy"), dim=-1).flatten(0, 1)
    corners = torch.stack([tiles % columns, tiles // columns], dim=-1) * TILE
    return corners[:, None] + inside + 0.5


def blend_tiles(splats: Tensor, pixels: Tensor, max_alpha: float) -> Tensor:
    """Features, then transmittance [T,P,D+1], of listed splats [T,K,.] at pixels [T,P,2]."""
    means, a, b, c, opacities, features = splats.split([2, 1, 1, 1, 1, splats.shape[-1] - 6], dim=-1)
    dx, dy = (means[:, :, None] - pixels[:, None]).unbind(-1)
    sigma = 0.5 * (a * dx * dx + c * dy * dy) + b * dx * dy
    alpha = (opacities * torch.exp(-sigma)).clamp(max=max_alpha)
    alpha = torch.where((sigma >= 0) & (alpha >= ALPHA_MIN), alpha, 0.0)
    after = torch.cumprod(1 - alpha, dim=1)
    before = torch.cat([torch.ones_like(after[:, :1]), after], dim=1)
    # It never grows again, so the splat that takes it to the limit is left out with all that follow.
    blends = after > TRANSMITTANCE_MIN
    weights = torch.where(blends, alpha * before[:, :-1], 0.0)
    transmittance = before.gather(1, blends.sum(dim=1, keepdim=True)).squeeze(1)
    return torch.cat([weights.mT @ features, transmittance[..., None]], dim=-1)


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


def _float32(value: float) -> float:
    return float(np.float32(value))


def _rows(table: Tensor, index: Tensor) -> Tensor:
    """table[index], several times faster in the backward pass on a CPU."""
    return table.index_select(0, index)
