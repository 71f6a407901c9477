"""An evaluation as a machine-readable report and as text."""

from collections.abc import Sequence
from typing import Any

from gslrm.evaluation.bootstrap import LEVEL, RESAMPLES, SEED
from gslrm.evaluation.protocol import describe_folds
from gslrm.evaluation.scoring import SampleScore, Scores, ViewScore
from gslrm.evaluation.summary import gains, intervals, per_camera, summarise
from gslrm.evaluation.table import camera_table, geometry_table, table
from gslrm.metrics import average

PROTOCOL = (
    "Held-out views are cameras that were not given to the model for that sample. Where a sample has none to spare, "
    "each input camera in turn is left out, the sample reconstructed from the others, and the one left out scored. "
    "Views are scored at their own size on white; scores are means over the views of a sample, then over samples; "
    "intervals are percentile bootstraps over samples. Scores of the foreground leave views without it out."
)


class Evaluation:
    """All scores of a data set, sample by sample."""

    def __init__(self) -> None:
        self.views: list[ViewScore] = []
        self.samples: list[SampleScore] = []

    def add(self, views: Sequence[ViewScore], sample: SampleScore) -> None:
        """Add what `score_folds` found of one sample."""
        self.views += views
        self.samples.append(sample)

    @property
    def geometry(self) -> Scores:
        """Means over samples of the scores of their Gaussians."""
        return average([sample.geometry for sample in self.samples])

    def content(self) -> dict[str, Any]:
        """Everything, as JSON takes it: see docs/evaluation.md."""
        rotated = [sample for sample in self.samples if len(sample.folds) > 1]
        return {
            "protocol": {
                "description": PROTOCOL,
                "leave_one_out": bool(rotated),
                "samples": len(self.samples),
                "bootstrap": {"resamples": RESAMPLES, "level": LEVEL, "seed": SEED, "unit": "sample"},
            },
            "summary": summarise(self.views),
            "intervals": intervals(self.views),
            "gains": gains(self.views),
            "geometry": self.geometry,
            "cameras": per_camera(self.views),
            "samples": [self._sample(sample) for sample in self.samples],
            "views": [_view(view) for view in self.views],
        }

    def text(self) -> str:
        """Tables for a terminal."""
        summary = summarise(self.views)
        parts = [
            f"{len(self.samples)} samples",
            table(summary, intervals(self.views)),
            camera_table(per_camera(self.views)),
            geometry_table(self.geometry),
        ]
        return "\n\n".join(part for part in parts if part)

    def _sample(self, sample: SampleScore) -> dict[str, Any]:
        views = [view for view in self.views if view.directory == sample.directory]
        return {
            "sample": sample.sample,
            "directory": sample.directory,
            **describe_folds(sample.folds),
            "means": summarise(views),
            "geometry": sample.geometry,
        }


def _view(view: ViewScore) -> dict[str, Any]:
    nearest = {"nearest": view.methods["nearest_input"]} if "nearest_input" in view.methods else {}
    others = {name: scores for name, scores in view.methods.items() if name != "nearest_input"}
    return {
        "sample": view.sample,
        "directory": view.directory,
        "view": view.view,
        "camera": view.camera,
        "is_input": view.is_input,
        "inputs": list(view.inputs),
        **others,
        **nearest,
    }
