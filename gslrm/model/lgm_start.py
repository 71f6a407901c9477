"""LGM that starts at points of its own rays, for training from random weights in minutes instead of weeks.

The published network has no start: with random weights all its Gaussians are one fog about the origin, which white
pictures are the first way out of. Here raw maps begin as Gaussians that stand on their pixels' rays in their pixels'
colours, and the network, whose last layer begins at zero, learns the departure from them; positions are clamped in the
canonical frame, and free of the ray, as always.
"""

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from gslrm.cameras import nearest_to_origin
from gslrm.config import ModelConfig
from gslrm.exact import exact_float32
from gslrm.model.hull_guide import shrink, uncomposited
from gslrm.model.lgm import LGM
from gslrm.model.lgm_head import CHANNELS, SCALE, SPLIT
from gslrm.model.lgm_input import canonical_input
from gslrm.model.visual_hull import first_hits
from gslrm.similarity import Similarity
from gslrm.types import Gaussians, Views

COVERED = 0.1  # coverage from which a pixel shows the object: a tail covers few pixels more than half
SHADE = 0.02  # starting colours keep this distance from black and white, where tanh has no slope


class StartedLGM(LGM):
    """LGM with `lgm.start`: the same parameters by the same names, another meaning of its raw maps.

    Needs masks: pixels without foreground have no Gaussian.
    """

    def __init__(self, config: ModelConfig) -> None:
        """Random weights, but those of the last layer are 0."""
        super().__init__(config)
        for parameter in self.conv.parameters():
            nn.init.zeros_(parameter)

    def forward(self, views: Views) -> Gaussians:
        """See the base class; masks are looked at."""
        self._require_whole_halves(views)
        with exact_float32(views.images.device.type):
            views = views.float()
            images, canonical_from_world = canonical_input(views)
            start = start_maps(shrink(views, self.config.lgm.shape.reduction), canonical_from_world, self.config)
        position, others = self.forward_maps(images).split([SPLIT[0], CHANNELS - SPLIT[0]], dim=2)
        departure = torch.cat([self.config.lgm.start.reach * position, others], dim=2)
        return self.decode_into(start + departure, canonical_from_world)


@torch.no_grad()
def start_maps(coarse: Views, canonical_from_world: Similarity, config: ModelConfig) -> Float[Tensor, "b v 14 h w"]:
    """Raw maps of an untrained network.

    Args:
        coarse: input views [B, V] at the resolution of the maps, float32; the object lies near the origin.
        canonical_from_world: [B], of the network's frame.
        config: `lgm.start`, `hull_range`, `hull_samples`.
    """
    start, covered = config.lgm.start, coarse.masks[:, :, 0] > COVERED
    origin, direction = coarse.cameras.rays()
    if start.anchor == "hull":
        distance = first_hits(coarse, covered, half_range=config.hull_range, samples=config.hull_samples)
    else:
        distance = nearest_to_origin(origin, direction)[0]
    points = origin + distance[..., None] * direction
    means = torch.stack([canonical_from_world[i].float().apply(scene) for i, scene in enumerate(points)])
    pixel = distance / coarse.cameras.focal.amax(dim=-1)[..., None, None]
    scale = start.scale * pixel * canonical_from_world.scale.to(pixel)[:, None, None, None]
    colour = torch.stack([uncomposited(coarse[i]) for i in range(len(points))]).clamp(SHADE, 1 - SHADE)
    opacity = torch.full_like(scale, start.opacity).masked_fill(~covered, -torch.inf)
    turn = means.new_tensor([1.0, 0.0, 0.0, 0.0])[:, None, None].expand(*scale.shape[:2], 4, *scale.shape[2:])
    return torch.cat(
        [
            rearrange(means, "b v h w c -> b v c h w"),
            opacity[:, :, None],
            torch.log(torch.expm1(scale / SCALE))[:, :, None].expand(-1, -1, 3, -1, -1),
            turn,
            torch.atanh(2 * colour - 1),
        ],
        dim=2,
    )
