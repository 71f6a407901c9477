"""Each loss term is what it says, against the published code, by hand, and by its derivative."""

import json
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from helpers import FIXTURES, ball_coverage, random_gaussians
from loss_helpers import ball_scene, changed, comparison, masks

from gslrm.cameras import Cameras
from gslrm.model import loss_depth, loss_gaussians, loss_pictures, loss_ssim
from gslrm.model.comparison import Comparison, compare
from gslrm.model.gaussian_head import patches_from_raster
from gslrm.model.visual_hull import hull_depth
from gslrm.tensor_struct import stack
from gslrm.types import Batch, Rendering, Views

PATCH = 8
UP = torch.tensor([0.0, 0.0, 1.0]).double()
MASKED = {
    "masked_l2": loss_pictures.masked_l2,
    "background": loss_pictures.background,
    "silhouette": loss_pictures.silhouette,
    "silhouette_iou": loss_pictures.silhouette_iou,
    "masked_ssim": loss_ssim.masked_ssim,
    "foreground_ssim": loss_ssim.foreground_ssim,
}


@pytest.fixture
def published():
    """The published inputs as leaves that ask for gradients, and what the published code made of them."""
    z = np.load(FIXTURES / "facelift/losses.npz")
    tensor = lambda name: torch.from_numpy(z[name])  # noqa: E731
    rendered, xyz, rgba = tensor("rendering").requires_grad_(), tensor("img_aligned_xyz"), tensor("target_rgba")
    raster = xyz.permute(0, 1, 3, 4, 2).contiguous().requires_grad_()
    focal, center = tensor("fxfycxcy").split(2, dim=-1)
    views = Views(rgba[:, :, :3], rgba[:, :, 3:], Cameras(tensor("c2w"), focal, center, 32, 32))
    gaussians = stack([random_gaussians(2 + 3 * 32 * 32, dtype=torch.float32)] * 2)
    means = torch.cat([torch.zeros(2, 2, 3), patches_from_raster(raster, patch=PATCH)], dim=1)
    index = torch.arange(3).expand(2, 3)
    batch = Batch(views, views, index, index, torch.ones(2, 3), ("a", "b"))
    rendering = Rendering(rendered, views.masks, views.masks)
    return (
        z,
        json.loads(str(z["values"])),
        (rendered, raster),
        compare(replace(gaussians, means=means), rendering, batch),
    )


@pytest.mark.parametrize(("name", "term"), [("l2", loss_pictures.l2), ("ssim", loss_ssim.ssim)])
def test_values_and_gradients_of_pictures_equal_the_published_code(published, name, term):
    z, values, (rendered, _), c = published
    loss = term(c)
    np.testing.assert_allclose(loss.item(), values[name]["loss"], atol=1e-6, rtol=1e-5)
    loss.backward()
    expected = z[f"grad_rendering/{name}"]
    np.testing.assert_allclose(rendered.grad, expected, atol=1e-4 * np.abs(expected).max())


@pytest.mark.parametrize(
    ("name", "term"),
    [
        ("pixelalign_masked", partial(loss_gaussians.pixelalign, patch=PATCH, masked=True)),
        ("pixelalign_unmasked", partial(loss_gaussians.pixelalign, patch=PATCH, masked=False)),
        ("pointsdist", partial(loss_gaussians.points_distance, patch=PATCH)),
    ],
)
def test_values_and_gradients_of_points_equal_the_published_code(published, name, term):
    z, values, (_, raster), c = published
    loss = term(c)
    np.testing.assert_allclose(loss.item(), values[name]["loss"], atol=1e-6, rtol=1e-5)
    loss.backward()
    expected = z[f"grad_xyz/{name}"]
    found = raster.grad.permute(0, 1, 4, 2, 3)
    np.testing.assert_allclose(found, expected, atol=1e-5 + 1e-4 * np.abs(expected).max())
    assert found.abs().max() > 1e-5  # else the tolerance would pass anything


