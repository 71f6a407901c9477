"""The visual hull holds the object, looks like it where it is convex, and knows nothing of held-out views."""

from dataclasses import replace

import pytest
import torch
from evaluation_helpers import CENTER, RADIUS, ball_depth, ball_view
from helpers import random_rotation, ring

from gslrm import metrics
from gslrm.evaluation.hull import Hull
from gslrm.similarity import Similarity
from gslrm.types import Views

CAMERAS = ring(12, size=96)
GIVEN = range(0, 12, 2)


@pytest.fixture(scope="module")
def hull() -> Hull:
    return Hull.of([ball_view(CAMERAS[index]) for index in GIVEN])


def test_the_hull_covers_the_object_wherever_one_looks_from(hull):
    for index in range(1, 12, 2):
        truth = ball_view(CAMERAS[index])
        rendering = hull.render(CAMERAS[index])
        assert metrics.mask_recall(rendering.alpha, truth.masks).item() > 0.99
        assert metrics.mask_iou(rendering.alpha, truth.masks).item() > 0.9


def test_at_given_cameras_the_hull_has_their_silhouette_colour_and_depth(hull):
    for index in GIVEN:
        truth, rendering = ball_view(CAMERAS[index]), hull.render(CAMERAS[index])
        scores = metrics.score_view(rendering.rgb[0], rendering.alpha[0], truth.images[0], truth.masks[0])
        assert scores["mask_iou"] > 0.97 and scores["psnr_fg"] > 25
        depth = ball_depth(CAMERAS[index])
        inner = rendering.alpha[0, 0] > 0.5
        # in front of the ball, or behind by less than a pixel, which is 2.2 mm here
        gap = (depth - rendering.depth[0, 0])[inner & (depth > 0)]
        assert gap.quantile(0.05) > -2.0 and gap.median() < 0.15 * RADIUS


def test_colours_are_those_of_the_surface_at_unseen_cameras(hull):
    truth, rendering = ball_view(CAMERAS[3]), hull.render(CAMERAS[3])
    assert metrics.psnr_foreground(rendering.rgb, truth.images, truth.masks).item() > 22
    assert rendering.rgb.min() >= 0 and rendering.rgb.max() <= 1
    outside = rendering.alpha == 0
    assert (rendering.rgb[outside.expand_as(rendering.rgb)] == 1).all() and (rendering.depth[outside] == 0).all()


def two_balls(camera) -> Views:
    """A large red ball with a small blue one beside it."""
    far, near = CENTER, CENTER + torch.tensor([38.0, 0.0, 8.0], dtype=torch.float64)
    depths = torch.stack([ball_depth(camera, far, RADIUS), ball_depth(camera, near, 12.0)])
    depths = torch.where(depths > 0, depths, torch.inf)
    first, which = depths.min(dim=0)
    colours = torch.tensor([[0.9, 0.1, 0.1], [0.1, 0.1, 0.9]])
    mask = first.isfinite()
    image = torch.where(mask[..., None], colours[which], torch.ones(3)).permute(2, 0, 1)
    return Views(image[None], mask.float()[None, None], camera[None])


@pytest.mark.parametrize("paint", [ball_view, two_balls])
@pytest.mark.parametrize("seen_from", [3, 9])
def test_rays_meet_the_hull_where_a_dense_search_finds_it(paint, seen_from):
    """The dense search shares no code with the kernels: 0.25 mm steps, nearest pixels of the masks."""
    views, camera = [paint(CAMERAS[index]) for index in GIVEN], CAMERAS[seen_from]
    rendering = Hull.of(views).render(camera)
    rows, columns = (rendering.alpha[0, 0] == 1).nonzero().unbind(-1)
    chosen = torch.arange(0, len(rows), 3)
    origin, direction = (part[rows[chosen], columns[chosen]] for part in camera.rays())
    middle = (CENTER - camera.position).norm()
    distance = middle + torch.arange(-3 * RADIUS, 2 * RADIUS, 0.25, dtype=torch.float64)
    points = origin[:, None] + distance[:, None] * direction[:, None]
    inside = ~metrics.outside_hull(points.flatten(0, 1), views, tolerance=0.0).unflatten(0, points.shape[:2])
    first = distance[inside.to(torch.uint8).argmax(dim=1)] * (direction @ camera.world_from_camera[:3, 2])
    error = (rendering.depth[0, 0][rows[chosen], columns[chosen]] - first)[inside.any(dim=1)].abs()
    assert len(error) > 200
    assert error.median() < 0.3 and error.quantile(0.9) < 1.0  # a pixel of the masks is 2.2 mm


