"""The pull towards the weights of the beginning."""

import pytest
import torch
from model_helpers import small_model

from gslrm.config.adapt import AdaptConfig
from gslrm.model.adapt import choose_trainable
from gslrm.model.adapt_distance import DistancePenalty
from gslrm.model.adapt_lora import adapter_of
from gslrm.model.adapter import trainable, whole_state

WEIGHT = 0.3


def moved(**settings: object) -> tuple[torch.nn.Module, AdaptConfig, dict[str, torch.Tensor]]:
    """A network whose trained parameters have left their beginning, with gradients of 1."""
    model, config = small_model(), AdaptConfig.model_validate(settings, strict=True)
    start = {name: value.clone() for name, value in model.state_dict().items()}
    choose_trainable(model, config)
    generator = torch.Generator().manual_seed(3)
    for value in trainable(model).values():
        value.data += 0.1 * torch.randn(value.shape, generator=generator)
        value.grad = torch.ones_like(value)
    return model, config, start


def penalty_of(model: torch.nn.Module, config: AdaptConfig, start: dict[str, torch.Tensor]) -> DistancePenalty:
    scale = config.lora.alpha / config.lora.rank if config.lora.rank else 1.0
    return DistancePenalty(model, weight=WEIGHT, scale=scale, start=start)


@pytest.mark.parametrize(
    "settings",
    [{}, {"preset": "conservative"}, {"lora": {"rank": 3, "alpha": 7.0}, "train": ["gaussian_upsampler.*"]}],
    ids=["all", "conservative", "LoRA and a head"],
)
def test_value_and_gradient_are_those_of_half_the_squared_distance_of_merged_weights(settings):
    if "lora" in settings:
        pytest.importorskip("peft")
    model, config, start = moved(**settings)
    value = penalty_of(model, config, start).add_gradients()
    double = {name: parameter.detach().double().requires_grad_() for name, parameter in trainable(model).items()}
    merged = dict(double)
    if config.lora.rank:
        merged = {key: tensor.double() for key, tensor in start.items()}
        for name, tensor in double.items():
            if name.endswith(".lora_B.weight"):
                layer, scale = name.removesuffix(".lora_B.weight"), adapter_of(model, config.lora).scale
                merged[f"{layer}.weight"] = (
                    merged[f"{layer}.weight"] + scale * tensor @ double[f"{layer}.lora_A.weight"]
                )
            elif not name.endswith(".lora_A.weight"):
                merged[name] = tensor
    expected = 0.5 * sum((tensor - start[name].double()).square().sum() for name, tensor in merged.items())
    expected.backward()
    assert value == pytest.approx(float(expected.detach()), rel=1e-5)
    for name, parameter in trainable(model).items():
        gradient = 1 + WEIGHT * double[name].grad
        torch.testing.assert_close(parameter.grad.double(), gradient, rtol=1e-4, atol=1e-6)


def test_at_the_beginning_the_distance_is_zero_and_nothing_is_pulled():
    model = small_model()
    start = {name: value.clone() for name, value in whole_state(model).items()}
    penalty = DistancePenalty(model, weight=WEIGHT, scale=1.0, start=start)
    for value in model.parameters():
        value.grad = torch.zeros_like(value)
    assert penalty.add_gradients() == 0
    assert all(not value.grad.any() for value in model.parameters())


def test_without_other_gradients_descent_returns_to_the_beginning():
    model, config, start = moved(preset="decoder_only")
    penalty, optimizer = penalty_of(model, config, start), torch.optim.SGD(trainable(model).values(), lr=1.0)
    distances = []
    for _ in range(40):
        for value in trainable(model).values():
            value.grad = torch.zeros_like(value)
        distances.append(penalty.add_gradients())
        optimizer.step()
    assert distances == sorted(distances, reverse=True)
    assert distances[-1] < 1e-6 * distances[0]


def test_the_beginning_is_copied_and_frozen_parts_have_none():
    model, config, start = moved(preset="decoder_only")
    penalty = penalty_of(model, config, start)
    held = sum(anchor.numel() for _, anchor in penalty.anchored)
    assert held == sum(value.numel() for value in trainable(model).values())
    before = penalty.add_gradients()
    for value in start.values():
        value.zero_()
    assert penalty.add_gradients() == before


def test_parameters_without_a_gradient_stay_without_one():
    model, config, start = moved(preset="decoder_only")
    name, first = next(iter(trainable(model).items()))
    first.grad = None
    penalty_of(model, config, start).add_gradients()
    assert first.grad is None, name