@pytest.mark.parametrize(
    ("term", "leaf"),
    [
        (loss_pictures.l2, "rendered"),
        (loss_pictures.masked_l2, "rendered"),
        (loss_pictures.background, "rendered"),
        (loss_pictures.silhouette, "alpha"),
        (loss_pictures.silhouette_iou, "alpha"),
        (loss_ssim.ssim, "rendered"),
        (loss_ssim.masked_ssim, "rendered"),
        (loss_ssim.foreground_ssim, "rendered"),
    ],
)
def test_derivatives_of_pictures_are_those_of_the_values(term, leaf):
    c = comparison(size=14, mask=masks("box", size=14))
    start = getattr(c, leaf).clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda value: term(changed(c, **{leaf: value})), start, fast_mode=True)
    assert term(changed(c, **{leaf: start})) > 0


@pytest.mark.parametrize(
    ("term", "leaf"),
    [
        (loss_gaussians.opacity, "opacities"),
        (loss_gaussians.scale, "scales"),
        (partial(loss_gaussians.pixelalign, patch=2, masked=True), "means"),
        (partial(loss_gaussians.points_distance, patch=2), "means"),
    ],
)
def test_derivatives_of_gaussians_are_those_of_the_values(term, leaf):
    """Points-dist too, although it holds its target fixed: a normalised place has no derivative in its direction."""
    c = comparison(size=4)
    start = getattr(c.gaussians, leaf).clone().requires_grad_()
    moved = lambda value: changed(c, gaussians=replace(c.gaussians, **{leaf: value}))  # noqa: E731
    assert torch.autograd.gradcheck(lambda value: term(moved(value)), start)


def test_the_derivative_of_depth_is_that_of_its_value():
    c = ball_scene()
    start = (c.depth + 0.1).requires_grad_()
    depth = partial(loss_depth.hull, half_range=0.6, samples=40)
    assert torch.autograd.gradcheck(lambda value: depth(changed(c, depth=value)), start, fast_mode=True)


def test_l2_and_silhouette_are_means_of_squares():
    c = comparison()
    torch.testing.assert_close(loss_pictures.l2(changed(c, rendered=c.target + 0.5)), torch.tensor(0.25).double())
    torch.testing.assert_close(loss_pictures.silhouette(changed(c, alpha=c.mask - 0.2)), torch.tensor(0.04).double())


def test_masked_l2_is_the_mean_over_foreground_pixels_only():
    c = comparison(mask=masks("box"))
    expected = (c.rendered - c.target)[0, :, 3:9, 4:11].square().mean()
    torch.testing.assert_close(loss_pictures.masked_l2(c), expected)


def test_the_background_term_pulls_only_what_lies_outside():
    mask = torch.zeros(2, 1, 24, 24)
    mask[:, :, :12] = 1
    c = changed(comparison(mask=mask), background=torch.full((2, 3, 1, 1), 0.25).double())
    torch.testing.assert_close(loss_pictures.background(c), (c.rendered[:, :, 12:] - 0.25).square().mean())


def test_the_soft_iou_of_equal_coverages_is_1_even_where_they_are_fractions():
    c = comparison()
    soft = torch.rand_like(c.mask)
    assert loss_pictures.silhouette_iou(changed(c, alpha=soft, mask=soft)) == 0
    half = changed(c, alpha=0.5 * torch.ones_like(soft), mask=torch.ones_like(soft))
    torch.testing.assert_close(float(loss_pictures.silhouette_iou(half)), 1 - (288 + 1) / (576 + 1))


@pytest.mark.parametrize("name", MASKED)
@pytest.mark.parametrize("kind", ["empty", "full", "one pixel"])
def test_masked_terms_and_their_gradients_are_finite_for_every_mask(name, kind):
    c = comparison(mask=masks(kind), dtype=torch.float32)
    leaves = [c.rendered.clone().requires_grad_(), c.alpha.clone().requires_grad_()]
    loss = MASKED[name](changed(c, rendered=leaves[0], alpha=leaves[1]))
    assert 0 <= loss < 2
    for gradient in torch.autograd.grad(loss, leaves, allow_unused=True):
        assert gradient is None or (gradient.isfinite().all() and gradient.abs().max() <= 1)


