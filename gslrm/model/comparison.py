"""What the loss terms look at."""

from collections.abc import Callable
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from gslrm.types import Batch, Gaussians, Rendering, Views

FOREGROUND = 0.5  # mask above which a pixel counts as foreground

BatchShare = Callable[[Tensor], Tensor]


def whole_batch(count: Tensor) -> Tensor:
    """A count over the batch of one process, at least 1."""
    return count.clamp_min(1)


@dataclass(frozen=True)
class Comparison:
    """Pictures [N, ., H, W] with batch and target views flattened, and the scenes [B] that they show.

    `depth` is z along the optical axis, 0 where nothing is; `background` the colour behind the object.

    Pixels and Gaussians that count differ in number from scene to scene. A term that divides by such a number takes
    `batch_share` of it: where several processes share a batch, the number over all of it divided by theirs, so that the
    mean of their terms is the term of the whole batch. Plain means need nothing, as all processes have as many scenes.
    """

    rendered: Float[Tensor, "n 3 h w"]
    alpha: Float[Tensor, "n 1 h w"]
    depth: Float[Tensor, "n 1 h w"]
    target: Float[Tensor, "n 3 h w"]
    mask: Float[Tensor, "n 1 h w"]
    background: Float[Tensor, "n 3 1 1"]
    gaussians: Gaussians
    batch: Batch
    batch_share: BatchShare = whole_batch

    @property
    def foreground(self) -> Float[Tensor, "n 1 h w"]:
        """1 where the mask exceeds one half, else 0."""
        return (self.mask > FOREGROUND).to(self.mask.dtype)

    @property
    def inputs(self) -> Views:
        """The input views [B, V], which the pixel Gaussians belong to."""
        return self.batch.input


def compare(
    gaussians: Gaussians, rendering: Rendering, batch: Batch, batch_share: BatchShare = whole_batch
) -> Comparison:
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
        batch_share=batch_share,
    )
