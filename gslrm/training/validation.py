"""Samples that are not trained on, scored during a run at given and at held-out cameras."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gslrm.config import Config
from gslrm.config_io import parse_view_list
from gslrm.data.lists import find_samples, require_images
from gslrm.data.sample import Sample, read_sample
from gslrm.reconstruct import Reconstruction, Reconstructor, choose_inputs
from gslrm.training.evaluate import Scores, ViewScore, choose_targets, picture, scalars, score_sample, spread, summarise


@dataclass(frozen=True)
class ValidationReport:
    """Scores under their logged names, and the grid of the first sample."""

    scalars: Scores
    picture: np.ndarray


@dataclass(frozen=True)
class _Case:
    sample: Sample
    inputs: tuple[int, ...]
    targets: tuple[int, ...]


class Validation:
    """The evenly spread samples of `validation.dataset_path` that a run is judged on."""

    def __init__(self, config: Config) -> None:
        """Read their camera files, so that what is wrong with them shows before the first pass.

        Raises:
            UserError: a sample is not there, cannot be read, or has not the views that are asked for.
        """
        validation = config.validation
        self.cases: list[_Case] = []
        if not validation.enabled:
            return
        directories = find_samples(Path(str(validation.dataset_path)))
        chosen = [directories[position] for position in spread(len(directories), validation.max_samples)]
        require_images(chosen)
        heldout = parse_view_list(validation.heldout_views or "all", option="validation.heldout_views")
        for directory in chosen:
            sample = read_sample(directory)
            inputs = choose_inputs(config, sample)
            self.cases.append(_Case(sample, inputs, choose_targets(sample, inputs, heldout)))

    def run(self, reconstructor: Reconstructor) -> ValidationReport:
        """Reconstruct and score every sample.

        Raises:
            UserError: an image is damaged.
        """
        scores: list[ViewScore] = []
        for case in self.cases:
            scores += score_sample(reconstructor, self._reconstruct(reconstructor, case), case.targets)
        first = self.cases[0]
        drawn = picture(reconstructor, self._reconstruct(reconstructor, first), first.targets)
        return ValidationReport(scalars(summarise(scores)), drawn)

    @staticmethod
    def _reconstruct(reconstructor: Reconstructor, case: _Case) -> Reconstruction:
        return reconstructor.reconstruct(reconstructor.place(case.sample, case.inputs))