@pytest.mark.parametrize(
    ("name", "kind"),
    [("masked_l2", "empty"), ("masked_ssim", "empty"), ("foreground_ssim", "empty"), ("background", "full")],
)
def test_a_masked_term_with_nothing_to_look_at_is_0(name, kind):
    assert MASKED[name](comparison(mask=masks(kind), dtype=torch.float32)) == 0


def test_a_full_mask_gives_the_plain_terms():
    c = comparison()
    for plain, masked in (
        (loss_pictures.l2, loss_pictures.masked_l2),
        (loss_ssim.ssim, loss_ssim.masked_ssim),
        (loss_ssim.ssim, loss_ssim.foreground_ssim),
    ):
        torch.testing.assert_close(masked(c), plain(c))


def test_one_pixel_counts_alone():
    c = comparison(mask=masks("one pixel"))
    pixel = (..., slice(12, 13), slice(12, 13))
    torch.testing.assert_close(loss_pictures.masked_l2(c), (c.rendered - c.target)[pixel].square().mean())
    window = (..., slice(7, 18), slice(7, 18))  # the one window that is centred on it
    expected = loss_ssim.dissimilarity(c.rendered[window], c.target[window]).mean()
    torch.testing.assert_close(loss_ssim.foreground_ssim(c), expected)


def test_rendered_depth_is_compared_with_the_hull_where_something_is_drawn():
    c = ball_scene()
    depth = partial(loss_depth.hull, half_range=0.6, samples=60)
    exact = depth(c)
    assert exact < 0.04  # the hull of six silhouettes is a little larger than the ball of radius 0.3
    torch.testing.assert_close(depth(changed(c, depth=c.depth + 1)), 1 + _signed_error(c), atol=1e-6, rtol=0)
    nothing = changed(c, depth=0 * c.depth, alpha=0 * c.alpha)
    assert depth(nothing) == 0


def _signed_error(c: Comparison) -> torch.Tensor:
    """Mean of depth minus hull: a shift of everything backwards by 1 adds it to 1, for no point lies 1 in front."""
    views = c.batch.target
    hull = loss_depth.hull_depth(c.inputs, views.cameras, views.masks[:, :, 0] > 0.5, half_range=0.6, samples=60)
    hit = hull[0, :, None] > 0
    assert hit.sum() > 0.97 * c.mask.sum()
    return (c.depth - hull[0, :, None])[hit].mean()


def test_the_hull_of_a_ball_seen_askew_is_around_the_ball():
    """Cameras that see the ball far from their axis, where z-depth and distance differ by a fifth."""
    c = ball_scene(size=64, views=8)
    inputs = c.inputs.cameras[0]
    sideways = torch.nn.functional.normalize(torch.linalg.cross(inputs.position, UP.expand(8, 3)), dim=-1)
    askew = Cameras.look_at(
        inputs.position,
        inputs.position / 2 + 1.2 * sideways,
        UP, focal=torch.full((8, 2), 16.0).double(), center=torch.full((8, 2), 32.0).double(), height=64, width=64,
    )  # fmt: skip
    seen = [ball_coverage(askew[view], torch.zeros(3).double(), 0.27) for view in range(8)]
    shown = torch.stack([torch.from_numpy(mask) for mask in seen])[None]
    assert shown.any(dim=(2, 3)).all()
    depth = hull_depth(c.inputs, askew[None], shown, half_range=0.6, samples=80)[0]
    origin, direction = askew.rays()
    axis = askew.world_from_camera[:, None, None, :3, 2]
    cosine = (direction * axis).sum(-1)
    assert cosine[shown[0]].max() < 0.85
    radius = (origin + (depth / cosine)[..., None] * direction).norm(dim=-1)[shown[0]]
    assert radius.min() > 0.28
    assert radius.max() < 0.4
    assert (depth[~shown[0]] == 0).all()


def test_rays_that_miss_the_hull_have_no_depth():
    c = ball_scene()
    masks = c.inputs.masks.clone()
    masks[:, 0] = 0  # one empty mask carves everything away
    carved = replace(c.inputs, masks=masks)
    assert (hull_depth(carved, c.inputs.cameras, c.inputs.masks[:, :, 0] > 0.5, half_range=0.6, samples=40) == 0).all()


