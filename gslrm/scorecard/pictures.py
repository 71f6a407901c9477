"""What a model paints at cameras it was not given, beside the nearest input, the truth, the error."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from gslrm.data.sample import Sample
from gslrm.evaluation.scoring import ViewScore
from gslrm.metrics import nearest_input_view
from gslrm.reconstruct import Reconstruction, Reconstructor
from gslrm.tensor_struct import stack
from gslrm.types import Views
from gslrm.visualize import MAX_ERROR, OUTSIDE, Column, Picture
from gslrm.visualize.colours import colour_ramp
from gslrm.visualize.sheet import Scale, with_scale

CELL = 288  # pixels
MARGIN = 0.15  # of the object's box, on either side
COLUMNS = ("nearest input", "truth", "prediction", "error")
SHOWN_VIEWS = 3


@dataclass(frozen=True)
class Window:
    """A square of a picture, in its pixels; it may reach over the border, where it is paper."""

    left: float
    top: float
    side: float


def sample_sheet(
    reconstructor: Reconstructor, sample: Sample, reconstruction: Reconstruction, scores: Sequence[ViewScore]
) -> Picture:
    """The worst views of a sample, a row each: nearest input, truth, prediction, error.

    Args:
        reconstructor: renders and reads.
        sample: whose views they are.
        reconstruction: of the sample.
        scores: of its held-out views.

    Raises:
        UserError: an image of the sample is missing or damaged.
    """
    ranked = sorted(scores, key=lambda score: score.model.get("psnr_crop", 0.0))[:SHOWN_VIEWS]
    rows = {}
    for score in sorted(ranked, key=lambda score: score.view):
        nearest = nearest_given(sample, reconstruction, score.view)
        rows[_label(sample, score, nearest)] = _cells(reconstructor, reconstruction, score.view, nearest)
    scale = Scale("error: mean |prediction - truth| over RGB,\ngrey where both are bare", 0.0, MAX_ERROR, open_end=True)
    return with_scale(rows, [Column(heading) for heading in COLUMNS], scale)


def nearest_given(sample: Sample, reconstruction: Reconstruction, view: int) -> int:
    """The input view from the most similar direction."""
    inputs = reconstruction.placed.input_index
    cameras = stack([camera.map(torch.clone) for camera in (sample.views[index].camera for index in inputs)])
    return inputs[int(nearest_input_view(sample.views[view].camera[None], cameras, reconstruction.center))]


def window_around(mask: Float[Tensor, "1 h w"]) -> Window:
    """The square about a mask's box, with a margin; the whole picture if it is empty."""
    rows, columns = ((mask[0] > 0.5).any(dim=axis).nonzero()[:, 0] for axis in (1, 0))
    if not len(rows):
        return Window(0.0, 0.0, float(max(mask.shape[-2:])))
    (top, bottom), (left, right) = ((float(line[0]), float(line[-1] + 1)) for line in (rows, columns))
    side = (1 + 2 * MARGIN) * max(bottom - top, right - left)
    return Window((left + right - side) / 2, (top + bottom - side) / 2, side)


def cut(image: Float[Tensor, "c h w"], window: Window, size: int = CELL, beyond: float = 1.0) -> Float[Tensor, "c s s"]:
    """A window of a picture at another size, `beyond` its border one grey level; averages where it is reduced."""
    fine = size * max(1, round(window.side / size))
    place = (torch.arange(fine) + 0.5) / fine * window.side
    height, width = image.shape[-2:]
    x, y = (window.left + place) / width * 2 - 1, (window.top + place) / height * 2 - 1
    grid = torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1)[None]
    sampled = torch.nn.functional.grid_sample(image[None] - beyond, grid, align_corners=False) + beyond
    return torch.nn.functional.interpolate(sampled, (size, size), mode="area")[0]


def _cells(
    reconstructor: Reconstructor, reconstruction: Reconstruction, view: int, nearest: int
) -> Float[Tensor, "4 3 s s"]:
    truth = reconstructor.truth(reconstruction.placed, view)
    given = reconstructor.truth(reconstruction.placed, nearest)
    rendering = reconstructor.render(reconstruction, truth.cameras[0])
    window = window_around(truth.masks[0])
    shown, target = cut(rendering.rgb[0].clamp(0, 1), window), cut(truth.images[0], window)
    covered = torch.maximum(cut(rendering.alpha[0], window, beyond=0.0), cut(truth.masks[0], window, beyond=0.0))
    heat = colour_ramp((shown - target).abs().mean(dim=0)[None, None] / MAX_ERROR)[0]
    error = torch.where(covered > 0.02, heat, torch.full_like(heat, OUTSIDE))
    return torch.stack([_input_cell(given), target, shown, error])


def _input_cell(given: Views) -> Float[Tensor, "3 s s"]:
    return cut(given.images[0], window_around(given.masks[0]))


def _label(sample: Sample, score: ViewScore, nearest: int) -> str:
    figures = f"psnr_crop {score.model.get('psnr_crop', 0.0):.1f} dB\nIoU {score.model.get('mask_iou', 0.0):.3f}"
    return (
        f"view {score.view}\n{score.camera}\n{figures}\n\nnearest input:\nview {nearest}\n{sample.views[nearest].name}"
    )
