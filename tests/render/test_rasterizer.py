"""The rasterizer seam: one call for a batch of scenes, whatever the backend."""

from dataclasses import replace

import pytest
import torch
from helpers import random_cameras, random_gaussians
from reference_rasterizer import rasterize_view

from gslrm.config import RenderConfig
from gslrm.errors import UserError
from gslrm.render import BatchRasterizer, build_rasterizer, seen_colours
from gslrm.render.cpu_backend import rasterization
from gslrm.tensor_struct import stack


@pytest.fixture
def scenes():
    gaussians = stack([random_gaussians(30, seed=seed, degree=1, dtype=torch.float32) for seed in (0, 1)])
    cameras = random_cameras(4, size=(24, 32)).float().map(lambda tensor: tensor.unflatten(0, (2, 2)))
    return gaussians, cameras, torch.tensor([[1.0, 1, 1], [0, 0.5, 1]])


def test_a_batch_is_its_scenes_and_a_scene_its_views(scenes):
    gaussians, cameras, background = scenes
    render = build_rasterizer("cpu")
    together = render(gaussians, cameras, background)
    assert together.rgb.shape == (2, 2, 3, 24, 32)
    for scene in range(2):
        for view in range(2):
            alone = render(
                gaussians[scene : scene + 1],
                cameras[scene : scene + 1, view : view + 1],
                background[scene : scene + 1],
            )
            torch.testing.assert_close(together.rgb[scene, view], alone.rgb[0, 0], rtol=0, atol=0)
            torch.testing.assert_close(together.depth[scene, view], alone.depth[0, 0], rtol=0, atol=0)


def test_nothing_renders_as_background(scenes):
    gaussians, cameras, background = scenes
    nothing = replace(gaussians, opacities=torch.zeros_like(gaussians.opacities))
    rendering = build_rasterizer("cpu")(nothing, cameras, background)
    torch.testing.assert_close(rendering.rgb, background[:, None, :, None, None].expand_as(rendering.rgb))
    assert rendering.alpha.max() == 0
    assert rendering.depth.max() == 0


def test_coverage_mixes_object_and_background(scenes):
    gaussians, cameras, _ = scenes
    render = build_rasterizer("cpu")
    white, black = (render(gaussians, cameras, torch.full((2, 3), level)) for level in (1.0, 0.0))
    torch.testing.assert_close(white.rgb - black.rgb, (1 - white.alpha).expand_as(white.rgb), atol=1e-5, rtol=0)


def test_the_screen_blur_grows_with_the_square_of_the_resolution_ratio(scenes):
    gaussians, cameras, background = scenes
    grown = build_rasterizer("cpu")(gaussians, cameras, background, resolution_ratio=2.0)
    asked = build_rasterizer("cpu", RenderConfig(eps2d=1.2))(gaussians, cameras, background)
    torch.testing.assert_close(grown.rgb, asked.rgb)
    coarse = build_rasterizer("cpu")(gaussians, cameras, background, resolution_ratio=0.25)
    torch.testing.assert_close(coarse.rgb, build_rasterizer("cpu")(gaussians, cameras, background).rgb)


def test_rendering_is_float32_inside_autocast(scenes):
    gaussians, cameras, background = scenes
    render = build_rasterizer("cpu")
    plain = render(gaussians, cameras, background)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torch.testing.assert_close(render(gaussians, cameras, background).rgb, plain.rgb, rtol=0, atol=0)


def test_gradients_reach_every_part_of_the_gaussians(scenes):
    gaussians, cameras, background = scenes
    leaves = gaussians.map(lambda tensor: tensor.clone().requires_grad_())
    rendering = build_rasterizer("cpu")(leaves, cameras, background)
    (rendering.rgb.square().mean() + rendering.alpha.square().mean() + rendering.depth.mean()).backward()
    for name in ("means", "scales", "rotations", "opacities", "harmonics"):
        gradient = getattr(leaves, name).grad
        assert gradient.isfinite().all()
        assert gradient.abs().max() > 0


def test_colour_depends_on_the_camera_only_above_degree_0(scenes):
    gaussians, cameras, _ = scenes
    assert seen_colours(gaussians[0], cameras[0]).shape == (2, 30, 3)
    flat = replace(gaussians, harmonics=gaussians.harmonics[..., :1, :])
    assert seen_colours(flat[0], cameras[0]).shape == (30, 3)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a card")
