"""Where input rays first meet the visual hull of the input masks (Laurentini 1994): depth before any learning."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from gslrm.cameras import Cameras, nearest_to_origin
from gslrm.types import Views

SURFACE = 0.5  # coverage at which a point counts as inside a silhouette


@torch.no_grad()
def first_hits(
    views: Views, wanted: Bool[Tensor, "b v h w"], *, half_range: float, samples: int
) -> Float[Tensor, "b v h w"]:
    """Distance along each wanted pixel's ray to the hull of the *other* views' masks, in float32.

    Each ray is searched around its point nearest the world origin. A ray that misses the hull gets its best covered
    point, or that nearest the origin; pixels that are not wanted get the point nearest the origin.

    Args:
        views: input views [B, V]; the object must lie near the origin.
        wanted: pixels to search.
        half_range: half the length searched, in world units.
        samples: points per ray; the crossing is interpolated between them.
    """
    origin, direction = views.cameras.rays()
    hits = nearest_to_origin(origin, direction)[0]
    offsets = torch.linspace(-half_range, half_range, samples, dtype=hits.dtype, device=hits.device)
    scenes, count = wanted.shape[:2]
    for scene in range(scenes):
        for view in range(count):
            chosen = wanted[scene, view]
            others = [index for index in range(count) if index != view]
            if not others or not chosen.any():
                continue
            rays = origin[scene, view][chosen], direction[scene, view][chosen]
            distance = hits[scene, view][chosen][:, None] + offsets
            inside = _coverage_along(*rays, distance, views.masks[scene, others], views.cameras[scene][others])
            hits[scene, view][chosen] = _first_crossing(distance, inside)
    return hits


@torch.no_grad()
def hull_depth(
    views: Views, cameras: Cameras, wanted: Bool[Tensor, "b t h w"], *, half_range: float, samples: int
) -> Float[Tensor, "b t h w"]:
    """z-depth at which wanted pixels' rays of any cameras [B, T] first meet the hull of all `views` [B, V]; else 0."""
    origin, direction = cameras.rays()
    depth = torch.zeros_like(origin[..., 0])
    nearest = nearest_to_origin(origin, direction)[0]
    offsets = torch.linspace(-half_range, half_range, samples, dtype=depth.dtype, device=depth.device)
    for scene, view in wanted.flatten(2).any(dim=2).nonzero().tolist():
        chosen = wanted[scene, view]
        heading = direction[scene, view][chosen]
        distance = nearest[scene, view][chosen][:, None] + offsets
        inside = _coverage_along(
            origin[scene, view][chosen], heading, distance, views.masks[scene], views.cameras[scene]
        )
        axis = cameras.world_from_camera[scene, view, :3, 2]
        hit = (inside >= SURFACE).any(dim=1)
        depth[scene, view][chosen] = _first_crossing(distance, inside) * (heading @ axis) * hit
    return depth


def hull_coverage(
    points: Float[Tensor, "n 3"], masks: Float[Tensor, "v 1 h w"], cameras: Cameras
) -> Float[Tensor, "n"]:
    """The least coverage that any view's mask gives a world point; outside a picture it is 0.

    Points that one view carves away are not shown to the next, which is most of them.
    """
    least = points.new_ones(len(points))
    alive = torch.arange(len(points), device=points.device)
    for view in range(len(masks)):
        least[alive] = torch.minimum(least[alive], _coverage(points[alive], masks[view], cameras[view : view + 1]))
        alive = alive[least[alive] > 0]
    return least


def _coverage_along(
    origin: Float[Tensor, "n 3"],
    direction: Float[Tensor, "n 3"],
    distance: Float[Tensor, "n s"],
    masks: Float[Tensor, "v 1 h w"],
    cameras: Cameras,
) -> Float[Tensor, "n s"]:
    points = origin[:, None] + distance[..., None] * direction[:, None]
    return hull_coverage(points.flatten(0, 1), masks, cameras).unflatten(0, distance.shape)


def _coverage(points: Float[Tensor, "n 3"], mask: Float[Tensor, "1 h w"], camera: Cameras) -> Float[Tensor, "n"]:
    pixel, depth = camera.project(points[None])
    grid = 2 * pixel / pixel.new_tensor([camera.width, camera.height]) - 1
    sampled = torch.nn.functional.grid_sample(
        mask[None].to(pixel.dtype), grid[:, None], mode="bilinear", align_corners=False
    )
    return sampled[0, 0, 0] * (depth[0] > 0)


def _first_crossing(distance: Float[Tensor, "n s"], inside: Float[Tensor, "n s"]) -> Float[Tensor, "n"]:
    entered = inside >= SURFACE
    after = entered.to(torch.uint8).argmax(dim=1, keepdim=True)  # the first maximum
    before = (after - 1).clamp_min(0)
    low, high = inside.gather(1, before), inside.gather(1, after)
    share = ((SURFACE - low) / (high - low).clamp_min(1e-6)).clamp(0, 1)
    crossing = torch.lerp(distance.gather(1, before), distance.gather(1, after), share)
    coverage, position = inside.max(dim=1, keepdim=True)
    best = torch.where(coverage > 0, distance.gather(1, position), distance.mean(dim=1, keepdim=True))
    return torch.where(entered.any(dim=1, keepdim=True), crossing, best)[:, 0]
