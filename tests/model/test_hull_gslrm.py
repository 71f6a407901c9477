"""The corrected hull starts as the coloured hull, departs from it where it is told to, and breaks no law of GS-LRM."""

from dataclasses import replace

import pytest
import torch
from model_helpers import ball_views, small_model

from gslrm.config import ModelConfig
from gslrm.errors import UserError
from gslrm.harmonics import rgb_from_degree_0
from gslrm.model.hull_gslrm import HullGSLRM
from gslrm.render import build_rasterizer
from gslrm.tensor_struct import stack
from gslrm.types import Gaussians, Views

RADIUS = 0.3
FIELDS = ("means", "scales", "rotations", "opacities", "harmonics")


def hull_model(size: int = 32, hull: dict | None = None, **changes: object) -> torch.nn.Module:
    settings = {
        "depth_anchor": "corrected_hull", "drop_background": True, "depth_range": 0.25,
        "image_tokenizer": {"image_size": size, "patch_size": 8},
        "gaussians": {"n_gaussians": 2, "opacity_bias": 0.85, "scale_max": -2.0}, "hull": hull or {},
    }  # fmt: skip
    return small_model(**(settings | changes)).eval()


def stirred(model: torch.nn.Module) -> torch.nn.Module:
    """The model away from its start, where the last layer is 0."""
    torch.nn.init.normal_(model.pixel_gaussian_decoder[1].weight, std=0.1)
    return model


@pytest.fixture(scope="module")
def ball() -> Views:
    return ball_views(6, radius=RADIUS, size=32)[None]


def surface(gaussians: Gaussians, free: int = 2) -> Gaussians:
    return gaussians[0][free:]


def test_before_training_gaussians_lie_on_the_ball_in_its_colour(ball):
    with torch.no_grad():
        start = surface(hull_model()(ball))
    assert (start.means.norm(dim=1) - RADIUS).abs().median() < 0.02
    torch.testing.assert_close(
        rgb_from_degree_0(start.harmonics[:, 0]), torch.full_like(start.means, 0.3), atol=2e-3, rtol=0
    )
    assert len(start.means) == int((ball.masks > 0.4).sum())


def test_before_training_opacity_is_coverage_times_one_number_and_size_is_that_of_a_pixel(ball):
    with torch.no_grad():
        start = surface(hull_model(hull={"scale": 0.35})(ball))
    view, row, column = (ball.masks[0, :, 0] > 0.4).nonzero().unbind(1)
    coverage = ball.masks[0, view, 0, row, column]
    torch.testing.assert_close(start.opacities, coverage * torch.sigmoid(torch.tensor(0.85)))
    pixel = (start.means - ball.cameras.position[0, view]).norm(dim=1) / ball.cameras.focal[0, view].amax(dim=1)
    torch.testing.assert_close(start.scales, (0.35 * pixel)[:, None].expand(-1, 3), atol=1e-5, rtol=1e-3)


