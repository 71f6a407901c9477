"""SSIM as a loss: its value everywhere, and no cancellation on the plain pictures that mice are."""

import pytest
import torch
from loss_helpers import changed, comparison, masks, of_pictures, scene
from pytorch_msssim import ssim as published_ssim

from gslrm.config import LossesConfig, ModelConfig, ScheduleConfig
from gslrm.errors import UserError
from gslrm.model.loss_ssim import C1, blur, dissimilarity, foreground_ssim, masked_ssim, ssim
from gslrm.model.utils_losses import Losses


def pictures(*, noise: float = 0.1, dtype: torch.dtype = torch.float64) -> tuple[torch.Tensor, torch.Tensor]:
    """A rough square on white and a noisy copy, [2, 3, 32, 32]."""
    generator = torch.Generator().manual_seed(0)
    target = torch.ones(2, 3, 32, 32, dtype=torch.float64)
    target[:, :, 10:20, 12:24] = torch.rand(2, 3, 10, 12, generator=generator, dtype=torch.float64)
    return (target + noise * torch.randn(target.shape, generator=generator).double()).to(dtype), target.to(dtype)


def constant(value: float) -> torch.Tensor:
    return torch.full((1, 3, 24, 24), value, dtype=torch.float32)


@pytest.mark.parametrize("value", [0.0, 0.1, 0.3, 1 / 3, 0.7, 0.999, 1.0])
def test_a_constant_picture_is_exactly_like_itself_with_a_finite_gradient(value):
    x = constant(value).requires_grad_()
    similarity = 1 - dissimilarity(x, constant(value))
    assert (similarity == 1).all()
    similarity.sum().backward()
    assert (x.grad == 0).all()


@pytest.mark.parametrize(("one", "other"), [(0.1, 0.3), (1.0, 0.9), (0.0, 1.0), (1 / 3, 2 / 3), (0.999, 1.0)])
def test_two_constant_pictures_differ_in_luminance_alone(one, other):
    """The structure of both is nothing, exactly: the factor that rounding made negative in the user's runs."""
    x = constant(one).requires_grad_()
    similarity = 1 - dissimilarity(x, constant(other))
    expected = (2 * one * other + C1) / (one**2 + other**2 + C1)
    torch.testing.assert_close(similarity, torch.full_like(similarity, expected), atol=1e-6, rtol=1e-6)
    (gradient,) = torch.autograd.grad(similarity.sum(), x)
    assert gradient.isfinite().all()


def test_a_picture_that_is_one_number_in_memory_is_like_any_other():
    """torch's median of an expanded tensor is garbage, read from beyond it."""
    brown = torch.tensor([0.4, 0.3, 0.2])[None, :, None, None]
    assert (dissimilarity(brown.expand(2, 3, 32, 32), brown.repeat(2, 1, 32, 32)) == 0).all()


def test_equal_pictures_lose_nothing():
    _, target = pictures(dtype=torch.float32)
    assert ssim(of_pictures(target, target)) == 0


