"""Scores of Gaussians themselves: golden values, invariances, what counts as a floater."""

import math
from dataclasses import replace

import pytest
import torch
from helpers import ball_coverage, random_gaussians, random_rotation, ring

from gslrm import metrics
from gslrm.metrics.geometry import MAX_QUERIES
from gslrm.similarity import Similarity
from gslrm.types import Gaussians, Views

CENTER, RADIUS = torch.tensor([48.0, 52.0, 45.0], dtype=torch.float64), 30.0


def gaussians_at(points: torch.Tensor, opacity: list[float] | float = 0.9) -> Gaussians:
    made = random_gaussians(len(points))
    opacities = torch.as_tensor(opacity, dtype=torch.float64).expand(len(points)).clone()
    return replace(made, means=points.double(), opacities=opacities)


def sphere(count: int, radius: float = RADIUS) -> torch.Tensor:
    """Evenly spread points (golden spiral)."""
    number = torch.arange(count, dtype=torch.float64) + 0.5
    z, angle = 1 - 2 * number / count, math.pi * (1 + 5**0.5) * number
    flat = (1 - z * z).sqrt()
    return CENTER + radius * torch.stack([flat * angle.cos(), flat * angle.sin(), z], dim=-1)


def ball_views(count: int = 6, size: int = 64, target: torch.Tensor = CENTER) -> list[Views]:
    cameras = ring(count, size=size)
    views = []
    for index in range(count):
        mask = torch.from_numpy(ball_coverage(cameras[index], target, RADIUS)).float()[None, None]
        views.append(Views(1 - mask.expand(1, 3, size, size), mask, cameras[index : index + 1]))
    return views


def test_effective_count_is_that_of_equals_and_ignores_what_is_not_drawn() -> None:
    points = sphere(10)
    assert metrics.gaussian_statistics(gaussians_at(points, 0.3))["effective_count"] == pytest.approx(10)
    mixed = metrics.gaussian_statistics(gaussians_at(points, [0.8, 0.4] + [0.001] * 8))
    assert mixed["count"] == 2
    assert mixed["effective_count"] == pytest.approx(1.2**2 / 0.8)


def test_statistics_are_quantiles_weighted_by_opacity() -> None:
    gaussians = replace(
        gaussians_at(sphere(3), [0.6, 0.3, 0.3]),
        scales=torch.tensor([[1.0, 2.0, 4.0], [1.0, 1.0, 1.0], [3.0, 1.0, 30.0]], dtype=torch.float64),
    )
    statistics = metrics.gaussian_statistics(gaussians)
    assert statistics["scale_median"] == 4 and statistics["scale_p99"] == 30
    assert statistics["anisotropy_median"] == 4
    assert statistics["opacity_median"] == 0.3
    assert statistics["haze"] == pytest.approx(0.5)


def test_statistics_of_transparent_gaussians_count_none() -> None:
    nothing = gaussians_at(sphere(4), 0.0)
    assert metrics.gaussian_statistics(nothing) == {"count": 0.0, "effective_count": 0.0}
    assert metrics.surface_scores(nothing, sphere(50)) == {"f_score": 0.0}
    with pytest.raises(ValueError, match="transparent"):
        metrics.floater_share(nothing, ball_views())


def test_gaussians_on_the_surface_have_no_distance_and_those_off_it_have_theirs() -> None:
    surface = sphere(3000)
    on = metrics.surface_scores(gaussians_at(surface), surface)
    assert on == pytest.approx({"accuracy": 0, "completeness": 0, "chamfer": 0, "f_score": 1}, abs=1e-9)
    inside = metrics.surface_scores(gaussians_at(sphere(3000, RADIUS - 5)), surface)
    assert inside == pytest.approx({"accuracy": 5, "completeness": 5, "chamfer": 5, "f_score": 0}, abs=0.05)


