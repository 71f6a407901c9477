"""Known figures of the prepared mice; skipped where the prepared material is not there."""

from functools import partial
from pathlib import Path

import pytest
import torch
from evaluation_helpers import CENTER, independent_scores, reconstructor

from gslrm.data.depth import read_depth
from gslrm.data.sample import read_sample
from gslrm.evaluation.baselines import ALL, Given
from gslrm.evaluation.scoring import score_methods
from gslrm.evaluation.summary import summarise
from gslrm.evaluation.truth import read_surface
from gslrm.types import Rendering

MICE = Path(__file__).parents[3] / "shared" / "data" / "mouse_eval"
GIVEN, HELDOUT = tuple(range(6)), tuple(range(6, 12))
pytestmark = pytest.mark.skipif(not MICE.is_dir(), reason="the prepared material is not on this machine")


@pytest.fixture(scope="module")
def scored():
    """Scores of two samples, with their samples and painters."""
    worker = reconstructor()
    views, painted = [], []
    for number in (0, 20):
        sample = read_sample(MICE / f"sample_{number:06d}")
        placed = worker.place(sample, GIVEN)
        truth = partial(worker.truth, placed)
        given = Given(tuple(truth(index) for index in GIVEN), placed.placement.center)
        painters = {name: baseline(given) for name, baseline in ALL.items()}
        painters["model"] = partial(true_picture, sample, truth)
        views += [score_methods(sample, GIVEN, index, painters, truth(index)) for index in HELDOUT]
        painted.append((sample, painters))
    return views, painted


def true_picture(sample, truth, camera) -> Rendering:
    (view,) = [view for view in sample.views if torch.equal(view.camera.position, camera.position)]
    return Rendering(truth(view.index).images, truth(view.index).masks, read_depth(view))


def test_ground_truth_gets_the_ideal_scores_except_from_colour(scored):
    model = summarise(scored[0])["heldout"]["model"]
    assert [model[name] for name in ("psnr", "psnr_fg", "psnr_crop", "ssim", "mask_iou")] == [100, 100, 100, 1, 1]
    assert model["depth_error"] == 0 and model["depth_within"] == pytest.approx(1, abs=0.01)
    assert 0.95 < model["mask_iou_colour"] < 1  # pale fur and pink feet look like paper


def test_white_paper_scores_as_it_is_known_to():
    worker, scores = reconstructor(), []
    for number in range(24):
        sample = read_sample(MICE / f"sample_{number:06d}")
        placed = worker.place(sample, GIVEN)
        for index in (6 + number % 6, 6 + (number + 3) % 6):
            truth = worker.truth(placed, index)
            scores.append(score_methods(sample, GIVEN, index, {"white": ALL["white"](Given((), CENTER))}, truth))
    assert all(12 < view.methods["white"]["psnr"] < 19 for view in scores)
    white = summarise(scores)["heldout"]["white"]
    assert 15 < white["psnr"] < 17 and 1.9 < white["psnr_fg"] < 3 and white["mask_iou"] == 0


def test_the_visual_hull_is_as_good_as_the_literature_says_silhouettes_are(scored):
    hull = summarise(scored[0])["heldout"]["visual_hull"]
    assert hull["mask_iou"] > 0.9 and hull["mask_recall"] > 0.99
    assert 18.5 < hull["psnr_crop"] < 23 and hull["psnr_fg"] > 23
    assert hull["depth_error"] < 1.0  # millimetres; 0.5 was measured elsewhere
    nearest = summarise(scored[0])["heldout"]["nearest_input"]
    assert hull["psnr_crop"] > nearest["psnr_crop"] + 8


def test_figures_equal_an_independent_scorers_of_the_stored_files(scored):
    views, painted = scored
    for sample, painters in painted[:1]:
        for index in HELDOUT[:2]:
            stored = sample.views[index]
            (view,) = [view for view in views if view.sample == sample.name and view.view == index]
            for method in ("white", "nearest_input", "visual_hull"):
                rendering = painters[method](stored.camera)
                rgb, alpha = rendering.rgb[0].permute(1, 2, 0).numpy(), rendering.alpha[0, 0].numpy()
                expected = independent_scores(stored.image_path, stored.mask_path, rgb, alpha)
                found = {name: view.methods[method][name] for name in expected}
                assert found == pytest.approx(expected, abs=1e-3)


def test_the_mesh_lies_on_the_surface_that_the_depth_pictures_show(scored):
    for sample, _ in scored[1]:
        vertices, view = read_surface(sample), sample.views[7]
        pixel, depth = view.camera.project(vertices)
        column, row = pixel.floor().long().unbind(-1)
        shown = read_depth(view)[0, 0][row.clamp(0, 511), column.clamp(0, 511)]
        gap = (depth - shown)[shown > 0]
        assert gap.quantile(0.1) > -1 and (gap.abs() < 1).double().mean() > 0.3  # the rest lies behind
