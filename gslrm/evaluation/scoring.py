"""Reconstructions to scores, view by view, of the model and of the baselines on the same pictures.

Every view is scored at its own size and intrinsics, on white.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial

from gslrm.data.depth import read_depth
from gslrm.data.sample import Sample
from gslrm.evaluation.baselines import TRIVIAL, Baseline, Given, Painter
from gslrm.evaluation.protocol import Fold
from gslrm.evaluation.truth import perceptual_distance, read_surface
from gslrm.metrics import average, floater_share, gaussian_statistics, score, surface_scores
from gslrm.reconstruct import Reconstruction, Reconstructor
from gslrm.types import Views

Scores = dict[str, float]
Truth = Callable[[int], Views]
Reconstruct = Callable[[tuple[int, ...]], Reconstruction]
MODEL = "model"


@dataclass(frozen=True)
class ViewScore:
    """Scores of one view of one sample, by method: `model` and the baselines."""

    directory: str
    sample: str
    view: int
    camera: str
    inputs: tuple[int, ...]
    methods: Mapping[str, Scores]

    @property
    def is_input(self) -> bool:
        """Whether the view was given to the model."""
        return self.view in self.inputs

    @property
    def model(self) -> Scores:
        """The model's scores."""
        return self.methods[MODEL]


@dataclass(frozen=True)
class SampleScore:
    """One sample: how it was judged, and the scores of its Gaussians, means over its reconstructions."""

    directory: str
    sample: str
    folds: tuple[Fold, ...]
    geometry: Scores


def score_folds(
    reconstructor: Reconstructor,
    sample: Sample,
    folds: Sequence[Fold],
    *,
    baselines: Mapping[str, Baseline],
    reconstruct: Reconstruct | None = None,
    given: Truth | None = None,
) -> tuple[list[ViewScore], SampleScore]:
    """Reconstruct a sample as its folds say and score it; images are read once.

    Args:
        reconstructor: the trained network.
        sample: whose views they are.
        folds: what is given and what compared, see `gslrm.evaluation.protocol.plan`.
        baselines: what stands beside the model.
        reconstruct: input views to Gaussians instead of one forward pass, say with refinement.
        given: input views as the model is given them, where they are disturbed.

    Raises:
        UserError: an image of the sample is missing or damaged.
    """
    forward = reconstruct or (lambda inputs: reconstructor.reconstruct(reconstructor.place(sample, inputs)))
    truth: Truth | None = None
    scores: list[ViewScore] = []
    geometry: list[Scores] = []
    for fold in folds:
        reconstruction = forward(fold.inputs)
        truth = truth or cache(partial(reconstructor.truth, reconstruction.placed))
        scores += score_sample(
            reconstructor, reconstruction, fold.targets, baselines=baselines, truth=truth, given=given
        )
        geometry.append(score_geometry(reconstruction, [truth(view) for view in {*fold.inputs, *fold.targets}]))
    return scores, SampleScore(str(sample.directory), sample.name, tuple(folds), average(geometry))


def score_sample(
    reconstructor: Reconstructor,
    reconstruction: Reconstruction,
    targets: Sequence[int],
    *,
    baselines: Mapping[str, Baseline] = TRIVIAL,
    truth: Truth | None = None,
    given: Truth | None = None,
    painter: Painter | None = None,
) -> Iterator[ViewScore]:
    """Score the asked views of a reconstructed sample, one at a time.

    Baselines that rely on masks and cameras are made of the input views as the model was `given` them, of the true
    ones if that is not said. `painter` has the model's pictures where they are rendered already.

    Raises:
        UserError: an image of the sample is missing or damaged.
    """
    placed = reconstruction.placed
    truth = truth or cache(partial(reconstructor.truth, placed))
    exact, received = (
        Given(tuple(look(index) for index in placed.input_index), reconstruction.center)
        for look in (truth, given or truth)
    )
    painters: dict[str, Painter | None] = {MODEL: painter or partial(reconstructor.render, reconstruction)}
    painters |= {name: baseline(exact if name in TRIVIAL else received) for name, baseline in baselines.items()}
    usable = {name: painter for name, painter in painters.items() if painter is not None}
    for index in targets:
        yield score_methods(placed.sample, placed.input_index, index, usable, truth(index))


def score_methods(
    sample: Sample, inputs: tuple[int, ...], index: int, painters: Mapping[str, Painter], truth: Views
) -> ViewScore:
    """Scores of all painters at one view of a sample.

    Raises:
        UserError: the sample's depth of this view is damaged.
    """
    (view,) = sample.select((index,))
    depth, perceptual = read_depth(view), perceptual_distance()
    camera = truth.cameras[0]
    scores = {
        name: score(painter(camera), truth, depth if name not in TRIVIAL else None, perceptual=perceptual)
        for name, painter in painters.items()
    }
    return ViewScore(str(sample.directory), sample.name, index, view.name, inputs, scores)


def score_geometry(reconstruction: Reconstruction, views: Sequence[Views]) -> Scores:
    """Scores of the Gaussians themselves, in the sample's world: statistics, floaters, distance to the true mesh.

    Floaters are judged by the masks of all given and compared views.

    Raises:
        UserError: the sample's mesh is damaged.
    """
    gaussians = reconstruction.in_source().to("cpu").detach()
    scores = gaussian_statistics(gaussians)
    if scores["count"]:
        scores["floaters"] = floater_share(gaussians, views)
    surface = read_surface(reconstruction.placed.sample)
    return scores if surface is None else scores | surface_scores(gaussians, surface)
