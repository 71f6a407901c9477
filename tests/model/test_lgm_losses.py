"""LGM's loss is three of our terms; skipped where its recorded case is not on this machine."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from loss_helpers import scene

from gslrm.config import LossesConfig, ModelConfig, ScheduleConfig
from gslrm.config_io import load_config
from gslrm.metrics import psnr
from gslrm.model import utils_losses
from gslrm.model.utils_losses import Losses
from gslrm.types import Rendering, Views

FIXTURES = Path(__file__).parents[3] / "shared" / "fixtures" / "lgm"
CONFIGS = Path(__file__).parents[2] / "configs"
recorded = pytest.mark.skipif(not FIXTURES.is_dir(), reason="LGM's recorded cases are not on this machine")


class FakeLpips(torch.nn.Module):
    """The stand-in that the case was recorded with: it tells its arguments apart, and their range."""

    def forward(self, rendered: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        x, y = (
            torch.nn.functional.interpolate(2 * images - 1, (256, 256), mode="bilinear", align_corners=False)
            for images in (rendered, target)
        )
        return (y - 2 * x).square().mean()


@pytest.fixture
def case():
    """Prescribed pictures [2, 3], and targets composited once: LGM's provider hands it raw colours here."""
    truth = {name: torch.from_numpy(array) for name, array in np.load(FIXTURES / "loss.npz").items()}
    mask = truth["gt_mask"]
    gaussians, _, batch = scene(size=20, views=3, dtype=torch.float32)
    both = lambda struct: struct.map(lambda tensor: torch.cat([tensor, tensor]))  # noqa: E731
    cameras = both(batch.target.cameras)
    target = Views(truth["gt_image"] * mask + 1 - mask, mask, cameras)
    index = torch.arange(3).expand(2, 3)
    batch = replace(
        batch, input=target, target=target, input_index=index, target_index=index, background=torch.ones(2, 3)
    )
    rendering = Rendering(truth["pred_image"], truth["pred_alpha"], torch.zeros_like(mask))
    return both(gaussians), rendering, batch, truth


@recorded
@pytest.mark.parametrize("weight", [0.0, 0.7])
def test_the_total_is_the_recorded_one(case, weight, monkeypatch):
    gaussians, rendering, batch, truth = case
    monkeypatch.setattr(utils_losses.LpipsDistance, "pretrained", staticmethod(FakeLpips))
    config = LossesConfig(l2_loss_weight=1.0, alpha_loss_weight=1.0, lpips_loss_weight=weight)
    report = Losses(config, ScheduleConfig(), model=ModelConfig())(gaussians, rendering, batch, step=0)
    torch.testing.assert_close(report.total, truth[f"loss_lam{weight}"], atol=1e-6, rtol=1e-6)


@recorded
def test_the_recorded_psnr_is_that_of_the_whole_batch(case):
    _, rendering, batch, truth = case
    error = (rendering.rgb - batch.target.images).square().mean()
    torch.testing.assert_close(-10 * error.log10(), truth["psnr"], atol=1e-5, rtol=0)
    pictures = psnr(rendering.rgb.flatten(0, 1), batch.target.images.flatten(0, 1))
    assert pictures.mean() > truth["psnr"]  # ours is per picture, which forgives one bad picture more


@pytest.mark.parametrize("name", ["lgm", "mouse_lgm_6view"])
def test_the_recipe_is_squared_errors_of_colour_and_alpha_with_lpips_later(name):
    training = load_config(CONFIGS / f"{name}.yaml").training
    losses = training.losses
    weights = {key: value for key, value in losses.model_dump().items() if key.endswith("_weight") and value}
    assert weights == {"l2_loss_weight": 1.0, "alpha_loss_weight": 1.0, "lpips_loss_weight": 1.0}
    assert not losses.masked_l2_loss
    assert training.schedule.l2_warmup_steps >= 500
