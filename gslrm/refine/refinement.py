"""Refinement that a user can leave switched on: tried without one given camera, kept only if that camera gains."""

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch

from gslrm.config import RefineConfig
from gslrm.reconstruct import Reconstruction, Reconstructor
from gslrm.refine.fit import Fit
from gslrm.refine.target import Look, Target, look
from gslrm.refine.trial import NEIGHBOURS, Trial, choose_left_out, try_out
from gslrm.types import Gaussians, Views

NOT_ASKED = "no steps were asked for"
FEW = "fewer than three given views show the object, so that none can be left out to judge"
NO_GAIN = "the camera left out did not gain"
NO_FIT = "the given views did not gain"


@dataclass(frozen=True)
class Refinement:
    """A reconstruction, refined or as it was, with what was seen on the way."""

    reconstruction: Reconstruction
    report: dict[str, Any]
    """As JSON takes it: steps `asked` for and taken (`steps`), whether `accepted` or else the `reason`, the `start`,
    how many `gaussians` there are now, the `seconds`. `left_out`, with its `view` and `camera`, and `given`, the mean
    of all given views, hold `before` and `after`, each with `psnr_crop` in dB and `iou`."""


def refine(
    reconstructor: Reconstructor,
    reconstruction: Reconstruction,
    steps: int,
    *,
    views: Sequence[Views] | None = None,
    start: Reconstruction | None = None,
) -> Reconstruction:
    """The reconstruction after at most `steps` steps, or as it was; see `judged_refinement`."""
    return judged_refinement(reconstructor, reconstruction, steps, views=views, start=start).reconstruction


def judged_refinement(
    reconstructor: Reconstructor,
    reconstruction: Reconstruction,
    steps: int,
    *,
    views: Sequence[Views] | None = None,
    start: Reconstruction | None = None,
) -> Refinement:
    """Fit the Gaussians to the given views, for as many steps as are good for a view that is left out.

    First the sample is predicted and fitted without one camera. Only if that camera gains are the Gaussians fitted to
    all given views, for the number of steps that it found good.

    Args:
        reconstructor: made the reconstruction.
        reconstruction: where the fit begins; it is not changed.
        steps: the most that are taken.
        views: the given views [1] at their own size and cameras, on white; read from the sample's files by default.
        start: the result of the frame before, taken instead where it shows the given views better.

    Raises:
        UserError: an image of the sample is missing or damaged.
    """
    begun = time.monotonic()
    run = _Run.of(reconstructor, reconstruction, steps, views)
    if not steps or len(run.targets) <= NEIGHBOURS:
        refined, report = None, {"reason": FEW if steps else NOT_ASKED}
    else:
        refined, report = run.judged(None if start is None else _in_world_of(reconstruction, start))
    if refined is not None:
        reconstruction = replace(reconstruction, gaussians=refined)
    outcome = {"asked": steps, "steps": 0, "accepted": refined is not None, **report}
    cost = {"gaussians": len(reconstruction.gaussians.means), "seconds": round(time.monotonic() - begun, 3)}
    return Refinement(reconstruction, outcome | cost)


@dataclass(frozen=True)
class _Run:
    """One sample on its way; `places` are those of the targets among the input views."""

    reconstructor: Reconstructor
    reconstruction: Reconstruction
    steps: int
    targets: tuple[Target, ...]
    places: tuple[int, ...]

    @staticmethod
    def of(
        reconstructor: Reconstructor, reconstruction: Reconstruction, steps: int, views: Sequence[Views] | None
    ) -> "_Run":
        placed = reconstruction.placed
        given = views or [reconstructor.truth(placed, index) for index in placed.input_index]
        targets = [Target.of(view, placed.placement) for view in given]
        found = [(target, place) for place, target in enumerate(targets) if target is not None]
        return _Run(
            reconstructor,
            reconstruction,
            steps,
            tuple(target for target, _ in found),
            tuple(place for _, place in found),
        )

    @property
    def prediction(self) -> Gaussians:
        return self.reconstruction.gaussians

    @property
    def config(self) -> RefineConfig:
        return self.reconstructor.config.inference.refine

    def config_from(self, earlier: Gaussians | None) -> RefineConfig:
        """The settings of a fit; one that goes on from an earlier frame's was thinned out and filled already."""
        return self.config if earlier is None else self.config.model_copy(update={"share": 1.0, "fill": 0})

    def judged(self, earlier: Gaussians | None) -> tuple[Gaussians | None, dict[str, Any]]:
        """The fit to all targets if it is good, else none, with the report; it may begin at an `earlier` frame's."""
        before = self.look(self.prediction)
        if earlier is not None and not self.look(earlier).better_than(before):
            earlier = None
        left_out = choose_left_out(torch.cat([target.view.cameras.position for target in self.targets]))
        trial = self.trial(left_out, earlier)
        fitted = self.fitted(earlier, trial.steps)
        after = self.look(fitted)
        accepted = trial.steps > 0 and after.better_than(before)
        verdict: dict[str, Any] = {"steps": trial.steps} if accepted else {"reason": NO_FIT if trial.steps else NO_GAIN}
        return fitted if accepted else None, {
            **verdict,
            "start": "prediction" if earlier is None else "frame before",
            "left_out": self.describe(left_out, trial),
            "given": {"before": asdict(before), "after": asdict(after if accepted else before)},
        }

    def look(self, gaussians: Gaussians) -> Look:
        """What the given views see."""
        return look(gaussians, self.targets, self.reconstructor.rasterizer)

    def trial(self, left_out: int, earlier: Gaussians | None) -> Trial:
        """Predict and fit without one target."""
        prediction = self._predicted_without(self.places[left_out])
        return try_out(
            prediction,
            start=prediction if earlier is None else earlier,
            targets=[target for index, target in enumerate(self.targets) if index != left_out],
            left_out=self.targets[left_out],
            rasterizer=self.reconstructor.rasterizer,
            config=self.config_from(earlier),
            steps=self.steps,
        )

    def fitted(self, earlier: Gaussians | None, steps: int) -> Gaussians:
        """The Gaussians after steps towards all targets."""
        start, config = self.prediction if earlier is None else earlier, self.config_from(earlier)
        fit = Fit(start, self.targets, rasterizer=self.reconstructor.rasterizer, config=config, steps=self.steps)
        for _ in range(steps):
            fit.step()
        return fit.gaussians

    def describe(self, left_out: int, trial: Trial) -> dict[str, Any]:
        """The trial for a report."""
        placed = self.reconstruction.placed
        index = placed.input_index[self.places[left_out]]
        (view,) = placed.sample.select((index,))
        looks = [{"step": step, **asdict(seen)} for step, seen in trial.looks]
        return {
            "view": index,
            "camera": view.name,
            "before": asdict(trial.before),
            "after": asdict(trial.after),
            "looks": looks,
        }

    def _predicted_without(self, place: int) -> Gaussians:
        placed = self.reconstruction.placed
        kept = [other for other in range(len(placed.input_index)) if other != place]
        fewer = replace(
            placed, input=placed.input[kept], input_index=tuple(placed.input_index[other] for other in kept)
        )
        return self.reconstructor.reconstruct(fewer).gaussians


def _in_world_of(reconstruction: Reconstruction, other: Reconstruction) -> Gaussians:
    """The Gaussians of another reconstruction of the same recording in the network's world of this one."""
    world_from_source = reconstruction.placed.placement.world_from_source
    return other.in_source().transform(world_from_source)
