"""Scores of a sample under one setting, at the cameras that no setting gives."""

from dataclasses import replace
from functools import cache, partial

from gslrm.data.sample import CAMERA_FILE, Sample
from gslrm.errors import UserError
from gslrm.evaluation.baselines import ALL
from gslrm.evaluation.disturbance import Received
from gslrm.evaluation.scoring import ViewScore, score_sample
from gslrm.reconstruct import Reconstruction, Reconstructor
from gslrm.refine import refine
from gslrm.scorecard.settings import Setting


def held_out(sample: Sample, every: tuple[int, ...], asked: tuple[int, ...] | None = None) -> tuple[int, ...]:
    """The views to compare: those asked for, or all that no setting gives.

    Raises:
        UserError: there are none, the sample lacks one, or one of them is given.
    """
    targets = tuple(view for view in range(len(sample.views)) if view not in every) if asked is None else asked
    sample.select((*every, *targets))
    given = sorted(set(targets) & set(every))
    if given:
        raise UserError(f"--target-views: views {given} are input views, their scores would prove nothing")
    if not targets:
        raise UserError(
            f"{sample.directory / CAMERA_FILE}: all of its {len(sample.views)} views are input, so that none is left "
            "to compare; give fewer with --input-views, or use scripts/evaluate.py, which leaves each out in turn"
        )
    return targets


def score_setting(
    reconstructor: Reconstructor, sample: Sample, setting: Setting, *, every: tuple[int, ...], targets: tuple[int, ...]
) -> list[ViewScore]:
    """Scores of the held-out views; the truth is never disturbed.

    Raises:
        UserError: an image of the sample is missing or damaged.
    """
    if setting.float32:
        reconstructor = replace(reconstructor, runtime=replace(reconstructor.runtime, amp_dtype=None))
    received = Received(reconstructor, sample, setting.disturbance)
    reconstruction = reconstruct(received, setting.inputs(sample, every), steps=setting.refine)
    scores = score_sample(
        reconstructor,
        reconstruction,
        targets,
        baselines={name: ALL[name] for name in setting.baselines},
        truth=cache(partial(reconstructor.truth, reconstruction.placed)),
        given=received.view,
    )
    return list(scores)


def reconstruct(received: Received, inputs: tuple[int, ...], *, steps: int = 0) -> Reconstruction:
    """One forward pass, and gradient steps where they are asked for."""
    predicted = received.reconstructor.reconstruct(received.place(inputs))
    if not steps:
        return predicted
    return refine(received.reconstructor, predicted, steps, views=[received.view(index) for index in inputs])
