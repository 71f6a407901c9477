"""Loss terms against the published code, and the traps that made mice collapse."""

import json
from itertools import pairwise

import numpy as np
import pytest
import torch
from helpers import FIXTURES, random_cameras

from gslrm.config import LossesConfig, ScheduleConfig
from gslrm.errors import UserError
from gslrm.model import utils_losses
from gslrm.model.perceptual import CHANNELS, VggDistance
from gslrm.model.utils_losses import Comparison, Losses, require_alive
from gslrm.types import Rendering, Views


@pytest.fixture
def published():
    z = np.load(FIXTURES / "facelift/losses.npz")
    rendered = torch.from_numpy(z["rendering"]).requires_grad_()
    target = torch.from_numpy(z["target_rgba"])
    alpha = target[:, :, 3:].flatten(0, 1)
    comparison = Comparison(
        rendered.flatten(0, 1), alpha, target[:, :, :3].flatten(0, 1), alpha, torch.ones(6, 3, 1, 1)
    )
    return z, json.loads(str(z["values"])), rendered, comparison


@pytest.mark.parametrize("name", ["l2", "ssim"])
def test_values_and_gradients_equal_the_published_code(published, name):
    z, values, rendered, comparison = published
    loss = getattr(utils_losses, name)(comparison)
    np.testing.assert_allclose(loss.item(), values[name]["loss"], atol=1e-6, rtol=1e-5)
    loss.backward()
    expected = z[f"grad_rendering/{name}"]
    np.testing.assert_allclose(rendered.grad, expected, atol=1e-4 * np.abs(expected).max())


def test_the_perceptual_distance_equals_the_published_code_with_its_seeded_weights(published):
    _, values, _, comparison = published
    weights = {}
    for k, (cin, cout) in enumerate(pairwise((3, *CHANNELS))):
        random = np.random.RandomState(12345 + k)
        kernel = random.standard_normal((cout, cin, 3, 3)) * np.sqrt(2 / (9 * cin))
        weights[f"conv{k + 1}.weight"] = torch.from_numpy(kernel.astype(np.float32))
        weights[f"conv{k + 1}.bias"] = torch.from_numpy((0.01 * random.standard_normal(cout)).astype(np.float32))
    value = VggDistance().load(weights)(comparison.rendered, comparison.target).item()
    np.testing.assert_allclose(value, values["perceptual_seededvgg"]["loss"], rtol=1e-4)


def comparison_of(size: int = 24, *, mask: torch.Tensor | None = None) -> Comparison:
    generator = torch.Generator().manual_seed(0)
    picture = lambda channels: torch.rand(2, channels, size, size, generator=generator)  # noqa: E731
    mask = torch.zeros(2, 1, size, size) if mask is None else mask
    return Comparison(picture(3), picture(1), picture(3), mask, torch.ones(2, 3, 1, 1))


def test_masked_l2_is_the_mean_over_foreground_pixels_only():
    mask = torch.zeros(2, 1, 24, 24)
    mask[0, :, 3:9, 4:11] = 1
    c = comparison_of(mask=mask)
    expected = (c.rendered - c.target)[0, :, 3:9, 4:11].square().mean()
    torch.testing.assert_close(utils_losses.masked_l2(c), expected)
    assert utils_losses.masked_l2(comparison_of()) == 0  # no foreground at all: at least one pixel, not NaN


def test_the_background_term_pulls_only_what_lies_outside():
    mask = torch.zeros(2, 1, 24, 24)
    mask[:, :, :12] = 1
    c = comparison_of(mask=mask)
    torch.testing.assert_close(utils_losses.background(c), (c.rendered[:, :, 12:] - 1).square().mean())


@pytest.mark.parametrize("term", ["ssim", "masked_ssim"])
def test_ssim_losses_stay_within_their_bounds_on_constant_pictures(term):
    ones = torch.ones(1, 3, 24, 24)
    for shift in (0.0, 1e-7, 1e-4, 1.0):
        c = Comparison(ones - shift, ones[:, :1], ones, ones[:, :1], torch.ones(1, 3, 1, 1))
        assert 0 <= float(getattr(utils_losses, term)(c)) <= 1


def test_masked_ssim_does_not_see_the_background():
    mask = torch.zeros(2, 1, 24, 24)
    mask[:, :, 8:16, 8:16] = 1
    c = comparison_of(mask=mask)
    changed = Comparison(torch.where(mask > 0.5, c.rendered, 0.123), c.alpha, c.target, mask, c.background)
    torch.testing.assert_close(utils_losses.masked_ssim(changed), utils_losses.masked_ssim(c))


def rendering_and_target(masks: float = 1.0):
    images = torch.rand(1, 2, 3, 24, 24, generator=torch.Generator().manual_seed(1))
    target = Views(images, torch.full_like(images[:, :, :1], masks), random_cameras(2, size=(24, 24))[None].float())
    alpha = torch.full_like(target.masks, 0.5)
    return Rendering((images * 0.5).requires_grad_(), alpha, alpha), target


def test_the_total_is_the_weighted_sum_and_terms_start_when_told():
    config = LossesConfig(l2_loss_weight=2.0, alpha_loss_weight=0.5, ssim_loss_weight=0.25)
    rendering, target = rendering_and_target()
    report = Losses(config, ScheduleConfig())(rendering, target, torch.ones(1, 3), step=0)
    assert set(report.terms) == {"l2_loss", "alpha_loss", "ssim_loss"}
    expected = 2 * report.terms["l2_loss"] + 0.5 * report.terms["alpha_loss"] + 0.25 * report.terms["ssim_loss"]
    torch.testing.assert_close(report.total, expected)


def test_losses_are_computed_in_float32_under_autocast():
    rendering, target = rendering_and_target()
    losses = Losses(LossesConfig(ssim_loss_weight=1.0), ScheduleConfig())
    plain = losses(rendering, target, torch.ones(1, 3), step=0).total
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert losses(rendering, target, torch.ones(1, 3), step=0).total == plain


def test_a_term_without_effect_stops_the_run_at_the_first_pass():
    rendering, target = rendering_and_target(masks=0.5)  # alpha is 0.5 too, so the silhouette term is exactly 0
    losses = Losses(LossesConfig(alpha_loss_weight=0.3), ScheduleConfig())
    with pytest.raises(UserError, match="alpha_loss is exactly 0"):
        require_alive(losses(rendering, target, torch.ones(1, 3), step=0))


def test_without_any_term_or_without_vgg_weights_the_cure_is_named():
    with pytest.raises(UserError, match="set l2_loss_weight"):
        Losses(LossesConfig(l2_loss_weight=0), ScheduleConfig())
    with pytest.raises(UserError, match="perceptual_weights"):
        Losses(LossesConfig(perceptual_loss_weight=0.5), ScheduleConfig())


def test_a_run_in_which_nothing_counts_at_first_is_refused(monkeypatch):
    monkeypatch.setattr(utils_losses, "LpipsDistance", torch.nn.Identity)  # stands in for weights that CI lacks
    with pytest.raises(UserError, match="no term counts from the first pass"):
        Losses(LossesConfig(l2_loss_weight=0, lpips_loss_weight=1.0), ScheduleConfig(l2_warmup_steps=5))
    losses = Losses(LossesConfig(lpips_loss_weight=1.0), ScheduleConfig(l2_warmup_steps=5))
    assert losses.starts == {0, 5}
    rendering, target = rendering_and_target()
    assert set(losses(rendering, target, torch.ones(1, 3), step=4).terms) == {"l2_loss"}
