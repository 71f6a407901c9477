"""Samples that are not trained on, scored during a run at given and at held-out cameras."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from gslrm.config import Config
from gslrm.config_io import parse_view_list
from gslrm.data.lists import find_samples, require_images
from gslrm.data.placed_sample import load_targets, mask_policy
from gslrm.data.sample import Sample, read_sample
from gslrm.evaluation.baselines import ALL, TRIVIAL, Baseline
from gslrm.evaluation.memorising import HELDOUT, INPUT, Validated, is_memorising, read_history
from gslrm.evaluation.protocol import Fold, plan, spread
from gslrm.evaluation.scoring import MODEL, Scores, ViewScore, score_folds
from gslrm.evaluation.split import overlap
from gslrm.evaluation.summary import scalars, summarise
from gslrm.metrics import average
from gslrm.reconstruct import WHITE, Reconstruction, Reconstructor, choose_inputs
from gslrm.training.processes import ALONE, Processes, merge
from gslrm.visualize import gt_vs_pred_grid

MEMORISING = "val/memorising"
GEOMETRY = ("count", "effective_count", "floaters", "haze", "chamfer", "f_score")  # logged as val/gaussians_*
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ValidationReport:
    """Scores under their logged names, and in process 0 the grid of the first sample."""

    scalars: Scores
    picture: np.ndarray | None


@dataclass(frozen=True)
class _Case:
    sample: Sample
    folds: tuple[Fold, ...]


class Validation:
    """The evenly spread samples of `validation.dataset_path` that a run is judged on."""

    def __init__(self, config: Config, metrics: Path | None = None) -> None:
        """Read their camera files, so that what is wrong with them shows before the first pass.

        Args:
            config: its `validation` section says what is scored and how.
            metrics: metrics.jsonl of the run, whose validations so far count in judging whether it memorises.

        Raises:
            UserError: a sample is not there, cannot be read, or has not the views that are asked for.
        """
        validation = config.validation
        self.cases: list[_Case] = []
        self.metrics = metrics
        self.history: list[Validated] | None = None
        self.pause: Callable[[], object] = lambda: None  # called before each reconstruction; may end it by an exception
        self.baselines: Mapping[str, Baseline] = ALL if validation.visual_hull else TRIVIAL
        self._scored: dict[tuple[str, int, bool], Mapping[str, Scores]] = {}
        if not validation.enabled:
            return
        directories = find_samples(Path(str(validation.dataset_path)))
        _warn_of_overlap(config, directories)
        chosen = [directories[position] for position in spread(len(directories), validation.max_samples)]
        require_images(chosen)
        asked = validation.heldout_views
        heldout = None if asked is None else parse_view_list(asked, option="validation.heldout_views")
        for directory in chosen:
            sample = read_sample(directory)
            folds = plan(sample, choose_inputs(config, sample), heldout, validation.protocol)
            self.cases.append(_Case(sample, folds))

    @property
    def holds_out(self) -> bool:
        """Whether any view that is scored is not given to the model."""
        return any(fold.heldout for case in self.cases for fold in case.folds)

    def run(self, reconstructor: Reconstructor, processes: Processes = ALONE) -> ValidationReport:
        """Reconstruct and score every sample; warn when the run learns its input pictures instead of the object.

        Each sample is scored by one of the processes, and all get the same means over all of them.

        Raises:
            UserError: an image is damaged.
        """
        baselines = {} if self._scored else self.baselines
        own = [self._score(reconstructor, case, baselines) for case in processes.share_of(self.cases)]
        scored = merge(processes.gather(own))
        values = scalars(summarise([view for views, _ in scored for view in views]))
        shape = average([geometry for _, geometry in scored])
        values |= {f"val/gaussians_{name}": shape[name] for name in GEOMETRY if name in shape}
        if not processes.main:
            return ValidationReport(values, None)
        return ValidationReport(values | self._judge(values), self._picture(reconstructor))

    def _score(
        self, reconstructor: Reconstructor, case: _Case, baselines: Mapping[str, Baseline]
    ) -> tuple[list[ViewScore], Scores]:
        """A sample's views and the scores of its Gaussians."""

        def reconstruct(inputs: tuple[int, ...]) -> Reconstruction:
            self.pause()
            return reconstructor.reconstruct(reconstructor.place(case.sample, inputs))

        views, judged = score_folds(
            reconstructor, case.sample, case.folds, baselines=baselines, reconstruct=reconstruct
        )
        return [self._with_baselines(view) for view in views], judged.geometry

    def _with_baselines(self, view: ViewScore) -> ViewScore:
        """The view with the scores of the baselines, which are those of the first validation."""
        key = (view.directory, view.view, view.is_input)
        known = self._scored.setdefault(key, {name: s for name, s in view.methods.items() if name != MODEL})
        return replace(view, methods={MODEL: view.model, **known})

    def _judge(self, values: Scores) -> Scores:
        if INPUT not in values or HELDOUT not in values:
            return {}
        if self.history is None:
            self.history = [] if self.metrics is None else read_history(self.metrics)
        self.history.append(Validated(values[INPUT], values[HELDOUT]))
        memorising = is_memorising(self.history)
        if memorising:
            logger.warning(
                "the model is learning its input pictures, not the object: at input views psnr_crop rose to %.2f dB "
                "while at held-out cameras it fell to %.2f dB; use more or other training samples, stop earlier, or "
                "lower training.optimizer.lr",
                *self.history[-1],
            )
        return {MEMORISING: float(memorising)}

    def _picture(self, reconstructor: Reconstructor) -> np.ndarray:
        case = self.cases[0]
        fold = case.folds[0]
        shown = tuple(sorted({*fold.inputs, *fold.targets}))
        return picture(reconstructor, reconstructor.reconstruct(reconstructor.place(case.sample, fold.inputs)), shown)


@torch.inference_mode()
def picture(reconstructor: Reconstructor, reconstruction: Reconstruction, targets: tuple[int, ...]) -> np.ndarray:
    """The users' gt_vs_pred grid at the network's own crops, views in ascending order."""
    placed = reconstruction.placed
    policy = mask_policy(reconstructor.dataset, reconstructor.config.mouse)
    truth = load_targets(placed, targets, policy, WHITE)
    device = reconstructor.runtime.device
    rendering = reconstructor.rasterizer(
        reconstruction.gaussians[None], truth.cameras[None].to(device), WHITE[None].to(device)
    )
    given = [view in placed.input_index for view in targets]
    names = [placed.sample.views[view].name for view in targets]
    return gt_vs_pred_grid(truth, rendering[0].to("cpu"), view_index=targets, names=names, is_input=given)


def _warn_of_overlap(config: Config, judged: list[Path]) -> None:
    trained = find_samples(Path(str(config.training.dataset.dataset_path)))
    warning = overlap(trained, judged, frame_gap=config.validation.min_frame_gap).warning()
    if warning:
        logger.warning("validation.dataset_path: %s", warning)