def test_a_token_speaks_of_its_own_pixels(ball):
    model = stirred(hull_model(transformer={"d": 32, "d_head": 16, "n_layer": 1}))
    torch.nn.init.zeros_(model.transformer_layers[0].attn.fc.weight)  # tokens see nothing of each other
    repainted = replace(ball, images=ball.images.clone())
    repainted.images[0, 2, :, 8:16, 16:24] *= 0.5
    with torch.no_grad():
        moved = (surface(model(repainted)).means - surface(model(ball)).means).norm(dim=1) > 1e-6
    view, row, column = (ball.masks[0, :, 0] > 0.4).nonzero().unbind(1)
    patch = (view == 2) & (row // 8 == 1) & (column // 8 == 2)
    assert patch.any()
    assert moved[patch].float().mean() > 0.9
    assert not moved[~patch].any()


def test_before_training_pictures_from_unseen_cameras_are_those_of_the_ball():
    given, unseen = ball_views(6, radius=RADIUS, size=64)[None], ball_views(12, radius=RADIUS, size=64)[1::2][None]
    with torch.no_grad():
        start = hull_model(size=64, hull={"inset": 1.0})(given)
        picture = build_rasterizer("cpu", device="cpu")(start, unseen.cameras, torch.ones(1, 3))
    alpha, mask = picture.alpha > 0.5, unseen.masks > 0.5
    assert (alpha & mask).sum() / (alpha | mask).sum() > 0.75  # six silhouettes from the sides say little of the poles
    seen = unseen.masks > 0.95
    assert (picture.rgb - 0.3).abs().mean(dim=2, keepdim=True)[seen].mean() < 0.1


@pytest.mark.parametrize("hull", [{}, {"agreement": True}, {"inner": True}, {"splats_per_token": 3}, {"tolerated": 1}])
def test_permuting_the_views_permutes_the_gaussians_and_nothing_else(ball, hull):
    model, order = stirred(hull_model(hull=hull)), torch.tensor([4, 1, 0, 5, 3, 2])
    render, white = build_rasterizer("cpu", device="cpu"), torch.ones(1, 3)
    with torch.no_grad():
        pictures = [render(model(views), ball.cameras, white).rgb for views in (ball, ball[:, order])]
    torch.testing.assert_close(pictures[1], pictures[0], atol=2e-3, rtol=0)


@pytest.mark.parametrize("hull", [{}, {"inner": True, "agreement": True, "splats_per_token": 2}])
def test_a_scene_does_not_depend_on_the_others_of_its_batch(ball, hull):
    smaller = ball_views(6, radius=0.2, size=32)
    model = stirred(hull_model(hull=hull))
    with torch.no_grad():
        together, alone = model(stack([smaller, ball[0]])), [model(smaller[None]), model(ball)]
    for scene, single in enumerate(alone):
        count = single.means.shape[1]
        for name in FIELDS:
            a, b = getattr(together, name)[scene, :count], getattr(single, name)[0]
            torch.testing.assert_close(a, b, atol=1e-6, rtol=0)
        assert not together.opacities[scene, count:].any()
    assert together.means.shape[1] > alone[0].means.shape[1]  # so that something is filled up


def test_background_changes_nothing(ball):
    model = stirred(hull_model())
    far = torch.nn.functional.max_pool2d(ball.masks[0], 8).repeat_interleave(8, 2).repeat_interleave(8, 3)[None] < 0.01
    assert far.any()
    bare = torch.where(ball.masks > 0, ball.images, ball.images * 0 + 1.0)
    repainted = replace(ball, images=bare.clone())
    repainted.images[far.expand_as(bare)] = 1.0
    with torch.no_grad():
        torch.testing.assert_close(model(repainted).means, model(ball).means, atol=1e-6, rtol=0)


def test_finer_splats_keep_the_tokens_and_take_colours_from_the_whole_picture():
    fine = ball_views(6, radius=RADIUS, size=64, striped=True)[None]
    with torch.no_grad():
        gaussians = surface(hull_model(size=64, hull={"detail": 2})(fine))
    assert len(gaussians.means) == int((fine.masks > 0.4).sum())
    view, row, column = (fine.masks[0, :, 0] > 0.4).nonzero().unbind(1)
    own = fine.images[0].permute(0, 2, 3, 1)[view, row, column]
    whole = fine.masks[0, view, 0, row, column] > 0.99
    torch.testing.assert_close(rgb_from_degree_0(gaussians.harmonics[whole, 0]), own[whole], atol=2e-2, rtol=0)


def test_weights_of_one_detail_fit_another():
    coarse, fine = hull_model(), hull_model(size=64, hull={"detail": 2})
    fine.load_state_dict(coarse.state_dict())


def test_depth_corrections_stay_on_the_ray_and_within_their_range(ball):
    model = hull_model()
    with torch.no_grad():
        start = surface(model(ball))
        torch.nn.init.normal_(model.pixel_gaussian_decoder[1].weight, std=10.0)
        moved = surface(model(ball))
    step = (moved.means - start.means).norm(dim=1)
    assert step.max() <= 0.5 + 1e-5
    assert step.median() > 0.1
    view = (ball.masks[0, :, 0] > 0.4).nonzero()[:, 0]
    away = torch.nn.functional.normalize(start.means - ball.cameras.position[0, view], dim=1)
    across = (moved.means - start.means) - ((moved.means - start.means) * away).sum(1, keepdim=True) * away
    assert across.norm(dim=1).max() < 1e-4


def test_gradients_reach_every_weight(ball):
    model = stirred(hull_model(hull={"inner": True, "agreement": True, "splats_per_token": 2})).train()
    gaussians = model(ball)
    sum(getattr(gaussians, name).square().sum() for name in FIELDS).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() and p.grad.any() for p in model.parameters())


@pytest.mark.parametrize("empty", ["all", "one"])
def test_empty_masks_give_finite_gaussians(ball, empty):
    masks = torch.zeros_like(ball.masks) if empty == "all" else ball.masks.clone()
    masks[:, 0] = 0
    with torch.no_grad():
        gaussians = stirred(hull_model(hull={"agreement": True}))(replace(ball, masks=masks))
    assert all(getattr(gaussians, name).isfinite().all() for name in FIELDS)


def test_fewer_views_are_taken(ball):
    model = stirred(hull_model())
    for count in (1, 2, 4):
        with torch.no_grad():
            assert model(ball[:, :count]).means.isfinite().all()


def test_the_published_architecture_is_untouched():
    assert type(small_model()) is not HullGSLRM
    assert isinstance(hull_model(), HullGSLRM)


def test_images_that_are_not_whole_patches_are_refused(ball):
    with pytest.raises(UserError, match="whole patches of 64"):
        hull_model(hull={"detail": 4}, image_tokenizer={"image_size": 64, "patch_size": 16})(ball)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"drop_background": False}, "only foreground has a hull"),
        ({"image_tokenizer": {"image_size": 24, "patch_size": 8}, "hull": {"detail": 2}}, "patch_size x hull.detail"),
        ({"depth_anchor": "hull", "hull": {"detail": 2}}, "hull is for depth_anchor"),
        ({"clip_xyz": True}, "clip_xyz"),
    ],
)
def test_impossible_settings_are_refused(changes, message):
    settings = {"depth_anchor": "corrected_hull", "drop_background": True}
    with pytest.raises(ValueError, match=message):
        ModelConfig.model_validate(settings | changes)
