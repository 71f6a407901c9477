"""Decay groups, schedule."""

import json

import pytest
import torch
from helpers import FIXTURES

from gslrm.config import ModelConfig, OptimizerConfig
from gslrm.model import build_model
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
