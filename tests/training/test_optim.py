"""Decay groups, schedule, and the guard around every update."""

import json

import pytest
import torch
from helpers import FIXTURES

from gslrm.config import ModelConfig, OptimizerConfig, RuntimeConfig
from gslrm.model import build_model
from gslrm.training.guard import GuardedUpdate
from gslrm.training.optim import build_optimizer, learning_rate


def test_the_schedule_warms_up_from_zero_peaks_and_ends_at_zero():
    rate = [learning_rate(n, peak=2.0, warmup=10, total=110) for n in range(111)]
    assert rate[0] == 0
    assert rate[5] == 1
    assert rate[10] == 2
    assert rate[60] == pytest.approx(1)
    assert rate[110] == pytest.approx(0)
    assert all(a >= b for a, b in zip(rate[10:], rate[11:], strict=False))


def test_parameters_are_grouped_in_the_published_order():
    with torch.device("meta"):
        model = build_model(ModelConfig())
    published = json.loads((FIXTURES / "facelift/optimizer_param_order_released.json").read_text())
    orders = [value for value in published.values() if isinstance(value, list) and len(value) in (100, 51)]
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    groups = build_optimizer(model, OptimizerConfig(), fused=False).param_groups
    assert [[names[id(p)] for p in group["params"]] for group in groups] == orders
    assert [group["weight_decay"] for group in groups] == [0.05, 0.0]


def guarded(**settings: object) -> tuple[torch.nn.Parameter, GuardedUpdate]:
    weight = torch.nn.Parameter(torch.ones(4))
    optimizer = torch.optim.AdamW([weight], lr=0.1)
    return weight, GuardedUpdate(optimizer, RuntimeConfig.model_validate(settings), scale=False, device="cpu")


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), 1e9])
def test_a_bad_gradient_moves_nothing_and_the_next_good_one_does(bad):
    weight, update = guarded()
    update.backward((weight * bad).sum())
    assert not update(losses_finite=True).taken
    assert torch.equal(weight, torch.ones(4))
    assert weight.grad is None
    assert not update.optimizer.state
    update.backward(weight.sum())
    assert update(losses_finite=True).taken
    assert (weight < 1).all()


def test_a_bad_loss_in_any_accumulated_pass_skips_the_update():
    weight, update = guarded()
    update.backward(weight.sum())
    assert not update(losses_finite=False).taken
    assert torch.equal(weight, torch.ones(4))


def test_gradients_are_clipped_to_the_norm():
    weight, update = guarded(grad_clip_norm=1.0)
    update.optimizer = torch.optim.SGD([weight], lr=1.0)
    update.backward((3 * weight).sum())  # norm 6
    assert update(losses_finite=True).gradient_norm == pytest.approx(6)
    torch.testing.assert_close((1 - weight).norm(), torch.tensor(1.0))


@pytest.mark.parametrize("scale", [False, True])
def test_an_update_without_any_gradient_is_skipped_and_the_next_one_taken(scale):
    weight = torch.nn.Parameter(torch.ones(4))
    update = GuardedUpdate(torch.optim.SGD([weight], lr=0.1), RuntimeConfig(), scale=scale, device="cpu")
    assert not update(losses_finite=False).taken
    update.backward(weight.sum())
    assert update(losses_finite=True).taken


def test_a_skipped_update_leaves_the_scaler_usable():
    weight = torch.nn.Parameter(torch.ones(4))
    optimizer = torch.optim.SGD([weight], lr=0.1)
    update = GuardedUpdate(optimizer, RuntimeConfig(), scale=True, device="cpu")
    before = update.scaler.get_scale()
    update.backward((weight * float("inf")).sum())
    assert not update(losses_finite=True).taken
    assert update.scaler.get_scale() < before
    update.backward(weight.sum())
    assert update(losses_finite=True).taken


@pytest.mark.parametrize("scale", [False, True])
def test_what_pulls_is_added_to_gradients_that_are_no_longer_scaled(scale):
    weight = torch.nn.Parameter(torch.ones(4))

    def pull() -> None:
        weight.grad += 2.0

    optimizer, config = torch.optim.SGD([weight], lr=0.1), RuntimeConfig(grad_clip_norm=0.0)
    update = GuardedUpdate(optimizer, config, scale=scale, device="cpu", pull=pull)
    update.backward(3 * weight.sum())
    assert update(losses_finite=True).gradient_norm == pytest.approx(2 * 5)
    torch.testing.assert_close(weight.detach(), torch.full((4,), 1 - 0.1 * 5))
