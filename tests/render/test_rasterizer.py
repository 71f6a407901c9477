"""The rasterizer seam: one call for a batch of scenes, whatever the backend."""

from dataclasses import replace

import pytest
import torch
from helpers import random_cameras, random_gaussians

from gslrm.config import RenderConfig
from gslrm.errors import UserError
from gslrm.render import build_rasterizer, seen_colours
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
