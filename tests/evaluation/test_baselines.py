"""Baselines see given views only, and score what they are known to score."""

import inspect

import pytest
import torch
from evaluation_helpers import CENTER, ball_view
from helpers import ring

from gslrm import metrics
from gslrm.evaluation.baselines import ALL, TRIVIAL, Given
from gslrm.evaluation.optimise import optimised
from gslrm.render import build_rasterizer

CAMERAS = ring(12, size=96)


@pytest.fixture(scope="module")
def given() -> Given:
    return Given(tuple(ball_view(CAMERAS[index]) for index in range(0, 12, 2)), CENTER)


@pytest.mark.parametrize("name", ALL)
def test_a_painter_is_given_a_camera_and_never_the_truth(name, given):
    painter = ALL[name](given)
    assert len(inspect.signature(painter).parameters) == 1
    rendering = painter(CAMERAS[3])
    assert rendering.rgb.shape == (1, 3, 96, 96) and rendering.alpha.shape == rendering.depth.shape == (1, 1, 96, 96)


def test_the_mean_colour_is_the_best_single_colour_of_the_given_views(given):
    painter = TRIVIAL["mean_colour"](given)
    painted = painter(CAMERAS[0]).rgb[0, :, 0, 0]
    torch.testing.assert_close(painted, torch.cat([view.images for view in given.views]).mean(dim=(0, 2, 3)))
    errors = [
        sum(((v.images[0] - c[:, None, None]) ** 2).mean() for v in given.views) for c in (painted, painted + 0.02)
    ]
    assert errors[0] < errors[1]


def test_the_nearest_input_is_copied_but_never_onto_itself(given):
    painter = TRIVIAL["nearest_input"](given)
    copied = painter(CAMERAS[3]).rgb
    assert any(torch.equal(copied, view.images) for view in given.views)
    own = given.views[2]
    other = painter(own.cameras[0]).rgb
    assert not torch.equal(other, own.images)
    assert any(torch.equal(other, view.images) for view in given.views)


def test_more_knowledge_scores_higher(given):
    truth = ball_view(CAMERAS[3])
    crops = {
        name: metrics.psnr_crop(baseline(given)(CAMERAS[3]).rgb, truth.images, truth.masks).item()
        for name, baseline in ALL.items()
    }
    assert crops["visual_hull"] > crops["nearest_input"] + 1 > crops["white"] + 1


def test_optimised_gaussians_start_from_the_hull_and_fit_the_given_views(given):
    rasterizer, device = build_rasterizer("cpu", device="cpu"), torch.device("cpu")
    truth = given.views[1]
    scores = []
    for seconds in (0.0, 1.5):
        rendering = optimised(rasterizer, seconds, device=device)(given)(truth.cameras[0])
        scores.append(metrics.psnr_crop(rendering.rgb, truth.images, truth.masks).item())
        assert metrics.mask_iou(rendering.alpha, truth.masks).item() > 0.75
        assert 150 < rendering.depth[rendering.alpha > 0.9].median() < 500  # in the sample's own millimetres
    assert scores[1] > scores[0] + 1


def test_without_two_silhouettes_nothing_is_carved_or_fitted():
    lone = Given((ball_view(CAMERAS[0]),), CENTER)
    assert ALL["visual_hull"](lone) is None
    assert optimised(build_rasterizer("cpu", device="cpu"), 1.0, device=torch.device("cpu"))(lone) is None
