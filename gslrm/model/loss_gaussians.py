"""Loss terms of the Gaussians themselves."""

from jaxtyping import Float
from torch import Tensor

from gslrm.model.comparison import Comparison
from gslrm.model.gaussian_head import raster_from_patches

SPREAD = 0.5  # world units: deviation of a view's distances that points-dist asks for


def opacity(c: Comparison) -> Float[Tensor, ""]:
    """Mean opacity of the Gaussians that have any."""
    return _mean_of_drawn(c, c.gaussians.opacities)


def scale(c: Comparison) -> Float[Tensor, ""]:
    """Mean longest standard deviation, in world units, of the Gaussians that have any opacity."""
    return _mean_of_drawn(c, c.gaussians.scales.amax(dim=-1))


def pixelalign(c: Comparison, *, patch: int, masked: bool) -> Float[Tensor, ""]:
    """Mean distance of each pixel Gaussian from its ray (FaceLift), weighted by the input mask with `masked`."""
    origin, direction = c.inputs.cameras.rays()
    offset = pixel_means(c, patch=patch) - origin
    across = offset - (offset * direction).sum(dim=-1, keepdim=True) * direction
    if masked:
        across = across * c.inputs.masks[:, :, 0, :, :, None]
    return across.norm(dim=-1).mean()


def points_distance(c: Comparison, *, patch: int) -> Float[Tensor, ""]:
    """Squared difference of each pixel Gaussian's distance from its camera and where it should be (FaceLift).

    That is its place in the view's distribution, with the mean moved to the camera's distance from the origin and the
    deviation set to `SPREAD`: a start from which rendering has something to improve.
    """
    position = c.inputs.cameras.position[:, :, None]
    distance = (pixel_means(c, patch=patch).flatten(2, 3) - position).norm(dim=-1)
    place = (distance - distance.mean(dim=-1, keepdim=True)) / (distance.std(dim=-1, keepdim=True) + 1e-8)
    wanted = SPREAD * place + position.norm(dim=-1)
    return (distance - wanted.detach()).square().mean()


def pixel_means(c: Comparison, *, patch: int) -> Float[Tensor, "b v h w 3"]:
    """Positions of the pixel Gaussians, which follow the global ones in patch order, as rasters of the input views."""
    views, (height, width) = c.inputs.images.shape[1], c.inputs.images.shape[-2:]
    pixels = c.gaussians.means[:, -views * height * width :]
    return raster_from_patches(pixels, views=views, height=height, width=width, patch=patch)


def _mean_of_drawn(c: Comparison, values: Float[Tensor, "b n"]) -> Float[Tensor, ""]:
    """Models that drop the background give its pixels no opacity at all; their number must not weaken the term."""
    drawn = c.gaussians.opacities.detach() > 0
    return (values * drawn).sum() / c.batch_share(drawn.sum())
