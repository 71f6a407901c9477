"""The weighted sum: what counts when, and what is refused before or where it begins."""

from dataclasses import replace

import pytest
import torch
from loss_helpers import scene

from gslrm.config import LossesConfig, ModelConfig, ScheduleConfig
from gslrm.config_io import config_from_mapping
from gslrm.errors import UserError
from gslrm.model import utils_losses
from gslrm.model.utils_losses import Losses, LossReport, Term, require_alive

ALL_WEIGHTS = {
    "l2_loss_weight": 1.0,
    "background_loss_weight": 0.1,
    "alpha_loss_weight": 0.5,
    "alpha_iou_loss_weight": 0.3,
    "ssim_loss_weight": 0.2,
    "depth_loss_weight": 0.4,
    "opacity_loss_weight": 0.01,
    "scale_loss_weight": 0.02,
    "pixelalign_loss_weight": 0.6,
    "pointsdist_loss_weight": 0.7,
}


def losses(*, l2_warmup_steps: int = 0, **config: object) -> Losses:
    model = ModelConfig.model_validate({"image_tokenizer": {"image_size": 24}, "hull_range": 5.0})
    return Losses(LossesConfig(**config), ScheduleConfig(l2_warmup_steps=l2_warmup_steps), model=model)


@pytest.fixture
def case():
    mask = torch.zeros(2, 1, 24, 24)
    mask[:, :, 4:20, 4:20] = 1
    return scene(mask=mask, dtype=torch.float32)


