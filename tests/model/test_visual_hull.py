"""Dropping the background and measuring depth from the hull change speed and start, and break no law."""

from dataclasses import replace

import pytest
import torch
from helpers import ball_coverage, ring
from model_helpers import small_model

from gslrm.model.visual_hull import first_hits, hull_coverage
from gslrm.tensor_struct import stack
from gslrm.types import Views

RADIUS = 30.0
CENTER = torch.tensor([50.0, 52.0, 45.0], dtype=torch.float64)


@pytest.fixture(scope="module")
def ball() -> Views:
    """A ball at the origin seen by eight cameras, in units of 100 mm, [1, 8]."""
    cameras = ring(8, size=64)
    pose = cameras.world_from_camera.clone()
    pose[:, :3, 3] = (pose[:, :3, 3] - CENTER) / 100
    cameras = replace(cameras, world_from_camera=pose, focal=2.5 * cameras.focal)
    covered = [ball_coverage(cameras[index], torch.zeros(3, dtype=torch.float64), RADIUS / 100) for index in range(8)]
    masks = torch.stack([torch.from_numpy(mask).float()[None] for mask in covered])
    return Views(masks.expand(-1, 3, -1, -1) * 0.5, masks, cameras.float())[None]


def test_rays_hit_a_ball_near_its_surface(ball):
    wanted = ball.masks[:, :, 0] > 0.5
    hits = first_hits(ball, wanted, half_range=0.9, samples=80)
    origin, direction = ball.cameras.rays()
    points = (origin + hits[..., None] * direction)[wanted]
    toward_camera = (origin[wanted] * points).sum(-1) > 0
    error = points.norm(dim=-1) - RADIUS / 100
    assert error.median().abs() < 0.02  # the hull of eight silhouettes is a little larger than the ball
    assert (error > -0.02).float().mean() > 0.97  # and never smaller but for pixels on outlines
    assert toward_camera.float().mean() > 0.97  # the near side, not the far one


def test_a_ray_that_misses_every_silhouette_keeps_a_finite_depth(ball):
    empty = Views(ball.images, torch.zeros_like(ball.masks), ball.cameras)
    hits = first_hits(empty, torch.ones_like(ball.masks[:, :, 0], dtype=torch.bool), half_range=0.9, samples=20)
    assert hits.isfinite().all()


def test_coverage_is_the_least_of_all_views_and_nothing_outside_pictures(ball):
    points = torch.tensor([[0.0, 0, 0], [0.0, 0, 5.0], [0.6, 0, 0]])
    assert hull_coverage(points, ball.masks[0], ball.cameras[0]).tolist() == [1, 0, 0]


@pytest.mark.parametrize("anchor", ["ray", "hull"])
def test_background_has_no_opacity_and_its_patches_change_nothing(ball, anchor):
    model = small_model(drop_background=True, depth_anchor=anchor, image_tokenizer={"image_size": 64}).eval()
    patches = torch.nn.functional.max_pool2d(ball.masks[0], 8)
    assert patches.mean() < 0.7  # so that something is dropped at all
    far = torch.nn.functional.interpolate(patches, scale_factor=8)[None] < 0.1
    repainted = Views(torch.where(far, torch.rand_like(ball.images), ball.images), ball.masks, ball.cameras)
    with torch.no_grad():
        plain, other = model(ball), model(repainted)
    count = model.config.gaussians.n_gaussians
    assert (plain.opacities[0, count:] > 0).sum() == (ball.masks > 0.1).sum()
    torch.testing.assert_close(other.means, plain.means, atol=1e-6, rtol=0)
    torch.testing.assert_close(other.harmonics, plain.harmonics, atol=1e-6, rtol=0)


def test_a_scene_does_not_depend_on_the_others_of_its_batch(ball):
    smaller = torch.nn.functional.pad(ball.masks[0][:, :, 8:-8, 8:-8], (8, 8, 8, 8))
    other = Views(ball.images[0], smaller, ball.cameras[0])
    model = small_model(drop_background=True, depth_anchor="hull", image_tokenizer={"image_size": 64}).eval()
    with torch.no_grad():
        together, alone = model(stack([ball[0], other])), model(ball)
    torch.testing.assert_close(together.means[0], alone.means[0], atol=1e-6, rtol=0)
    torch.testing.assert_close(together.opacities[0], alone.opacities[0], atol=1e-6, rtol=0)


def test_gradients_reach_every_weight_through_the_dropped_sequence(ball):
    model = small_model(drop_background=True, depth_anchor="hull", image_tokenizer={"image_size": 64})
    gaussians = model(ball)
    (
        gaussians.means.square().sum() + gaussians.opacities.sum() + gaussians.harmonics.sum() + gaussians.scales.sum()
    ).backward()
    assert all(parameter.grad is not None and parameter.grad.isfinite().all() for parameter in model.parameters())
