"""Rays meet the hull where a plain march says, whatever is skipped on the way, and bad masks can be tolerated."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from model_helpers import ball_views

from gslrm.cameras import nearest_to_origin
from gslrm.config import HullConfig
from gslrm.model.hull_guide import look, shrink, uncomposited
from gslrm.model.hull_rays import PackedViews, colour_agreement, sharpen, trace
from gslrm.model.visual_hull import hull_coverage
from gslrm.types import Views

RADIUS = 0.3
CONFIG = HullConfig()


@pytest.fixture(scope="module")
def ball() -> Views:
    return ball_views(8, radius=RADIUS, size=64)


def plain_march(views: Views, rays, *, samples: int = 4000):
    """Distance of the first crossing of each ray, and the length inside from there: every point is looked at."""
    middle = nearest_to_origin(rays.origin, rays.direction)[0]
    offsets = torch.linspace(-CONFIG.half_range, CONFIG.half_range, samples)
    first, thick = [], []
    for index in range(len(middle)):
        distance = middle[index] + offsets
        others = [view for view in range(len(views.masks)) if view != int(rays.pixels[index, 0])]
        points = rays.origin[index] + distance[:, None] * rays.direction[index]
        inside = hull_coverage(points, views.masks[others], views.cameras[others]) >= 0.5
        at = int(inside.to(torch.uint8).argmax())
        until = at + int((~inside[at:]).to(torch.uint8).argmax())
        first.append(float(distance[at]) if inside.any() else float("nan"))
        thick.append(float(distance[until] - distance[at]))
    return torch.tensor(first), torch.tensor(thick)


def test_skipping_along_a_ray_changes_neither_the_first_crossing_nor_the_thickness(ball):
    traced = trace(PackedViews.of(ball), ball.masks[:, 0] > 0.5, CONFIG)
    chosen = traced[torch.arange(0, len(traced.best), 37)]
    first, thick = plain_march(ball, chosen)
    assert torch.equal(first.isfinite(), chosen.hit)
    spacing = 2 * CONFIG.half_range / 4000
    near = (chosen.distance - first).abs()[chosen.hit]
    assert near.quantile(0.99) < 0.001 + spacing  # a step is 0.007: crossings are interpolated
    assert (chosen.thickness - thick).abs()[chosen.hit].quantile(0.99) < 0.002 + spacing


def test_rays_hit_the_near_side_of_a_ball(ball):
    traced = trace(PackedViews.of(ball), ball.masks[:, 0] > 0.5, CONFIG)
    error = traced.points.norm(dim=1) - RADIUS
    assert error.median().abs() < 0.02
    assert (error > -0.02).float().mean() > 0.97
    assert ((traced.origin * traced.points).sum(dim=1) > 0).float().mean() > 0.97


def test_a_ray_that_misses_takes_its_best_point_and_says_so(ball):
    faint = replace(ball, masks=torch.cat([ball.masks[:1], 0.4 * ball.masks[1:]]))
    wanted = torch.zeros_like(ball.masks[:, 0], dtype=torch.bool)
    wanted[0, 32, 32] = True
    ray = trace(PackedViews.of(faint), wanted, CONFIG)
    assert not ray.hit.any()
    assert abs(float(ray.best) - 0.4) < 0.01
    assert ray.points.norm() < RADIUS + 0.05
    assert ray.thickness == 0


def test_empty_masks_give_finite_rays(ball):
    empty = replace(ball, masks=torch.zeros_like(ball.masks))
    traced = trace(PackedViews.of(empty), torch.ones_like(ball.masks[:, 0], dtype=torch.bool), CONFIG)
    assert traced.distance.isfinite().all()
    assert not traced.hit.any()


def test_a_lone_view_has_no_hull(ball):
    traced = trace(PackedViews.of(ball[:1]), ball.masks[:1, 0] > 0.5, CONFIG)
    assert traced.distance.isfinite().all()
    assert not traced.hit.any()


def test_one_bad_mask_carves_everything_unless_it_is_tolerated(ball):
    bad = replace(ball, masks=torch.cat([ball.masks[:-1], torch.zeros_like(ball.masks[-1:])]))
    wanted = ball.masks[:, 0] > 0.5
    wanted[-1] = False
    strict = trace(PackedViews.of(bad), wanted, CONFIG)
    lenient = trace(PackedViews.of(bad), wanted, CONFIG.model_copy(update={"tolerated": 1}))
    assert not strict.hit.any()
    assert lenient.hit.float().mean() > 0.99
    assert (lenient.points.norm(dim=1) - RADIUS).abs().median() < 0.03


def test_a_view_that_does_not_have_a_point_in_its_picture_says_nothing(ball):
    away = ball.cameras.center.clone()
    away[-1] += 500.0
    aside = replace(ball, cameras=replace(ball.cameras, center=away))
    wanted = ball.masks[:, 0] > 0.5
    wanted[-1] = False
    assert trace(PackedViews.of(aside), wanted, CONFIG).hit.float().mean() > 0.99


def test_the_order_of_views_does_not_matter(ball):
    order = torch.tensor([3, 0, 7, 1, 6, 2, 5, 4])
    straight = trace(PackedViews.of(ball), ball.masks[:, 0] > 0.5, CONFIG)
    turned = trace(PackedViews.of(ball[order]), ball.masks[order, 0] > 0.5, CONFIG)
    for place, view in enumerate(order.tolist()):
        of_view, at_place = straight.pixels[:, 0] == view, turned.pixels[:, 0] == place
        for name in ("distance", "thickness", "best"):
            assert torch.equal(getattr(turned, name)[at_place], getattr(straight, name)[of_view]), name


def test_how_far_an_outline_is_does_not_depend_on_where_memory_lies(ball):
    between, found = [], set()
    for size in range(60):
        between.append(np.empty(97 * size, np.uint8))  # what is allocated next lies elsewhere
        found.add(PackedViews.of(ball).clear.tobytes())
    assert len(found) == 1


def test_fine_rays_agree_with_rays_marched_from_far(ball):
    config = CONFIG.model_copy(update={"detail": 2})
    packed, wanted = PackedViews.of(ball), ball.masks[:, 0] > 0.4
    coarse = trace(packed, shrink(ball, 2).masks[:, 0] > 0.1, config)
    fine, far = sharpen(packed, coarse, wanted, config), trace(packed, wanted, CONFIG)
    assert torch.equal(fine.pixels, far.pixels)
    assert (fine.hit == far.hit).float().mean() > 0.999
    assert (fine.distance - far.distance).abs()[far.hit].quantile(0.99) < 0.002


def test_colours_agree_on_a_surface_and_not_behind_it():
    views = ball_views(8, radius=RADIUS, size=64, striped=True)
    packed, wanted = PackedViews.of(views), views.masks[:, 0] > 0.9
    rays = trace(packed, wanted, CONFIG)
    colours = uncomposited(views)
    own = colours.permute(0, 2, 3, 1)[tuple(rays.pixels.unbind(1))]
    channels = colour_agreement(packed, colours, own, rays, grid=(64, 64), offsets=(0.0, 0.15))
    assert channels.shape == (len(rays.best), 8)
    seen = channels[:, 3] > 0
    assert seen.float().mean() > 0.9
    surface, behind = channels[seen][:, 5].mean(), channels[seen][:, 7].mean()
    assert surface < 0.6 * behind


def test_colours_are_those_of_the_object_whatever_lies_behind(ball):
    soft = replace(ball, masks=0.5 * ball.masks)
    for background in (1.0, 0.2):
        images = 0.3 * soft.masks + (1 - soft.masks) * background
        found = uncomposited(replace(soft, images=images.expand(-1, 3, -1, -1)))
        covered = soft.masks.expand_as(found) > 0.4
        np.testing.assert_allclose(found[covered], 0.3, atol=1e-4)


def test_a_guide_covers_exactly_the_covered_pixels(ball):
    guide = look(ball, ball, CONFIG)
    assert len(guide.colour) == int((ball.masks > CONFIG.covered).sum())
    assert guide.hints.shape == (8, 6, 64, 64)
    assert (guide.pixel > 0).all()
