"""What the shipped model is held to, on mice of another body seen by a real rig (docs/models.md)."""

from dataclasses import dataclass

from gslrm.scorecard.results import Results
from gslrm.scorecard.settings import EVERYTHING, FLOAT32, PERMUTED_FLOAT32


@dataclass(frozen=True)
class Mark:
    """A figure and the bound that it must keep."""

    label: str
    found: float
    bound: float
    at_least: bool
    digits: int

    @property
    def is_met(self) -> bool:
        """Whether the figure keeps the bound."""
        return self.found >= self.bound if self.at_least else self.found <= self.bound


def marks_of(results: Results) -> list[Mark]:
    """Every mark whose figure was measured."""
    means, seconds = results.means(EVERYTHING), results.seconds
    found = [
        _least("psnr_crop, dB", means.get("psnr_crop"), 23.0, 2),
        _least("IoU", means.get("mask_iou"), 0.935, 3),
        _least("psnr_fg, dB", means.get("psnr_fg"), 20.0, 2),
        _least("ssim_crop", means.get("ssim_crop"), 0.865, 3),
        _most("median depth error, mm", means.get("depth_error"), 1.5, 2),
        _most("worst loss without one camera, dB", max(results.drop(s.name) for s in results.left_out()), 1.5, 2),
        _most("change by another order of views, dB", results.greatest_change(FLOAT32, PERMUTED_FLOAT32), 0.001, 4),
        _most("seconds per mouse, with reading", seconds["reconstruction"], 1.0, 2),
        _most("seconds of hull and network", seconds["forward"], 0.3, 2),
    ]
    return [mark for mark in found if mark is not None]


def _least(label: str, found: float | None, bound: float, digits: int) -> Mark | None:
    return None if found is None else Mark(label, found, bound, at_least=True, digits=digits)


def _most(label: str, found: float | None, bound: float, digits: int) -> Mark | None:
    return None if found is None else Mark(label, found, bound, at_least=False, digits=digits)