def test_depth_does_not_pull_at_alpha_and_counts_by_it():
    c = ball_scene()
    wrong = changed(c, depth=c.depth + 0.2, alpha=(0.5 * c.alpha).requires_grad_())
    value = loss_depth.hull(wrong, half_range=0.6, samples=40)
    assert not value.requires_grad
    half = c.alpha.clone()
    half[:3] = 0  # views in which nothing is drawn
    only = loss_depth.hull(changed(c, depth=wrong.depth, alpha=half), half_range=0.6, samples=40)
    spoiled = torch.cat([wrong.depth[:3] + 9, wrong.depth[3:]])
    torch.testing.assert_close(loss_depth.hull(changed(c, depth=spoiled, alpha=half), half_range=0.6, samples=40), only)


def test_depth_outside_the_mask_does_not_count():
    c = ball_scene()
    depth = partial(loss_depth.hull, half_range=0.6, samples=40)
    outside = torch.where(c.mask > 0.5, c.depth, 100.0)
    torch.testing.assert_close(depth(changed(c, depth=outside, alpha=torch.ones_like(c.alpha))), depth(c))


def test_regularisers_are_means_over_the_gaussians_that_have_opacity():
    c = comparison(size=2)
    opacities = torch.zeros_like(c.gaussians.opacities)
    opacities[0, :4] = torch.tensor([0.2, 0.4, 0.6, 0.8]).double()
    scales = torch.full_like(c.gaussians.scales, 9.0)
    scales[0, :4] = torch.tensor([0.1, 0.3, 0.2]).double()
    sparse = changed(c, gaussians=replace(c.gaussians, opacities=opacities, scales=scales))
    torch.testing.assert_close(float(loss_gaussians.opacity(sparse)), 0.5)
    torch.testing.assert_close(float(loss_gaussians.scale(sparse)), 0.3)
    none = changed(c, gaussians=replace(c.gaussians, opacities=0 * opacities))
    assert loss_gaussians.opacity(none) == 0


def test_points_on_their_rays_are_aligned_and_no_others():
    c = comparison(size=16)
    origin, direction = c.inputs.cameras.rays()
    means = torch.cat([c.gaussians.means[:, :2], patches_from_raster(origin + 2 * direction, patch=PATCH)], dim=1)
    align = partial(loss_gaussians.pixelalign, patch=PATCH, masked=False)
    on_rays = changed(c, gaussians=replace(c.gaussians, means=means))
    assert align(on_rays) < 1e-12
    assert align(changed(c, gaussians=replace(c.gaussians, means=means.roll(1, dims=1)))) > 1e-3
    aside = torch.linalg.cross(direction, torch.ones_like(direction))
    beside = origin + 2 * direction + 0.1 * aside / aside.norm(dim=-1, keepdim=True)
    means = torch.cat([c.gaussians.means[:, :2], patches_from_raster(beside, patch=PATCH)], dim=1)
    torch.testing.assert_close(float(align(changed(c, gaussians=replace(c.gaussians, means=means)))), 0.1)


def test_points_with_the_wanted_distribution_stay_where_they_are():
    """Distances with the camera's distance to the origin as mean and 0.5 as deviation are a fixed point."""
    c = comparison(size=16)
    origin, direction = c.inputs.cameras.rays()
    noise = torch.randn(1, 2, 16, 16, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    noise = (noise - noise.mean((2, 3), keepdim=True)) / noise.flatten(2).std(-1)[..., None, None]
    distance = origin[:, :, :1, :1].norm(dim=-1) + 0.5 * noise

    def at(distance: torch.Tensor) -> Comparison:
        points = patches_from_raster(origin + distance[..., None] * direction, patch=PATCH)
        means = torch.cat([c.gaussians.means[:, :2], points], dim=1)
        return changed(c, gaussians=replace(c.gaussians, means=means))

    term = partial(loss_gaussians.points_distance, patch=PATCH)
    assert term(at(distance)) < 1e-12
    torch.testing.assert_close(float(term(at(distance + 0.3))), 0.09)