def test_gsplat_without_a_card_is_refused_with_the_cure():
    with pytest.raises(UserError, match="use render.backend: cpu"):
        build_rasterizer("gsplat")


@pytest.mark.parametrize("degree", [0, 1, 2, 3])
def test_harmonics_of_every_degree_are_shown_and_differentiated_as_by_the_twin(degree):
    gaussians = random_gaussians(30, seed=3, degree=degree, dtype=torch.float32)
    cameras, background = random_cameras(2, size=(24, 32)).float(), torch.tensor([0.2, 0.5, 0.9])
    weights = torch.randn(2, 3, 24, 32, generator=torch.Generator().manual_seed(0))

    def gradients(render, precision):
        leaves = gaussians.to(precision).map(lambda tensor: tensor.clone().requires_grad_())
        picture = render(leaves, cameras.to(precision), background.to(precision))
        (picture * weights.to(precision)).sum().backward()
        return picture.detach(), leaves

    def ours(leaves, seen_by, behind):
        return build_rasterizer("cpu")(leaves[None], seen_by[None], behind[None]).rgb[0]

    def twin(leaves, seen_by, behind):
        colours = seen_colours(leaves, seen_by)
        views = [
            rasterize_view(
                leaves.means, leaves.rotations, leaves.scales, leaves.opacities,
                colours if colours.ndim == 2 else colours[view], seen_by.camera_from_world[view],
                seen_by.intrinsics[view], 32, 24, background=behind,
            )[0]
            for view in range(2)
        ]  # fmt: skip
        return torch.stack(views).permute(0, 3, 1, 2)

    picture, leaves = gradients(ours, torch.float32)
    expected_picture, expected = gradients(twin, torch.float64)
    torch.testing.assert_close(picture.double(), expected_picture, rtol=0, atol=1e-5)
    for name in ("means", "scales", "rotations", "opacities", "harmonics"):
        wanted = getattr(expected, name).grad
        error = (getattr(leaves, name).grad - wanted).abs().max()
        assert error <= 1e-4 * wanted.abs().max(), name


def test_target_views_may_have_another_size_than_input_views(scenes):
    gaussians, cameras, background = scenes
    finer = replace(cameras, focal=2 * cameras.focal, center=2 * cameras.center, height=48, width=64)
    render = build_rasterizer("cpu")
    small, large = render(gaussians, cameras, background), render(gaussians, finer, background, resolution_ratio=2.0)
    assert large.rgb.shape == (2, 2, 3, 48, 64)
    averaged = torch.nn.functional.avg_pool2d(large.rgb.flatten(0, 1), 2).unflatten(0, (2, 2))
    assert (averaged - small.rgb).abs().mean() < 0.01


@pytest.mark.parametrize("deferred", [False, True])
@pytest.mark.parametrize("hidden", [5, 25])
def test_transparent_gaussians_are_left_out_before_projection_and_change_nothing(scenes, hidden, deferred):
    gaussians, cameras, background = scenes
    faint = gaussians.opacities.clone()
    faint[:, :hidden] = 0.0039  # just below 1/255
    config, counts = RenderConfig(deferred_backward=deferred), []

    def recording(means, *arguments, **options):
        counts.append(means.shape[0])
        return rasterization(means, *arguments, **options)

    def render(rasterize, first):
        leaves = replace(gaussians, opacities=faint)[:, first:].map(lambda tensor: tensor.clone().requires_grad_())
        rendering = BatchRasterizer(rasterize, config)(leaves, cameras, background)
        (rendering.rgb.square().sum() + rendering.depth.sum()).backward()
        return rendering, leaves

    rendering, leaves = render(recording, 0)
    without, expected = render(rasterization, hidden)
    assert set(counts) == ({5} if hidden == 25 else {30})  # a few are not worth a copy
    assert torch.equal(rendering.rgb, without.rgb)
    for name in ("means", "scales", "rotations", "opacities", "harmonics"):
        gradient = getattr(leaves, name).grad
        assert not gradient[:, :hidden].any()
        torch.testing.assert_close(gradient[:, hidden:], getattr(expected, name).grad)


def test_a_scene_without_anything_to_draw_has_zero_gradients(scenes):
    gaussians, cameras, background = scenes
    leaves = replace(gaussians, opacities=torch.zeros_like(gaussians.opacities)).map(
        lambda tensor: tensor.clone().requires_grad_()
    )
    build_rasterizer("cpu")(leaves, cameras, background).rgb.sum().backward()
    assert not leaves.means.grad.any()