def test_what_a_given_view_sees_in_front_is_not_painted_on_what_lies_behind():
    hull = Hull.of([two_balls(CAMERAS[index]) for index in GIVEN])
    wrong = []
    for index in range(1, 12, 2):
        truth, rendering = two_balls(CAMERAS[index]), hull.render(CAMERAS[index])
        red = (truth.masks[0, 0] > 0) & (truth.images[0, 0] > 0.8)
        wrong.append((rendering.rgb[0, 2] > 0.3)[red].double().mean())
    assert sum(wrong) / len(wrong) < 0.085  # 0.095 when what hides a point is ignored


def test_more_views_carve_more():
    few, many = (Hull.of([ball_view(CAMERAS[i]) for i in chosen]) for chosen in ((0, 4, 8), GIVEN))
    areas = [hull.render(CAMERAS[3]).alpha.sum() for hull in (few, many)]
    assert areas[0] > areas[1] > 0.98 * ball_view(CAMERAS[3]).masks.sum()


def test_the_unit_and_place_of_the_world_change_nothing(hull):
    similarity = Similarity(
        torch.tensor(0.001).double(), random_rotation(4), torch.tensor([7.0, -3, 2], dtype=torch.float64)
    )
    moved = [replace(v, cameras=v.cameras.transform(similarity)) for v in (ball_view(CAMERAS[i]) for i in GIVEN)]
    rendering = Hull.of(moved).render(CAMERAS[5].transform(similarity))
    expected = hull.render(CAMERAS[5])
    assert (rendering.alpha - expected.alpha).abs().mean() < 2e-3  # the grid turns with the world's axes
    both = (rendering.alpha > 0.9) & (expected.alpha > 0.9)
    torch.testing.assert_close(rendering.depth[both] * 1000, expected.depth[both], atol=3.0, rtol=0)


def test_given_views_may_have_different_sizes():
    sizes = [ring(12, size=64 + 16 * (index % 3))[index] for index in range(12)]
    hull = Hull.of([ball_view(sizes[index]) for index in GIVEN])
    truth = ball_view(CAMERAS[3])
    assert metrics.mask_iou(hull.render(CAMERAS[3]).alpha, truth.masks).item() > 0.9


def test_a_camera_that_cuts_the_object_does_not_carve_what_it_cannot_see():
    views = [ball_view(CAMERAS[index]) for index in GIVEN]
    camera = replace(views[0].cameras, width=48)  # the left half
    cut = Views(views[0].images[..., :48].contiguous(), views[0].masks[..., :48].contiguous(), camera)
    truth = ball_view(CAMERAS[3])
    recall = metrics.mask_recall(Hull.of([cut, *views[1:]]).render(CAMERAS[3]).alpha, truth.masks).item()
    assert recall > 0.99


def test_one_silhouette_makes_no_hull():
    seen, unseen = ball_view(CAMERAS[0]), ball_view(CAMERAS[2])
    empty = replace(unseen, masks=0 * unseen.masks, images=0 * unseen.images + 1)
    assert Hull.of([seen, empty]) is None
    assert Hull.of([seen]) is None


def test_a_mask_that_is_empty_by_mistake_empties_the_hull_without_failing():
    views = [ball_view(CAMERAS[index]) for index in GIVEN]
    views[1] = replace(views[1], masks=0 * views[1].masks, images=0 * views[1].images + 1)
    rendering = Hull.of(views).render(CAMERAS[3])
    assert rendering.alpha.max() == 0 and (rendering.rgb == 1).all()


def test_surface_points_lie_on_the_hull_and_carry_its_colours(hull):
    points, colours = hull.surface()
    distance = (points - CENTER).norm(dim=1)
    assert len(points) == len(colours) > 1000
    assert distance.quantile(0.02) > RADIUS - 1 and distance.median() < 1.15 * RADIUS
    expected = 0.5 + 0.4 * (points - CENTER) / RADIUS
    assert (colours - expected).abs().median() < 0.05
    assert 0.5 < hull.surface_spacing() < 5  # millimetres per pixel of 96 across the view


@pytest.mark.parametrize("view", [-1, 12])
def test_a_camera_inside_the_searched_space_gives_a_finite_picture(hull, view):
    near = torch.tensor([20.0, 5.0, 3.0], dtype=torch.float64)
    pose = CAMERAS[0].world_from_camera.clone()
    pose[:3, 3] = CENTER + (near if view < 0 else 10 * near)
    rendering = hull.render(replace(CAMERAS[0], world_from_camera=pose))
    assert all(value.isfinite().all() for value in (rendering.rgb, rendering.alpha, rendering.depth))
