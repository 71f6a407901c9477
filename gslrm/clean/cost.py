"""What fewer or rounded Gaussians cost in pictures."""

from collections.abc import Callable, Mapping, Sequence

from gslrm.cameras import Cameras
from gslrm.metrics import average, has_foreground, mask_iou, psnr_crop, psnr_foreground
from gslrm.types import Rendering, Views

Painter = Callable[[Cameras], Rendering]
Truths = Mapping[str, Sequence[Views]]


def measure(painter: Painter, truths: Truths) -> dict[str, dict[str, float]]:
    """Mean scores of a painter's pictures over the views of each kind, such as `input`, `heldout`; on white."""
    return {kind: average([_score(painter, view) for view in views]) for kind, views in truths.items() if views}


def cost(before: Painter, after: Painter, truths: Truths) -> dict[str, dict[str, dict[str, float]]]:
    """Scores before, after, the change, by kind of view then measure."""
    first, second = measure(before, truths), measure(after, truths)
    return {
        kind: {
            name: {"before": value, "after": second[kind][name], "change": second[kind][name] - value}
            for name, value in scores.items()
        }
        for kind, scores in first.items()
    }


def _score(painter: Painter, view: Views) -> dict[str, float]:
    rendering = painter(view.cameras[0])
    if not has_foreground(view.masks[0]):
        return {}
    return {
        "psnr_crop": psnr_crop(rendering.rgb, view.images, view.masks).item(),
        "psnr_fg": psnr_foreground(rendering.rgb, view.images, view.masks).item(),
        "mask_iou": mask_iou(rendering.alpha, view.masks).item(),
    }
