"""What the loss terms look at."""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from gslrm.types import Batch, Gaussians, Rendering, Views

FOREGROUND = 0.5  # mask above which a pixel counts as foreground


@dataclass(frozen=True)
class Comparison:
    """Pictures [N, ., H, W] with batch and target views flattened, and the scenes [B] that they show.

    `depth` is z along the optical axis, 0 where nothing is; `background` the colour behind the object.
    """

    rendered: Float[Tensor, "n 3 h w"]
    alpha: Float[Tensor, "n 1 h w"]
    depth: Float[Tensor, "n 1 h w"]
    target: Float[Tensor, "n 3 h w"]
    mask: Float[Tensor, "n 1 h w"]
    background: Float[Tensor, "n 3 1 1"]
    gaussians: Gaussians
    batch: Batch

    @property
    def foreground(self) -> Float[Tensor, "n 1 h w"]:
        """1 where the mask exceeds one half, else 0."""
        return (self.mask > FOREGROUND).to(self.mask.dtype)

    @property
    def inputs(self) -> Views:
        """The input views [B, V], which the pixel Gaussians belong to."""
        return self.batch.input


def compare(gaussians: Gaussians, rendering: Rendering, batch: Batch) -> Comparison:
    """Flatten batch and target views."""
    views = batch.target.images.shape[1]
    return Comparison(
        rendered=rendering.rgb.flatten(0, 1),
        alpha=rendering.alpha.flatten(0, 1),
        depth=rendering.depth.flatten(0, 1),
        target=batch.target.images.flatten(0, 1),
        mask=batch.target.masks.flatten(0, 1),
        background=batch.background.repeat_interleave(views, dim=0)[:, :, None, None],
        gaussians=gaussians,
        batch=batch,
    )
