"""Input pixels' rays to where they meet the visual hull of the other views' masks, on the processor."""

from dataclasses import dataclass

import cv2
import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from gslrm.cameras import Cameras, nearest_to_origin
from gslrm.compiled import run_workers
from gslrm.config import HullConfig
from gslrm.model.hull_kernels import SURFACE, agree, march
from gslrm.tensor_struct import TensorStruct
from gslrm.types import Views

TOUCHED = 0.02  # coverage from which a ray's best point may matter: shorter steps there
BLEED = 1.5  # pixels by which interpolation may see a mask before its distance says so
SEARCH_BACK = 3.0  # pixels before the nearest neighbouring hit at which a fine ray begins
FINE_PACE = 2.0  # steps of fine rays in `hull.step`: their pixels are smaller, and crossings are interpolated
SLACK = 0.03  # world units behind a view's own hit that it still counts as seeing


@dataclass(frozen=True)
class HullRays(TensorStruct):
    """Rays of one scene's pixels and where they meet the hull."""

    pixels: Int[Tensor, "n 3"]
    """View, row, column, of the grid that was asked for."""
    origin: Float[Tensor, "n 3"]
    direction: Float[Tensor, "n 3"]
    distance: Float[Tensor, "n"]
    """Along the unit ray: the first hit, or the best covered point of a ray that misses."""
    thickness: Float[Tensor, "n"]
    """Length inside behind the first hit; 0 where it misses."""
    best: Float[Tensor, "n"]
    """Largest coverage met on the way: 1 well inside, below one half where the ray misses."""

    @property
    def hit(self) -> Bool[Tensor, "n"]:
        """Whether the ray meets the hull at all."""
        return self.best >= SURFACE

    @property
    def points(self) -> Float[Tensor, "n 3"]:
        """World points of the hits."""
        return self.origin + self.distance[:, None] * self.direction

    def raster(self, values: Float[Tensor, "n c"], like: Float[Tensor, "v _ h w"]) -> Float[Tensor, "v c h w"]:
        """Values per ray as pictures of the grid of `like`, 0 elsewhere."""
        picture = values.new_zeros(like.shape[0], *like.shape[-2:], values.shape[1])
        picture[tuple(self.pixels.unbind(1))] = values
        return picture.permute(0, 3, 1, 2)


@dataclass(frozen=True)
class PackedViews:
    """The views of one scene as the kernels want them; see `hull_kernels`."""

    projection: np.ndarray
    positions: np.ndarray
    focal: np.ndarray
    coverage: np.ndarray
    clear: np.ndarray
    cameras: Cameras

    @staticmethod
    def of(views: Views) -> "PackedViews":
        """Pack the views [V] of a scene; measures how far each pixel is from its mask's outline."""
        cameras = views.cameras.to("cpu").to(torch.float64)
        coverage = np.ascontiguousarray(views.masks[:, 0].float().cpu().numpy())
        return PackedViews(
            projection=np.ascontiguousarray((cameras.intrinsics @ cameras.camera_from_world[:, :3]).numpy()),
            positions=np.ascontiguousarray(cameras.position.numpy()),
            focal=cameras.focal.amax(dim=1).numpy(),
            coverage=coverage,
            clear=np.stack([_clearance(mask) for mask in coverage]),
            cameras=cameras,
        )


@torch.no_grad()
def trace(packed: PackedViews, wanted: Bool[Tensor, "v h w"], config: HullConfig) -> HullRays:
    """Meet the hull along the rays of wanted pixels of a grid that may be coarser than the masks."""
    rays = _rays(packed.cameras, wanted)
    middle = nearest_to_origin(rays[1], rays[2])[0].numpy()
    return _march(packed, rays, middle - config.half_range, middle + config.half_range, config, whole=True)


