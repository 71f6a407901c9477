"""The held-out protocol: score renderings at cameras that were given to the model apart from those that were not.

Every view is scored at its own size and intrinsics. Two figures stand beside every score, an all-white picture and a
copy of the nearest (other) input view, because full-image PSNR on white paper means nothing alone.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from gslrm.data.placed_sample import load_targets, mask_policy
from gslrm.data.sample import Sample
from gslrm.errors import UserError
from gslrm.metrics import average, nearest_input_view, score_view, white_baseline
from gslrm.reconstruct import WHITE, Reconstruction, Reconstructor
from gslrm.tensor_struct import concatenate
from gslrm.types import Rendering, Views
from gslrm.visualize import gt_vs_pred_grid

Scores = dict[str, float]


@dataclass(frozen=True)
class ViewScore:
    """Scores of one view of one sample, and of the two baselines on it."""

    sample: str
    view: int
    is_input: bool
    model: Scores
    white: Scores
    nearest: Scores


def score_sample(
    reconstructor: Reconstructor, reconstruction: Reconstruction, targets: Sequence[int]
) -> Iterator[ViewScore]:
    """Score the asked views of a reconstructed sample, one at a time.

    Raises:
        UserError: an image of the sample is missing or damaged.
    """
    placed = reconstruction.placed
    inputs = {index: reconstructor.truth(placed, index) for index in placed.input_index}
    for index in targets:
        truth = inputs.get(index) or reconstructor.truth(placed, index)
        others = [view for other, view in inputs.items() if other != index] or list(inputs.values())
        given = concatenate([view.cameras for view in others])
        nearest = nearest_input_view(truth.cameras, given, reconstruction.center)
        yield ViewScore(
            sample=placed.sample.name,
            view=index,
            is_input=index in inputs,
            model=score(reconstructor.render(reconstruction, truth.cameras[0]), truth),
            white=score(white_baseline(truth), truth),
            nearest=score(_copy(others[int(nearest)], truth), truth),
        )


def score(rendering: Rendering, truth: Views) -> Scores:
    """All scores of one view [1, ...]."""
    return score_view(rendering.rgb[0], rendering.alpha[0], truth.images[0], truth.masks[0])


def summarise(scores: Sequence[ViewScore]) -> dict[str, dict[str, Scores]]:
    """Means over views, then samples, for `input` and `heldout` views: `model`, `white` and `nearest_input`."""
    summary = {}
    for name, is_input in (("input", True), ("heldout", False)):
        chosen = [view for view in scores if view.is_input == is_input]
        if chosen:
            summary[name] = {
                "model": _mean(chosen, "model"),
                "white": _mean(chosen, "white"),
                "nearest_input": _mean(chosen, "nearest"),
            }
    return summary


def table(summary: dict[str, dict[str, Scores]]) -> str:
    """The summary as plain text, one line per method."""
    names = ("psnr_fg", "psnr_crop", "mask_iou", "ssim_crop", "psnr", "ssim")
    lines = [f"{'':30}" + "".join(f"{name:>11}" for name in names)]
    for views, methods in summary.items():
        for method, scores in methods.items():
            figures = "".join(f"{scores[name]:11.3f}" if name in scores else f"{'-':>11}" for name in names)
            lines.append(f"{views + ' views, ' + method:30}{figures}")
    if "heldout" not in summary:
        lines.append("no view was held out: scores at input views do not show that any 3D was learned")
    return "\n".join(lines)


def scalars(summary: dict[str, dict[str, Scores]]) -> Scores:
    """The summary under its logged names: val/... for input views, val_heldout/... for the others."""
    prefixes = {"input": "val", "heldout": "val_heldout"}
    logged: Scores = {}
    for views, methods in summary.items():
        for method, scores in methods.items():
            infix = "" if method == "model" else f"{method}_"
            logged |= {f"{prefixes[views]}/{infix}{name}": value for name, value in scores.items()}
    return logged


def choose_targets(sample: Sample, inputs: Sequence[int], heldout: Sequence[int] | None) -> tuple[int, ...]:
    """Input views and held-out views of a sample, ascending; by default every view that is not input is held out.

    Raises:
        UserError: a held-out view is also input, so that its score would not be held out.
    """
    if heldout is None:
        return tuple(range(len(sample.views)))
    both = sorted(set(heldout) & set(inputs))
    if both:
        raise UserError(f"views {both} are asked for as held-out but are input; their score would not be held-out")
    return tuple(sorted({*inputs, *heldout}))


@torch.inference_mode()
def picture(reconstructor: Reconstructor, reconstruction: Reconstruction, targets: Sequence[int]) -> np.ndarray:
    """The users' gt_vs_pred grid at the network's own crops, views in ascending order."""
    placed = reconstruction.placed
    policy = mask_policy(reconstructor.dataset, reconstructor.config.mouse)
    truth = load_targets(placed, tuple(targets), policy, WHITE)
    device = reconstructor.runtime.device
    rendering = reconstructor.rasterizer(
        reconstruction.gaussians[None], truth.cameras[None].to(device), WHITE[None].to(device)
    )
    return gt_vs_pred_grid(truth, rendering[0].to("cpu"), view_index=targets)


def spread(count: int, wanted: int) -> list[int]:
    """At most `wanted` of `count` positions, evenly spread."""
    return sorted({round(position) for position in np.linspace(0, count - 1, min(count, wanted))})


def _mean(views: Sequence[ViewScore], method: str) -> Scores:
    by_sample: dict[str, list[Scores]] = {}
    for view in views:
        by_sample.setdefault(view.sample, []).append(getattr(view, method))
    return average([average(scores) for scores in by_sample.values()])


def _copy(source: Views, truth: Views) -> Rendering:
    size = truth.images.shape[-2:]
    resized = [torch.nn.functional.interpolate(x, size, mode="bilinear") for x in (source.images, source.masks)]
    return Rendering(resized[0], resized[1], torch.zeros_like(truth.masks))
