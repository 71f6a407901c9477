"""What LGM's raw channels mean."""

import pytest
import torch

from gslrm.harmonics import evaluate, rgb_from_degree_0
from gslrm.model.lgm_head import CHANNELS, activate


def raw_of(**channels: tuple[float, ...]) -> torch.Tensor:
    """One Gaussian, zeros but for the channels given."""
    starts = {"position": 0, "opacity": 3, "scale": 4, "rotation": 7, "colour": 11}
    raw = torch.zeros(1, 1, CHANNELS, 1, 1)
    for name, values in channels.items():
        raw[0, 0, starts[name] : starts[name] + len(values), 0, 0] = torch.tensor(values)
    return raw


def test_channels_are_position_opacity_scale_rotation_colour():
    raw = raw_of(
        position=(0.1, -0.2, 0.3),
        opacity=(1.0,),
        scale=(-1.0, 0.0, 30.0),
        rotation=(3.0, 0.0, 4.0, 0.0),
        colour=(0, 1, -1),
    )
    gaussian = activate(raw, legacy_rotation=False)[0]
    torch.testing.assert_close(gaussian.means, torch.tensor([[0.1, -0.2, 0.3]]))
    torch.testing.assert_close(gaussian.opacities, torch.tensor([0.7310586]))
    torch.testing.assert_close(gaussian.scales, torch.tensor([[0.03132617, 0.06931472, 3.0]]))
    torch.testing.assert_close(gaussian.rotations, torch.tensor([[0.6, 0.0, 0.8, 0.0]]))
    colour = rgb_from_degree_0(gaussian.harmonics[0, 0])
    torch.testing.assert_close(colour, torch.tensor([0.5, 0.8807970, 0.1192029]))


def test_gaussians_come_view_by_view_row_by_row():
    raw = torch.zeros(2, 3, CHANNELS, 4, 5)
    raw[..., 0, :, :] = torch.arange(120).reshape(2, 3, 4, 5) / 120
    means = activate(raw, legacy_rotation=False).means
    torch.testing.assert_close(means[..., 0], torch.arange(120).reshape(2, 60) / 120)


def test_positions_are_clamped_to_the_box_without_gradient_outside():
    raw = raw_of(position=(2.0, -3.0, 0.5)).requires_grad_()
    means = activate(raw, legacy_rotation=False).means
    torch.testing.assert_close(means.detach()[0, 0], torch.tensor([1.0, -1.0, 0.5]))
    means.sum().backward()
    assert raw.grad[0, 0, :3, 0, 0].tolist() == [0, 0, 1]


@pytest.mark.parametrize("value", [-30.0, -1.0, 0.0, 2.0, 30.0])
def test_the_renderer_sees_the_colour_that_was_meant_from_everywhere(value):
    harmonics = activate(raw_of(colour=(value,) * 3), legacy_rotation=False).harmonics
    expected = 0.5 * torch.tanh(torch.tensor(value)) + 0.5
    for direction in torch.nn.functional.normalize(torch.randn(5, 3), dim=-1):
        seen = evaluate(harmonics, direction)
        torch.testing.assert_close(seen, expected.expand_as(seen), atol=1e-7, rtol=0)


@pytest.mark.parametrize("value", [-1e4, 0.0, 1e4])
def test_activations_are_finite_with_finite_gradients_at_extremes(value):
    raw = torch.full((1, 2, CHANNELS, 2, 2), value, requires_grad=True)
    gaussians = activate(raw, legacy_rotation=False)
    total = torch.zeros(())
    for name in ("means", "scales", "rotations", "opacities", "harmonics"):
        assert getattr(gaussians, name).isfinite().all()
        total = total + getattr(gaussians, name).sum()
    total.backward()
    assert raw.grad.isfinite().all()


def test_half_precision_maps_are_activated_in_float32():
    gaussians = activate(torch.zeros(1, 1, CHANNELS, 1, 1, dtype=torch.bfloat16), legacy_rotation=False)
    assert gaussians.means.dtype == gaussians.harmonics.dtype == torch.float32