@torch.no_grad()
def sharpen(packed: PackedViews, coarse: HullRays, wanted: Bool[Tensor, "v h w"], config: HullConfig) -> HullRays:
    """Meet the hull along the rays of a finer grid, beginning where the coarse rays around them hit first.

    Thickness is that of the coarse ray.
    """
    views, height, width = wanted.shape
    grid = torch.zeros(views, 1, height // config.detail, width // config.detail)
    hits = coarse.raster(torch.stack([coarse.distance, coarse.thickness], dim=1).float(), grid)
    nearest = -torch.nn.functional.max_pool2d(torch.where(hits[:, :1] > 0, -hits[:, :1], -torch.inf), 3, 1, 1)
    rays = _rays(packed.cameras, wanted)
    at = (rays[0][:, 0], rays[0][:, 1] // config.detail, rays[0][:, 2] // config.detail)
    middle = nearest_to_origin(rays[1], rays[2])[0]
    pixel = middle / torch.from_numpy(packed.focal)[rays[0][:, 0]]
    near = (nearest[:, 0][at].double() - SEARCH_BACK * pixel).clamp_max(1e6)
    near = torch.where(near < 1e6, near, middle - config.half_range)
    far = (middle + config.half_range).numpy()
    found = _march(packed, rays, near.numpy(), far, config, whole=False, pace=FINE_PACE)
    return HullRays(found.pixels, found.origin, found.direction, found.distance, hits[:, 1][at], found.best)


@torch.no_grad()
def colour_agreement(
    packed: PackedViews,
    colours: Float[Tensor, "v 3 h w"],
    own_colours: Float[Tensor, "n 3"],
    rays: HullRays,
    *,
    grid: tuple[int, int],
    offsets: tuple[float, ...],
) -> Float[Tensor, "n c"]:
    """Channels that say how well the other views' colours agree at, and behind, each hull point.

    Args:
        packed: the views.
        colours: their colours, not weighted by coverage.
        own_colours: of the rays.
        rays: of a grid of height and width `grid`.
        grid: see `rays`.
        offsets: world units along the ray behind the hull point.

    Returns:
        See `hull_kernels.agree`.
    """
    weighted = colours.float().cpu().permute(0, 2, 3, 1).numpy() * packed.coverage[..., None]
    like = torch.empty(len(weighted), 1, *grid)
    front = torch.where(
        (seen := rays.raster(rays.distance[:, None].float(), like)[:, 0]) > 0, seen, torch.inf
    )  # a pixel without a hit hides nothing
    channels = np.zeros((len(rays.pixels), 4 + 2 * len(offsets)), np.float32)
    run_workers(
        agree, _packed_rays(rays.origin, rays.direction), rays.pixels[:, 0].numpy(), rays.distance.double().numpy(),
        own_colours.float().cpu().numpy(), np.array(offsets), SLACK, packed.projection, packed.positions,
        packed.coverage, np.ascontiguousarray(weighted), front.numpy(), channels,
        workers=torch.get_num_threads(),
    )  # fmt: skip
    return torch.from_numpy(channels)


def _march(
    packed: PackedViews,
    rays: tuple[Tensor, Tensor, Tensor],
    near: np.ndarray,
    far: np.ndarray,
    config: HullConfig,
    *,
    whole: bool,
    pace: float = 1.0,
) -> HullRays:
    pixels, origin, direction = rays
    middle = nearest_to_origin(origin, direction)[0].numpy()
    step = pace * config.step * middle / packed.focal[pixels[:, 0].numpy()]
    distance, thickness, best = (np.zeros(len(pixels), np.float32) for _ in range(3))
    run_workers(
        march, _packed_rays(origin, direction), pixels[:, 0].numpy(), near, far, step, config.tolerated, whole,
        packed.projection, packed.focal, packed.coverage, packed.clear, distance, thickness, best,
        workers=torch.get_num_threads(),
    )  # fmt: skip
    found = (torch.from_numpy(values) for values in (distance, thickness, best))
    return HullRays(pixels, origin.float(), direction.float(), *found)


def _rays(cameras: Cameras, wanted: Bool[Tensor, "v h w"]) -> tuple[Tensor, Tensor, Tensor]:
    """Pixels [n, 3], origins and unit directions [n, 3] in float64, of wanted pixels of any grid over the pictures."""
    pixels = wanted.cpu().nonzero()
    view = pixels[:, 0]
    scale = torch.tensor([cameras.width / wanted.shape[2], cameras.height / wanted.shape[1]], dtype=torch.float64)
    place = (pixels[:, [2, 1]] + 0.5) * scale
    offset = (place - cameras.center[view]) / cameras.focal[view]
    along = torch.nn.functional.normalize(torch.cat([offset, torch.ones_like(offset[:, :1])], dim=1), dim=1)
    direction = (cameras.world_from_camera[view, :3, :3] @ along[:, :, None])[:, :, 0]
    return pixels, cameras.position[view], direction


def _packed_rays(origin: Tensor, direction: Tensor) -> np.ndarray:
    return np.ascontiguousarray(torch.cat([origin, direction], dim=1).double().numpy())


def _clearance(mask: np.ndarray) -> np.ndarray:
    """Pixels around each pixel on which the mask stays inside or outside; see `hull_kernels`."""
    outside = _distance(mask < TOUCHED)
    inside = _distance(mask >= SURFACE)
    border = np.minimum.outer(*(np.minimum(np.arange(n), np.arange(n)[::-1]) for n in mask.shape)) + 1
    clear = np.maximum(np.minimum(inside, border) - BLEED, 0) - np.maximum(np.minimum(outside, border) - BLEED, 0)
    return clear.astype(np.float32)


def _distance(mask: np.ndarray) -> np.ndarray:
    """Pixels from each true pixel to the nearest false one; 0 at false ones. All true: as if false beyond the edge."""
    if mask.all():
        return np.full(mask.shape, float(max(mask.shape)))
    distance = cv2.distanceTransform(mask.astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE).astype(np.float64)
    return np.sqrt(np.rint(distance**2))  # whole squares: OpenCV's last bit depends on where the memory lies
