"""A budget of Gaussians: those are kept that paint most of the pictures."""

from gslrm.clean import contributions
from gslrm.look_around import cameras_around
from gslrm.render import Rasterizer
from gslrm.types import Gaussians

AROUND, SIDE = 16, 256  # cameras whose pictures are counted, and their pixels


def thin(gaussians: Gaussians, budget: int, rasterizer: Rasterizer) -> Gaussians:
    """At most `budget` Gaussians of a scene `[n]`, in their order.

    Raises:
        ValueError: no Gaussian is solid.
    """
    if len(gaussians.means) <= budget:
        return gaussians
    cameras = cameras_around(gaussians, AROUND, SIDE)
    weights = contributions(gaussians, [cameras[index : index + 1] for index in range(AROUND)], rasterizer)
    return gaussians[weights.topk(budget).indices.sort().values]
