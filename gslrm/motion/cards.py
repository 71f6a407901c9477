"""The failure that a turntable must show: every picture on a card of its own before its camera."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from gslrm import harmonics as sh
from gslrm.cameras import Cameras
from gslrm.types import Gaussians, Views, quaternion_from_matrix

INSIDE = 0.5  # coverage from which a pixel is on the card
OPACITY = 0.95
WIDTH = 0.6  # standard deviation of a pixel's Gaussian, in pixels: neighbours close up
THICKNESS = 0.05  # of its width


def pictures_on_cards(views: Views, center: Float[Tensor, "3"], share: float) -> Gaussians:
    """Each view's foreground on an upright card at `share` of the way from its camera to the centre.

    At the input cameras the result looks like the pictures, as long as no card is in another camera's way; from
    anywhere else it does not. Reconstructions that were fitted to few views alone fail like that: FreeNeRF (Yang et al.
    2023) calls it floaters near the cameras. With `share` 1 the cards cross in the centre.

    Args:
        views: `[v]` on any background.
        center: of the object, in the views' world.
        share: above 0, at most 1.
    """
    axes = views.cameras.world_from_camera[:, :3, 2]
    depths = share * ((center.to(axes) - views.cameras.position) * axes).sum(dim=1)
    cards = [
        _card(views.images[index], views.masks[index, 0] >= INSIDE, views.cameras[index], float(depths[index]))
        for index in range(len(depths))
    ]
    return Gaussians(*(torch.cat([card[field] for card in cards]) for field in range(5)))


def _card(
    image: Float[Tensor, "3 h w"], inside: Bool[Tensor, "h w"], camera: Cameras, depth: float
) -> tuple[Tensor, ...]:
    """The fields of the Gaussians of one card at that depth from its camera."""
    origin, direction = camera.rays()
    points = origin + direction * (depth / (direction @ camera.world_from_camera[:3, 2]))[..., None]
    count = int(inside.sum())
    scale = WIDTH * depth / camera.focal.mean() * camera.focal.new_tensor([1.0, 1.0, THICKNESS])
    turn = quaternion_from_matrix(camera.world_from_camera[:3, :3])
    fields = (
        points[inside],
        scale.expand(count, 3),
        turn.expand(count, 4),
        torch.full((count,), OPACITY),
        sh.degree_0_from_rgb(image.movedim(0, -1)[inside])[:, None],
    )
    return tuple(field.float() for field in fields)