def test_half_a_surface_is_accurate_and_incomplete() -> None:
    surface = sphere(4000)
    upper = surface[surface[:, 2] > CENTER[2]]
    scores = metrics.surface_scores(gaussians_at(upper), surface)
    assert scores["accuracy"] == pytest.approx(0, abs=1e-9) and scores["completeness"] > 5
    assert scores["f_score"] == pytest.approx(2 / 3, abs=0.02)  # precision 1, recall 1/2


def test_faint_gaussians_weigh_as_little_as_they_show() -> None:
    surface = sphere(500)
    stray = CENTER[None] + torch.tensor([[RADIUS + 10.0, 0, 0]], dtype=torch.float64)
    points, opacity = torch.cat([surface, stray]), [0.9] * 500 + [0.2]
    scores = metrics.surface_scores(gaussians_at(points, opacity), surface)
    distance = (surface - stray).norm(dim=1).min().item()
    assert scores["accuracy"] == pytest.approx(distance * 0.2 / (500 * 0.9 + 0.2), rel=1e-6)


def test_large_clouds_are_scored_by_an_even_choice() -> None:
    surface = sphere(3 * MAX_QUERIES)
    scores = metrics.surface_scores(gaussians_at(sphere(4 * MAX_QUERIES, RADIUS + 1)), surface)
    assert scores["chamfer"] == pytest.approx(1.05, abs=0.05)  # to points 0.9 apart


def test_distances_follow_the_unit_and_shares_do_not() -> None:
    generator = torch.Generator().manual_seed(1)
    gaussians, surface = gaussians_at(sphere(400, RADIUS + 0.6)), sphere(900)
    gaussians = replace(gaussians, means=gaussians.means + torch.randn(400, 3, generator=generator).double())
    similarity = Similarity(
        torch.tensor(0.001).double(), random_rotation(3), torch.tensor([5.0, -2, 1], dtype=torch.float64)
    )
    before = metrics.surface_scores(gaussians, surface)
    after = metrics.surface_scores(gaussians.transform(similarity), similarity.apply(surface))
    assert 0 < before["f_score"] < 1
    assert after["f_score"] == pytest.approx(before["f_score"], abs=1e-6)
    for name in ("accuracy", "completeness", "chamfer"):
        assert after[name] == pytest.approx(0.001 * before[name], rel=1e-5)


def test_the_balls_own_points_do_not_float_and_those_far_out_do() -> None:
    views = ball_views()
    assert not metrics.outside_hull(sphere(500, RADIUS - 0.5), views).any()
    assert metrics.outside_hull(sphere(500, 2 * RADIUS), views).all()
    points = torch.cat([sphere(30, 5.0), sphere(10, 3 * RADIUS)])
    assert metrics.floater_share(gaussians_at(points, [0.9] * 30 + [0.3] * 10), views) == pytest.approx(3 / 30)


def test_the_tolerance_is_pixels_around_the_mask() -> None:
    views = ball_views(size=256)
    millimetres_per_pixel = 300 / (1.4 * 256)
    rim = sphere(500, RADIUS + 3 * millimetres_per_pixel)
    shares = [metrics.outside_hull(rim, views, tolerance=pixels).double().mean() for pixels in (0.0, 2.0, 5.0)]
    assert shares[0] > 0.7 and shares[0] > shares[1] > shares[2] == 0


def test_a_camera_that_has_a_point_outside_its_picture_cannot_accuse_it() -> None:
    views = ball_views()
    left = slice(0, 32)  # a camera that sees the left half only
    camera = replace(views[0].cameras, width=32)
    views[0] = Views(views[0].images[..., left].contiguous(), views[0].masks[..., left].contiguous(), camera)
    assert not metrics.outside_hull(sphere(500, RADIUS - 0.5), views).any()
    behind_all = CENTER[None] + torch.tensor([[0.0, 0.0, 5000.0]], dtype=torch.float64)
    assert metrics.outside_hull(behind_all, views).all()  # in no picture at all