def textbook(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """SSIM of every window from its own mean and its own squared deviations (Wang et al. 2004, equations 13 to 16)."""
    offset = torch.arange(11).double() - 5
    profile = torch.exp(-offset.square() / 4.5)
    weights = torch.outer(profile, profile).flatten() / profile.sum() ** 2
    x, y = (image.unfold(2, 11, 1).unfold(3, 11, 1).flatten(4) for image in (x, y))
    mean_x, mean_y = x @ weights, y @ weights
    deviation_x, deviation_y = x - mean_x[..., None], y - mean_y[..., None]
    variances = deviation_x.square() @ weights + deviation_y.square() @ weights
    covariance = (deviation_x * deviation_y) @ weights
    luminance = (2 * mean_x * mean_y + 0.0001) / (mean_x.square() + mean_y.square() + 0.0001)
    return luminance * (2 * covariance + 0.0009) / (variances + 0.0009)


def test_values_are_those_of_the_textbook_and_of_the_usual_package():
    rendered, target = pictures()
    found = dissimilarity(rendered, target)
    torch.testing.assert_close(1 - found, textbook(rendered, target), atol=1e-12, rtol=1e-10)
    package = 1 - published_ssim(rendered, target, data_range=1.0, size_average=False)
    torch.testing.assert_close(found.mean(dim=(1, 2, 3)), package, atol=2e-5, rtol=0)  # its window is float32


@pytest.mark.parametrize("noise", [1e-3, 1e-2, 0.3])
def test_float32_is_right_on_white_pictures(noise):
    """Where the textbook formula loses digits: 95 % white with little noise."""
    rendered, target = pictures(noise=noise)
    exact = ssim(of_pictures(rendered, target))
    found = ssim(of_pictures(rendered.float(), target.float()))
    torch.testing.assert_close(found.double(), exact, rtol=5e-5, atol=0)


@pytest.mark.parametrize("scale", [0.0, 1e-7, 1e-4, 1e-2, 1.0, 30.0])
@pytest.mark.parametrize("term", [ssim, masked_ssim, foreground_ssim])
def test_the_loss_lies_between_0_and_1(term, scale):
    generator = torch.Generator().manual_seed(1)
    rendered = 1 - scale * torch.randn(2, 3, 24, 24, generator=generator)
    for target in (torch.ones_like(rendered), 1 - rendered, rendered.flip(-1)):
        assert 0 <= term(of_pictures(rendered, target, masks("box"))) <= 1


def test_masked_ssim_does_not_see_the_background():
    c = comparison(mask=masks("box"))
    repainted = changed(c, rendered=torch.where(c.mask > 0.5, c.rendered, 0.123))
    torch.testing.assert_close(masked_ssim(repainted), masked_ssim(c))


def test_foreground_windows_see_the_background_only_around_the_object():
    rim = 5
    mask = torch.zeros(2, 1, 40, 40)
    mask[:, :, 18:22, 18:22] = 1
    c = comparison(size=40, mask=mask)
    far = torch.ones(40, 40, dtype=torch.bool)
    far[18 - rim : 22 + rim, 18 - rim : 22 + rim] = False
    far_away = changed(c, rendered=torch.where(far, 0.123, c.rendered))
    near = changed(c, rendered=torch.where(c.mask > 0.5, c.rendered, 0.123))
    torch.testing.assert_close(foreground_ssim(far_away), foreground_ssim(c))
    assert (foreground_ssim(near) - foreground_ssim(c)).abs() > 1e-3


def test_foreground_windows_do_not_thin_out_with_the_background():
    """A mouse on ever more paper: the neutral fill counts the paper as exactly alike, the windows do not."""
    values = {}
    for size in (24, 48):
        mask, rendered, target = (
            torch.zeros(1, 1, size, size),
            torch.ones(1, 3, size, size),
            torch.ones(1, 3, size, size),
        )
        mask[:, :, 8:16, 8:16] = 1
        target[:, :, 8:16, 8:16] = torch.rand(1, 3, 8, 8, generator=torch.Generator().manual_seed(0))
        rendered[:, :, 8:16, 8:16] = 0.5
        values[size] = [float(term(of_pictures(rendered, target, mask))) for term in (foreground_ssim, masked_ssim)]
    assert values[48][0] == pytest.approx(values[24][0], rel=1e-5)
    assert values[48][1] < 0.3 * values[24][1]


def test_pictures_without_a_foreground_window_do_not_dilute_the_others():
    c = comparison(mask=masks("box"))  # the second mask is empty
    alone = of_pictures(c.rendered[:1], c.target[:1], c.mask[:1])
    torch.testing.assert_close(foreground_ssim(c), foreground_ssim(alone))


def test_both_ways_to_blur_agree(monkeypatch):
    images = torch.rand(2, 3, 20, 17, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    by_product = blur(images)
    monkeypatch.setattr("gslrm.model.loss_ssim.BANDED", set())
    torch.testing.assert_close(blur(images), by_product)
    assert by_product.shape == (2, 3, 10, 7)


def test_pictures_smaller_than_a_window_are_refused_with_the_cure():
    with pytest.raises(UserError, match=r"at least 11 pixels; set training\.losses\.ssim_loss_weight: 0"):
        ssim(comparison(size=10))


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_the_gradient_on_white_paper_is_finite_under_autocast(precision):
    gaussians, rendering, batch = scene(dtype=torch.float32)
    paper = torch.ones_like(rendering.rgb).requires_grad_()
    white = type(rendering)(paper, rendering.alpha, rendering.depth)
    target = type(batch.target)(torch.ones_like(paper).detach(), batch.target.masks, batch.target.cameras)
    batch = type(batch)(batch.input, target, batch.input_index, batch.target_index, batch.background, batch.names)
    losses = Losses(LossesConfig(ssim_loss_weight=1.0), ScheduleConfig(), model=ModelConfig())
    with torch.autocast("cpu", dtype=precision, enabled=precision is not torch.float32):
        report = losses(gaussians, white, batch, step=0)
    assert report.terms["ssim_loss"] == 0
    report.total.backward()
    assert paper.grad.isfinite().all()
