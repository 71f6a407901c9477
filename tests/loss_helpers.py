"""Scenes and pictures for tests of loss terms."""

from dataclasses import replace

import torch
from helpers import ball_coverage, random_cameras, random_gaussians

from gslrm.model.comparison import Comparison, compare
from gslrm.types import Batch, Gaussians, Rendering, Views

WHITE = torch.ones(1, 3)


def scene(
    *, size: int = 24, mask: torch.Tensor | None = None, dtype: torch.dtype = torch.float64, views: int = 2
) -> tuple[Gaussians, Rendering, Batch]:
    """Random Gaussians, a random rendering and random targets [1, views]; the mask [views, 1, size, size] is full."""
    generator = torch.Generator().manual_seed(0)
    draw = lambda channels: torch.rand(1, views, channels, size, size, generator=generator, dtype=torch.float64)  # noqa: E731
    cameras = random_cameras(views, size=(size, size))[None].to(dtype)
    target = draw(3)
    rendering = Rendering((target + 0.2 * draw(3) - 0.1).to(dtype), draw(1).to(dtype), 2 + draw(1).to(dtype))
    masks = torch.ones(views, 1, size, size) if mask is None else mask
    seen = Views(target.to(dtype), masks[None].to(dtype), cameras)
    index = torch.arange(views)[None]
    gaussians = random_gaussians(2 + views * size * size, dtype=dtype)[None]
    return gaussians, rendering, Batch(seen, seen, index, index, WHITE.to(dtype), ("random",))


def comparison(**options: object) -> Comparison:
    return compare(*scene(**options))


def of_pictures(rendered: torch.Tensor, target: torch.Tensor, mask: torch.Tensor | None = None) -> Comparison:
    """Pictures [n, 3, h, w] on white, with a full mask unless one is given."""
    count, _, height, _ = rendered.shape
    c = comparison(size=height, mask=torch.ones(count, 1, height, height), dtype=rendered.dtype, views=count)
    mask = c.mask if mask is None else mask.to(rendered.dtype)
    return changed(c, rendered=rendered, target=target, mask=mask)


def changed(c: Comparison, **fields: torch.Tensor) -> Comparison:
    return replace(c, **fields)


def masks(kind: str, *, size: int = 24) -> torch.Tensor:
    """[2, 1, size, size]: `empty`, `full`, `one pixel` in the middle of each, or a `box`."""
    mask = torch.full((2, 1, size, size), float(kind == "full"))
    if kind == "one pixel":
        mask[:, :, size // 2, size // 2] = 1
    if kind == "box":
        mask[0, :, 3:9, 4:11] = 1
    return mask


def ball_scene(*, size: int = 32, radius: float = 0.3, views: int = 6) -> Comparison:
    """Cameras around a ball at the origin, [1, views] float64; depth is the ball's own, exact."""
    cameras = random_cameras(views, size=(size, size), seed=3)
    origin, direction = cameras.rays()
    covered = torch.stack(
        [
            torch.from_numpy(ball_coverage(cameras[index], torch.zeros(3, dtype=torch.float64), radius))
            for index in range(views)
        ]
    )
    middle = -(origin * direction).sum(-1)
    miss = (origin + middle[..., None] * direction).square().sum(-1)
    distance = middle - (radius**2 - miss).clamp_min(0).sqrt()
    axis = cameras.world_from_camera[:, None, None, :3, 2]
    depth = distance * (direction * axis).sum(-1) * covered
    seen = Views(torch.ones(1, views, 3, size, size).double(), covered[None, :, None].double(), cameras[None])
    rendering = Rendering(seen.images, seen.masks, depth[None, :, None])
    index = torch.arange(views)[None]
    batch = Batch(seen, seen, index, index, WHITE.double(), ("ball",))
    return compare(random_gaussians(2 + views * size * size)[None], rendering, batch)
