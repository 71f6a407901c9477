"""Cameras between the given ones see the whole object, and measure how much of a picture it covers."""

from dataclasses import replace

import pytest
import torch
from refine_helpers import DISTANCE, RADIUS, RASTERIZER, ball_targets, shell

from gslrm.refine.between import COARSER, WANDER, Between


def test_cameras_look_at_the_middle_from_between_the_given_ones_and_show_all_points():
    targets, points = ball_targets(), shell().means
    between = Between(targets, shell().means)
    given = torch.cat([target.view.cameras.position for target in targets])
    apart = []
    for _ in range(40):
        camera = between.camera()
        assert camera.position.norm().item() == pytest.approx(DISTANCE, rel=0.02)
        middle, ahead = camera.project(between.middle[None].float())
        column, row = middle[0].tolist()
        assert torch.allclose(camera.center, torch.tensor([column, row]), atol=1e-3)
        assert ahead.item() == pytest.approx(DISTANCE, rel=0.02)
        pixel, depth = camera.project(points)
        size = torch.tensor([camera.width, camera.height])
        assert (depth > 0).all()
        assert ((pixel >= 0) & (pixel <= size)).all(dim=1).float().mean() > 0.99
        cosine = torch.nn.functional.cosine_similarity(given, camera.position[None], dim=1)
        apart.append(float(cosine.max().clamp(max=1).acos()))
    assert max(apart) < torch.pi / 6 + 4 * WANDER
    assert min(apart) > 0
    assert len(set(apart)) == 40
    pixel = DISTANCE / (camera.focal.mean().item() * COARSER)
    assert pixel == pytest.approx(targets[0].pixel, rel=0.02)


def test_a_point_astray_makes_no_picture_larger():
    points = shell().means
    stray = torch.cat([points, torch.tensor([[1e6, 0.0, 0.0], [0.0, -1e6, 0.0]])])
    for _ in range(3):
        usual, beside = Between(ball_targets(), points).camera(), Between(ball_targets(), stray).camera()
        assert abs(beside.width - usual.width) <= 2
        assert abs(beside.height - usual.height) <= 2


@pytest.mark.parametrize("count", [1, 2, 5])
def test_of_few_points_all_are_shown(count):
    points = shell().means[:count]
    assert torch.equal(Between(ball_targets(), points).points, points.double())


def test_the_same_targets_give_the_same_cameras_again():
    first, second = (Between(ball_targets(), shell().means) for _ in range(2))
    for _ in range(3):
        one, other = first.camera(), second.camera()
        assert torch.equal(one.world_from_camera, other.world_from_camera)
        assert (one.width, one.height) == (other.width, other.height)


def test_an_opaque_ball_covers_what_its_silhouette_covers():
    targets = ball_targets()
    between = Between(targets, shell().means)
    covered = sum(float(target.view.masks.mean()) for target in targets) / len(targets)
    blurred = (1 + 2 * between.pixel / RADIUS) ** 2  # splats reach two pixels further
    for _ in range(6):
        area = 3 * float(between.area(shell(8000), RASTERIZER))  # full coverage counts a third
        assert covered < area < blurred * covered


def test_what_is_faint_counts_in_full_and_what_is_nearly_opaque_is_spared():
    between, ball = Between(ball_targets(), shell().means), shell()

    def pull(opacity: float) -> float:
        opacities = torch.full_like(ball.opacities, opacity).requires_grad_()
        camera_again = between.generator.get_state()
        between.area(replace(ball, opacities=opacities), RASTERIZER).backward()
        between.generator.set_state(camera_again)
        return float(opacities.grad.sum())

    faint, solid = pull(0.01), pull(0.9)
    assert faint > 0
    assert 0 <= solid < 0.05 * faint


@pytest.mark.parametrize("count", [2, 3])
def test_two_cameras_are_enough_and_opposite_ones_too(count):
    targets = ball_targets()[:count]
    if count == 2:
        targets = [ball_targets()[0], ball_targets()[3]]
    between = Between(targets, shell().means)
    for _ in range(10):
        assert between.area(shell(), RASTERIZER).isfinite()
