"""The visual hull of the given masks (Laurentini 1994), coloured from the given views: 3D without any learning.

Every target ray is marched to where all masks first agree (image-based visual hulls, Matusik et al. 2000), so the
silhouettes are as sharp as the given ones. It is the baseline that a learned model must beat.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from gslrm.cameras import Cameras, nearest_to_lines
from gslrm.compiled import run_workers
from gslrm.evaluation.hull_kernels import TILE, bound, carve, march, paint
from gslrm.metrics import has_foreground
from gslrm.types import Rendering, Views

GRID = 72  # cells along the cube that is searched: two millimetres on a mouse
STEPS_PER_CELL = 4
GROWTH = 1.05  # of the cube, beyond what the masks show
COVERED = 1e-3  # coverage above which a mask's pixel may belong to the object


@dataclass(frozen=True)
class _Given:
    """Views as the kernels want them; see `hull_kernels`."""

    projection: np.ndarray
    positions: np.ndarray
    focal: np.ndarray
    extent: np.ndarray
    start: np.ndarray
    coverage: np.ndarray
    colour: np.ndarray


@dataclass(frozen=True)
class Hull:
    """A hull in the world of its views, ready to be looked at from anywhere."""

    given: _Given
    views: tuple[Views, ...]
    low: np.ndarray
    cell: float
    occupied: np.ndarray
    depths: tuple[np.ndarray, ...]
    """Of the hull at the given cameras."""

    @staticmethod
    def of(views: Sequence[Views]) -> "Hull | None":
        """The hull of views [1] on white, of any sizes; none where fewer than two of their masks show the object."""
        if sum(bool(has_foreground(view.masks).all()) for view in views) < 2:
            return None
        given = _pack(views)
        low, size = _cube(views)
        cell, occupied = size / GRID, np.zeros((GRID, GRID, GRID), np.bool_)
        sums, starts = _summed_masks(views)
        run_workers(carve, low, cell, given.projection, given.focal, given.extent, starts, sums, occupied)
        bare = Hull(given, tuple(views), low, cell, occupied, ())
        depths = tuple(np.where(a > 0, z, 0) for z, a in (bare._march(view.cameras[0]) for view in views))
        return Hull(given, tuple(views), low, cell, occupied, depths)

    def render(self, camera: Cameras) -> Rendering:
        """The hull [1, ...] at an unbatched camera, on white."""
        depth, alpha = self._march(camera)
        painted = np.ones((*depth.shape, 3))
        given, seen_from = self.given, np.concatenate([depth.ravel() for depth in self.depths])
        run_workers(
            paint, *_pinhole(camera), depth, alpha, given.projection, given.positions, given.extent, given.start,
            given.coverage, given.colour, seen_from, self.cell, painted,
        )  # fmt: skip
        coverage = torch.from_numpy(alpha).float()[None, None]
        colour = torch.from_numpy(painted).float().permute(2, 0, 1)[None].clamp(0, 1)
        return Rendering(colour * coverage + (1 - coverage), coverage, torch.from_numpy(depth).float()[None, None])

    @property
    def side(self) -> float:
        """Of the cube that was searched, in world units."""
        return self.cell * GRID

    @property
    def middle(self) -> np.ndarray:
        """Of that cube, a world point [3]."""
        return self.low + self.side / 2

    def surface_spacing(self) -> float:
        """Mean distance between neighbouring points of `surface` in world units: a given view's pixel out there."""
        pixels = [depth[depth > 0] / focal for depth, focal in zip(self.depths, self.given.focal, strict=True)]
        return float(np.concatenate(pixels).mean())

    def surface(self) -> tuple[Float[Tensor, "n 3"], Float[Tensor, "n 3"]]:
        """World points of the hull behind the given views' foreground pixels, with the colours seen there."""
        points, colours = [], []
        for view, depth in zip(self.views, self.depths, strict=True):
            camera, mask = view.cameras[0].to(torch.float64), view.masks[0, 0]
            hit = (torch.from_numpy(depth) > 0) & (mask > 0.5)
            offset = (camera.pixel_grid() - camera.center) / camera.focal
            along = torch.cat([offset, torch.ones_like(offset[..., :1])], dim=-1) @ camera.world_from_camera[:3, :3].mT
            points.append((camera.position + torch.from_numpy(depth)[..., None] * along)[hit])
            colours.append((_premultiplied(view)[0] / mask.clamp_min(COVERED)).permute(1, 2, 0)[hit].clamp(0, 1))
        return torch.cat(points), torch.cat(colours)

    def _march(self, camera: Cameras) -> tuple[np.ndarray, np.ndarray]:
        depth, alpha = np.zeros((camera.height, camera.width)), np.zeros((camera.height, camera.width))
        given, (near, far) = self.given, self._bounds(camera)
        run_workers(
            march, *_pinhole(camera), near, far, self.low, self.cell, self.occupied, self.cell / STEPS_PER_CELL,
            given.projection, given.extent, given.start, given.coverage, depth, alpha,
        )  # fmt: skip
        return depth, alpha

    def _bounds(self, camera: Cameras) -> tuple[np.ndarray, np.ndarray]:
        camera = camera.to(torch.float64)
        tiles = (-(-camera.height // TILE), -(-camera.width // TILE))
        near, far = np.full(tiles, np.inf), np.zeros(tiles)
        projection = (camera.intrinsics @ camera.camera_from_world[:3])[None].numpy()
        centres = self.low + (np.argwhere(self.occupied) + 0.5) * self.cell
        radius, extent = self.cell * 3**0.5 / 2, np.array([camera.height, camera.width])
        bound(projection, float(camera.focal.max()), centres, radius, extent, near, far)
        return near, far


def _pack(views: Sequence[Views]) -> _Given:
    cameras = [view.cameras[0].to(torch.float64) for view in views]
    sizes = [camera.height * camera.width for camera in cameras]
    colours = [_premultiplied(view)[0].permute(1, 2, 0).reshape(-1, 3) for view in views]
    return _Given(
        projection=torch.stack([c.intrinsics @ c.camera_from_world[:3] for c in cameras]).numpy(),
        positions=torch.stack([camera.position for camera in cameras]).numpy(),
        focal=torch.stack([camera.focal.max() for camera in cameras]).numpy(),
        extent=np.array([(camera.height, camera.width) for camera in cameras]),
        start=np.cumsum([0, *sizes[:-1]]),
        coverage=torch.cat([view.masks.flatten() for view in views]).numpy(),
        colour=torch.cat(colours).contiguous().numpy(),
    )


def _premultiplied(view: Views) -> Tensor:
    """Colours weighted by coverage, of a view on white."""
    return (view.images - (1 - view.masks)).clamp_min(0)


def _summed_masks(views: Sequence[Views]) -> tuple[np.ndarray, np.ndarray]:
    tables = [np.pad((view.masks[0, 0].numpy() > COVERED).cumsum(0).cumsum(1), ((1, 0), (1, 0))) for view in views]
    return np.concatenate([table.ravel() for table in tables]), np.cumsum([0, *(table.size for table in tables[:-1])])


def _pinhole(camera: Cameras) -> tuple[np.ndarray, ...]:
    camera = camera.to(torch.float64)
    pose = camera.world_from_camera
    return tuple(
        np.ascontiguousarray(part.numpy()) for part in (pose[:3, 3], pose[:3, :3], camera.focal, camera.center)
    )


def _cube(views: Sequence[Views]) -> tuple[np.ndarray, float]:
    """Lowest corner and side of a cube that holds whatever the masks show."""
    boxes = [(view.cameras[0].to(torch.float64), _outline(view)) for view in views if has_foreground(view.masks).all()]
    rays = [_directions(camera, corners) for camera, corners in boxes]
    positions = torch.stack([camera.position for camera, _ in boxes])
    middles = torch.stack([torch.nn.functional.normalize(ray.mean(dim=0), dim=0) for ray in rays])
    center = nearest_to_lines(positions, middles)
    radius = max(
        float(torch.linalg.cross((center - position).expand_as(ray), ray).norm(dim=1).max())
        for position, ray in zip(positions, rays, strict=True)
    )
    half = GROWTH * radius
    return (center - half).numpy(), 2 * half


def _outline(view: Views) -> Float[Tensor, "4 2"]:
    """Corners of the box around everything that is covered."""
    covered = view.masks[0, 0] > COVERED
    rows, columns = covered.any(dim=1).nonzero()[:, 0], covered.any(dim=0).nonzero()[:, 0]
    top, bottom, left, right = rows[0], rows[-1] + 1, columns[0], columns[-1] + 1
    corners = [torch.stack([x, y]) for x in (left, right) for y in (top, bottom)]
    return torch.stack(corners).double()


def _directions(camera: Cameras, pixel: Float[Tensor, "n 2"]) -> Float[Tensor, "n 3"]:
    offset = (pixel - camera.center) / camera.focal
    along = torch.cat([offset, torch.ones_like(offset[:, :1])], dim=1) @ camera.world_from_camera[:3, :3].mT
    return torch.nn.functional.normalize(along, dim=1)
