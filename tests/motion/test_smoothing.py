"""Smoothing over time: even motion is untouched, jitter shrinks, bends are cut by no more than is promised."""

import pytest
import torch

from gslrm.motion.smoothing import departures, smooth_over_time

VELOCITY = torch.tensor([120.0, -30.0, 4.0], dtype=torch.float64)  # mm/s: a walking mouse


def noise(count: int, size: float) -> torch.Tensor:
    generator = torch.Generator().manual_seed(count)
    return size * torch.randn(count, 3, generator=generator, dtype=torch.float64)


def seconds(count: int) -> torch.Tensor:
    return torch.arange(count, dtype=torch.float64) / 100


@pytest.mark.parametrize("reach", [0, 1, 2, 5, 50])
@pytest.mark.parametrize("missing", [(), (4, 5, 6, 11)])
def test_constant_velocity_is_preserved_exactly_at_the_ends_and_across_gaps(reach, missing):
    at = torch.tensor([time for index, time in enumerate(seconds(20).tolist()) if index not in missing])
    path = at.double()[:, None] * VELOCITY + 7
    torch.testing.assert_close(smooth_over_time(at.tolist(), path, reach=reach), path, atol=1e-9, rtol=0)
    torch.testing.assert_close(departures(at.tolist(), path), torch.zeros(len(at) - 2).double(), atol=1e-9, rtol=0)


@pytest.mark.parametrize(("reach", "kept"), [(1, 0.75), (3, 0.5), (5, 0.4)])
def test_jitter_about_constant_velocity_shrinks(reach, kept):
    at = seconds(200)
    path = at[:, None] * VELOCITY
    rough = path + noise(200, 1.0)
    smooth = smooth_over_time(at.tolist(), rough, reach=reach)
    left = float((smooth - path).norm() / (rough - path).norm())
    assert left < kept
    jitter = departures(at.tolist(), smooth).mean() / departures(at.tolist(), rough).mean()
    assert float(jitter) < kept / 1.5
    speed = ((at - at.mean())[:, None] * smooth).sum(dim=0) / (at - at.mean()).square().sum()
    assert float((speed - VELOCITY).norm()) < 0.01 * float(VELOCITY.norm())


@pytest.mark.parametrize("reach", [1, 3, 5])
def test_a_bend_is_cut_by_less_than_promised(reach):
    at = seconds(60)
    acceleration = 5000.0  # mm/s^2: a mouse that jumps off
    path = torch.zeros(60, 3, dtype=torch.float64)
    path[:, 0] = 0.5 * acceleration * at.square()
    moved = (smooth_over_time(at.tolist(), path, reach=reach) - path).norm(dim=1)
    assert 0 < float(moved.max()) < 0.5 * acceleration * ((reach + 1) / 100) ** 2


def test_the_start_of_a_dash_is_no_outlier():
    at = seconds(40)
    path = torch.zeros(40, 3, dtype=torch.float64)
    path[:, 0] = 0.5 * 5000 * (at - 0.2).clamp_min(0).square()
    moved = (smooth_over_time(at.tolist(), path, reach=3) - path).norm(dim=1)
    assert float(moved.max()) < 0.8  # 0.6 mm; 1.0 where the dash itself is taken for outliers
    corner = (at - 0.2).clamp_min(0)[:, None] * 10 * VELOCITY
    moved = (smooth_over_time(at.tolist(), corner, reach=3) - corner).norm(dim=1)
    assert float(moved.max()) < float(VELOCITY.norm()) * 10 * 0.01  # within one frame's way


@pytest.mark.parametrize("index", [1, 2, 17, 37, 38])
def test_a_frame_that_leaves_and_returns_does_not_pull_its_neighbours(index):
    at = seconds(40)
    path = at[:, None] * VELOCITY
    spoiled = path + noise(40, 0.05)
    spoiled[index] += 30
    smooth = smooth_over_time(at.tolist(), spoiled, reach=3)
    assert float((smooth - path).norm(dim=1).max()) < 0.3


def test_scale_and_origin_of_the_values_do_not_matter():
    at = seconds(30)
    path = noise(30, 1.0)
    other = smooth_over_time(at.tolist(), 1000 * path + 5, reach=3)
    torch.testing.assert_close(other, 1000 * smooth_over_time(at.tolist(), path, reach=3) + 5)


@pytest.mark.parametrize("count", [1, 2])
def test_one_or_two_frames_stay_as_they_are(count):
    path = noise(count, 1.0)
    assert torch.equal(smooth_over_time(seconds(count).tolist(), path, reach=3), path)


def test_times_that_do_not_ascend_are_refused():
    with pytest.raises(ValueError, match="ascend"):
        smooth_over_time([0.0, 0.0, 1.0], noise(3, 1.0), reach=1)
