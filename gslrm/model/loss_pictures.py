"""Loss terms of colours or silhouettes, pixel by pixel."""

from jaxtyping import Float
from torch import Tensor

from gslrm.model.comparison import Comparison


def l2(c: Comparison) -> Float[Tensor, ""]:
    """Mean squared error over all pixels and channels."""
    return (c.rendered - c.target).square().mean()


def masked_l2(c: Comparison) -> Float[Tensor, ""]:
    """Squared error summed over foreground pixels, divided by their number times 3 (at least one pixel)."""
    return _mean_over(c, (c.rendered - c.target).square(), c.foreground)


def background(c: Comparison) -> Float[Tensor, ""]:
    """Squared distance to the background colour, averaged over the pixels outside the mask."""
    return _mean_over(c, (c.rendered - c.background).square(), 1 - c.foreground)


def silhouette(c: Comparison) -> Float[Tensor, ""]:
    """Mean squared difference of rendered alpha and mask."""
    return (c.alpha - c.mask).square().mean()


def silhouette_iou(c: Comparison) -> Float[Tensor, ""]:
    """1 - (sum of minima + 1) / (sum of maxima + 1) of alpha and mask per picture, averaged over pictures.

    Minima and maxima, not products, so that coverages between 0 and 1 on an outline can agree; the one pixel added
    keeps empty masks finite.
    """
    low, high = c.alpha.minimum(c.mask), c.alpha.maximum(c.mask)
    return (1 - (low.sum(dim=(1, 2, 3)) + 1) / (high.sum(dim=(1, 2, 3)) + 1)).mean()


def fringe(c: Comparison) -> Float[Tensor, ""]:
    """Mean excess of alpha (1 - alpha) over that of the mask: 0 for pictures as decided as the mask, at most 1/4."""
    return (c.alpha * (1 - c.alpha) - c.mask * (1 - c.mask)).clamp_min(0).mean()


def _mean_over(c: Comparison, values: Tensor, chosen: Tensor) -> Tensor:
    return (values * chosen).sum() / (values.shape[1] * c.batch_share(chosen.sum()))