@pytest.fixture
def networks(monkeypatch):
    """Stand-ins for weights that a test machine lacks: a plain mean instead of a distance of features."""

    class Mean(torch.nn.Module):
        def forward(self, rendered: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
            return (rendered - target).abs().mean()

    monkeypatch.setattr(utils_losses.LpipsDistance, "pretrained", staticmethod(Mean))
    monkeypatch.setattr(utils_losses.VggDistance, "from_file", staticmethod(lambda path: Mean()))


def test_the_total_is_the_weighted_sum_of_all_enabled_terms(case):
    report = losses(**ALL_WEIGHTS)(*case, step=0)
    assert {f"{name}_weight" for name in report.terms} == set(ALL_WEIGHTS)
    expected = sum(ALL_WEIGHTS[f"{name}_weight"] * value for name, value in report.terms.items())
    torch.testing.assert_close(report.total, expected)
    require_alive(report)
    assert report.begins == set(report.terms)


def test_a_gradient_reaches_everything_that_a_network_can_change(case):
    gaussians, rendering, batch = case
    leaf = lambda tensor: tensor.clone().requires_grad_()  # noqa: E731
    gaussians = replace(
        gaussians,
        means=leaf(gaussians.means),
        scales=leaf(gaussians.scales),
        opacities=leaf(gaussians.opacities),
    )
    rendering = rendering.map(leaf)
    losses(**ALL_WEIGHTS)(gaussians, rendering, batch, step=0).total.backward()
    for tensor in (gaussians.means, gaussians.scales, gaussians.opacities, *vars(rendering).values()):
        assert tensor.grad.isfinite().all()
        assert tensor.grad.abs().max() > 0


def test_losses_are_float32_under_autocast_whatever_comes_in(case):
    gaussians, rendering, batch = case
    chosen = losses(**ALL_WEIGHTS)
    plain = chosen(gaussians, rendering, batch, step=0).total
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert chosen(gaussians, rendering, batch, step=0).total == plain
    half = chosen(gaussians.to(torch.bfloat16), rendering, batch.to(torch.float64), step=0)
    assert {value.dtype for value in (half.total, *half.terms.values())} == {torch.float32}


def test_a_term_ramps_up_linearly_from_where_it_starts():
    term = Term(lambda c: c, weight=0.8, start=10, ramp=4)
    assert [round(term.weight_at(step), 9) for step in (0, 9, 10, 11, 12, 13, 14, 99)] == [
        0,
        0,
        0.2,
        0.4,
        0.6,
        0.8,
        0.8,
        0.8,
    ]
    assert Term(lambda c: c, weight=0.8).weight_at(0) == 0.8


def test_each_term_starts_and_ramps_as_configured(case):
    chosen = losses(ssim_loss_weight=1.0, alpha_loss_weight=1.0, starts={"ssim_loss": 3}, ramps={"ssim_loss": 2})
    reports = [chosen(*case, step=step) for step in range(5)]
    assert ["ssim_loss" in report.terms for report in reports] == [False, False, False, True, True]
    assert [set(report.begins) for report in reports] == [{"l2_loss", "alpha_loss"}, set(), set(), {"ssim_loss"}, set()]
    without = reports[0].total
    ssim = reports[3].terms["ssim_loss"]
    torch.testing.assert_close(reports[3].total, without + 0.5 * ssim)
    torch.testing.assert_close(reports[4].total, without + ssim)


def test_the_l2_warm_up_holds_back_networks_unless_starts_says_otherwise(case, networks):
    chosen = losses(lpips_loss_weight=1.0, perceptual_loss_weight=1.0, l2_warmup_steps=5, starts={"lpips_loss": 2})
    active = [set(chosen(*case, step=step).terms) - {"l2_loss"} for step in range(6)]
    assert active == [set(), set()] + 3 * [{"lpips_loss"}] + [{"lpips_loss", "perceptual_loss"}]


def test_the_points_warm_up_is_facelifts(case, networks):
    """Its first 1000 passes: L2 and perceptual 0, points-dist 0.1; SSIM as ever; perceptual later still by its own."""
    chosen = losses(ssim_loss_weight=0.3, perceptual_loss_weight=0.5, warmup_pointsdist=True, l2_warmup_steps=5000)
    weights = lambda step: {  # noqa: E731
        name: weight for name, term in chosen.terms.items() if (weight := term.weight_at(step))
    }
    assert weights(0) == weights(999) == {"ssim_loss": 0.3, "pointsdist_loss": 0.1}
    assert weights(1000) == weights(4999) == {"l2_loss": 1.0, "ssim_loss": 0.3}
    assert weights(5000) == {"l2_loss": 1.0, "ssim_loss": 0.3, "perceptual_loss": 0.5}
    assert [chosen.warming_up(step) for step in (0, 999, 1000)] == [True, True, False]
    assert chosen(*case, step=0).begins == {"ssim_loss", "pointsdist_loss"}
    assert chosen(*case, step=1000).begins == {"l2_loss"}


def test_after_the_points_warm_up_points_dist_has_its_own_weight():
    assert losses(warmup_pointsdist=True, pointsdist_loss_weight=0.4).terms["pointsdist_loss"].weight_at(1000) == 0.4


def test_a_term_without_effect_stops_the_run_where_it_begins_and_nowhere_else(case):
    gaussians, rendering, batch = case
    same = replace(rendering, alpha=batch.target.masks)
    late = losses(alpha_loss_weight=0.3, starts={"alpha_loss": 2})
    require_alive(late(gaussians, same, batch, step=0))
    with pytest.raises(UserError, match="alpha_loss is exactly 0 where it begins"):
        require_alive(late(gaussians, same, batch, step=2))
    require_alive(late(gaussians, same, batch, step=3))


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_a_term_that_is_not_finite_is_named(value):
    report = LossReport(torch.tensor(value), {"l2_loss": torch.tensor(value)}, frozenset({"l2_loss"}))
    with pytest.raises(UserError, match=r"l2_loss is (nan|inf) where it begins"):
        require_alive(report)


def test_a_masked_term_without_masks_is_dead_at_once(case):
    gaussians, rendering, batch = case
    unmasked = replace(batch, target=replace(batch.target, masks=torch.zeros_like(batch.target.masks)))
    with pytest.raises(UserError, match=r"l2_loss is exactly 0 .* \(masks\?\)"):
        require_alive(losses(masked_l2_loss=True)(gaussians, rendering, unmasked, step=0))


def test_without_any_term_the_cure_is_named():
    with pytest.raises(UserError, match="set l2_loss_weight"):
        losses(l2_loss_weight=0.0)


def test_a_pass_in_which_nothing_counts_is_refused(networks):
    with pytest.raises(UserError, match="no term counts in pass 0"):
        losses(l2_loss_weight=0.0, lpips_loss_weight=1.0, l2_warmup_steps=5)
    with pytest.raises(UserError, match="no term counts in pass 1000"):
        losses(l2_loss_weight=0.0, warmup_pointsdist=True)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"starts": {"lpips_los": 3}}, r"losses\.starts: should be 'l2_loss', "),
        ({"starts": {"lpips_loss": 3}}, "starts names lpips_loss, but lpips_loss_weight is 0"),
        ({"ramps": {"ssim_loss": 3}}, "ramps names ssim_loss, but ssim_loss_weight is 0"),
        ({"ramps": {"l2_loss": 0}}, r"ramps: should be greater than or equal to 1"),
        ({"starts": {"l2_loss": -1}}, r"starts: should be greater than or equal to 0"),
        ({"ssim_mask": "windows", "ssim_loss_weight": 0.1}, "ssim_mask windows needs masked_ssim_loss: true"),
        ({"pixelalign_loss_weight": 1.0}, r"needs model\.hard_pixelalign: false"),
        (
            {"warmup_pointsdist": True, "pointsdist_loss_weight": 1.0, "starts": {"pointsdist_loss": 3}},
            "starts cannot name pointsdist_loss",
        ),
    ],
)
def test_a_combination_that_would_do_nothing_is_refused_with_the_reason(settings, message):
    with pytest.raises(UserError, match=message):
        config_from_mapping({"training": {"losses": settings}}, source="x.yaml")


def test_starts_merge_along_a_chain_of_files(tmp_path):
    from gslrm.config_io import load_config

    (tmp_path / "base.yaml").write_text("training: {losses: {ssim_loss_weight: 0.1, starts: {ssim_loss: 5}}}")
    (tmp_path / "x.yaml").write_text(
        "base: base.yaml\ntraining: {losses: {alpha_loss_weight: 1, starts: {alpha_loss: 2}}}"
    )
    config = load_config(tmp_path / "x.yaml", ["training.losses.starts.ssim_loss=9"])
    assert config.training.losses.starts == {"ssim_loss": 9, "alpha_loss": 2}


@pytest.mark.parametrize("value", [True, False])
def test_masked_ssim_stays_a_boolean(value):
    mapping = {"training": {"losses": {"ssim_loss_weight": 0.1, "masked_ssim_loss": value}}}
    config = config_from_mapping(mapping, source="x.yaml").training.losses
    assert (config.masked_ssim_loss, config.ssim_mask) == (value, "neutral")
