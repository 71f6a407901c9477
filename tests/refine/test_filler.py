"""Fillers lie where no silhouette doubts the object, and keep cameras from looking through it."""

from dataclasses import replace

import pytest
import torch
from refine_helpers import COLOUR, DISTANCE, RADIUS, RASTERIZER, SIZE, ball_targets, cameras, shell

from gslrm.harmonics import degree_0_from_rgb
from gslrm.refine.filler import DEEP, filler, hidden, inner_depth
from gslrm.tensor_struct import concatenate


def test_the_middle_of_a_ball_is_as_deep_as_its_radius_and_what_one_view_denies_is_not_inside():
    targets = ball_targets()
    pixel = DISTANCE / (1.6 * SIZE)
    assert inner_depth(torch.zeros(1, 3), targets).item() == pytest.approx(RADIUS, abs=1.5 * pixel)
    outside = 1.1 * RADIUS * torch.nn.functional.normalize(torch.randn(500, 3), dim=-1)
    near = inner_depth(outside, targets)
    assert near.max() < 0.1 * RADIUS  # above and below, hulls of rings are larger than the ball
    assert (inner_depth(outside[:, :2].new_tensor([[1.2 * RADIUS, 0, 0], [0, -1.2 * RADIUS, 0]]), targets) == 0).all()
    behind = 1.5 * targets[0].view.cameras.position.float()  # projects to the middle of the first picture
    assert inner_depth(behind, targets[:1]).item() == 0


def test_fillers_lie_deep_inside_and_none_reaches_the_silhouettes():
    targets = ball_targets()
    fillers = filler(shell(), targets, 300, rasterizer=RASTERIZER)
    depth = inner_depth(fillers.means, targets)
    size = torch.pi**0.5 * RADIUS
    assert len(depth) == 300
    assert depth.min() > 0.9 * DEEP * size
    assert (3 * fillers.scales.amax(dim=1) <= depth * 1.001).all()
    assert torch.allclose(fillers.harmonics, degree_0_from_rgb(COLOUR).expand(300, 1, 3), atol=1e-5)
    assert torch.equal(fillers.means, filler(shell(), targets, 300, rasterizer=RASTERIZER).means)


def test_a_camera_that_was_not_given_no_longer_looks_through_what_the_surface_lacks():
    targets, whole = ball_targets(), shell()
    belt = whole[whole.means[:, 2].abs() < 0.6 * RADIUS]
    unseen = cameras(1, turn=0.5, height=20.0).float()
    drawn = []
    for gaussians in (belt, concatenate([belt, filler(belt, targets, 500, rasterizer=RASTERIZER)])):
        alpha = RASTERIZER(gaussians[None], unseen[None], torch.ones(1, 3))[0].alpha[0, 0]
        drawn.append(alpha[SIZE // 2 - 3 : SIZE // 2 + 3, SIZE // 2 - 3 : SIZE // 2 + 3].mean())
    assert drawn[0] < 0.1
    assert drawn[1] > 0.9


def test_what_a_given_camera_sees_before_the_gaussians_is_a_hollow_and_stays_empty():
    targets, whole = ball_targets(), shell(8000)
    points = 0.6 * RADIUS * torch.nn.functional.normalize(whole.means, dim=-1)
    half = whole[whole.means[:, 0] < 0]  # the masks still show a ball
    assert hidden(points, whole, targets, RASTERIZER).all()
    assert not hidden(points[points[:, 0] > 0.3 * RADIUS], half, targets, RASTERIZER).any()
    assert (filler(half, targets, 300, rasterizer=RASTERIZER).means[:, 0] < 0.3 * RADIUS).all()


def test_nothing_is_added_where_none_is_asked_for_or_nothing_is_deep_or_seen():
    whole = shell()
    apart = [*ball_targets()[:3], *ball_targets(0.01)[3:]]  # a speck in the pictures of three cameras
    faint = replace(whole, opacities=0.01 * torch.ones(2000))
    for gaussians, targets, count in ((whole, ball_targets(), 0), (faint, ball_targets(), 50), (whole, apart, 50)):
        assert len(filler(gaussians, targets, count, rasterizer=RASTERIZER).means) == 0
