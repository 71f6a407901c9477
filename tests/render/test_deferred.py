"""Deferred rendering is rendering: the same pictures and gradients, kept by nothing."""

import weakref

import pytest
import torch
from helpers import random_cameras, random_gaussians
from torch import Tensor

from gslrm.config import RenderConfig
from gslrm.render import BatchRasterizer, build_rasterizer
from gslrm.render.cpu_backend import rasterization
from gslrm.tensor_struct import stack


def scenes(*, degree: int = 2):
    gaussians = stack([random_gaussians(60, seed=seed, degree=degree, dtype=torch.float32) for seed in (0, 1)])
    cameras = random_cameras(6, size=(24, 32)).float().map(lambda tensor: tensor.unflatten(0, (2, 3)))
    return gaussians, cameras, torch.tensor([[1.0, 1, 1], [0, 0.5, 1]])


def render(deferred: bool, *, weights: tuple[float, ...] = (1.0, 1.0, 1.0)) -> tuple[list[Tensor], list[Tensor]]:
    """Pictures and the gradients of everything, for a fixed functional with a weight per output."""
    leaves = []

    def leaf(tensor: Tensor) -> Tensor:
        leaves.append(tensor.clone().requires_grad_())
        return leaves[-1]

    gaussians, cameras, background = scenes()
    arguments = gaussians.map(leaf), cameras.map(leaf), leaf(background)
    rendering = build_rasterizer("cpu", RenderConfig(deferred_backward=deferred))(*arguments)
    outputs = [rendering.rgb, rendering.alpha, rendering.depth]
    generator = torch.Generator().manual_seed(0)
    functional = [
        weight * (torch.randn(output.shape, generator=generator) * output).sum()
        for output, weight in zip(outputs, weights, strict=True)
        if weight
    ]
    torch.stack(functional).sum().backward()
    return outputs, [leaf.grad for leaf in leaves]


@pytest.mark.parametrize("weights", [(1.0, 1.0, 1.0), (1.0, 0.0, 0.0), (0.0, 1.0, 0.5)])
def test_pictures_are_equal_bit_by_bit_and_gradients_up_to_rounding(weights) -> None:
    outputs, gradients = render(deferred=False, weights=weights)
    same_outputs, same_gradients = render(deferred=True, weights=weights)
    assert all(torch.equal(output, same) for output, same in zip(outputs, same_outputs, strict=True))
    for gradient, same in zip(gradients, same_gradients, strict=True):
        assert (gradient is None) == (same is None)
        if gradient is not None:
            torch.testing.assert_close(same, gradient, rtol=1e-6, atol=2e-6 * float(gradient.abs().max()))


def test_only_what_asks_for_gradients_gets_them() -> None:
    gaussians, cameras, background = scenes()
    gaussians.opacities.requires_grad_()
    build_rasterizer("cpu", RenderConfig(deferred_backward=True))(gaussians, cameras, background).rgb.sum().backward()
    assert gaussians.opacities.grad is not None
    assert all(t.grad is None for t in (gaussians.means, gaussians.harmonics, cameras.focal, background))


def test_no_graph_of_a_view_is_kept_and_each_is_rendered_twice() -> None:
    images: list[weakref.ref] = []

    def recording(*arguments, **options):
        image, alpha, meta = rasterization(*arguments, **options)
        images.append(weakref.ref(image))
        return image, alpha, meta

    gaussians, cameras, background = scenes(degree=0)
    gaussians.means.requires_grad_()
    rendering = BatchRasterizer(recording, RenderConfig(deferred_backward=True))(gaussians, cameras, background)
    assert len(images) == 6
    assert not [image for image in images if image() is not None]
    rendering.rgb.sum().backward()
    assert len(images) == 12


def test_without_gradients_all_views_are_rendered_at_once() -> None:
    calls = []

    def recording(*arguments, **options):
        calls.append(arguments[5].shape[0])
        return rasterization(*arguments, **options)

    with torch.no_grad():
        BatchRasterizer(recording, RenderConfig(deferred_backward=True))(*scenes())
    assert calls == [3, 3]


def test_rendering_again_is_float32_even_inside_autocast() -> None:
    gaussians, cameras, background = scenes()
    gaussians.means.requires_grad_()
    rasterizer = build_rasterizer("cpu", RenderConfig(deferred_backward=True))
    plain = torch.autograd.grad(rasterizer(gaussians, cameras, background).rgb.sum(), gaussians.means)[0]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = torch.autograd.grad(rasterizer(gaussians, cameras, background).rgb.sum(), gaussians.means)[0]
    assert torch.equal(plain, mixed)
