"""LoRA: nothing at first, the same when merged, small, and never on another base."""

import sys

import pytest
import torch
from model_helpers import random_views, small_model

from gslrm.config import ModelConfig, OptimizerConfig
from gslrm.config.adapt import AdaptConfig, LoraConfig
from gslrm.errors import UserError
from gslrm.model import build_model
from gslrm.model.adapt import choose_trainable
from gslrm.model.adapt_lora import adapter_of, set_adapter
from gslrm.model.adapter import Adapter, fingerprint, trainable, whole_state
from gslrm.model.weights import load_published
from gslrm.training.optim import build_optimizer
from gslrm.types import Gaussians

LIMIT_BYTES = 50_000_000


def with_lora(*, train: tuple[str, ...] = (), **lora: object) -> tuple[torch.nn.Module, LoraConfig]:
    pytest.importorskip("peft")
    model = small_model()
    config = AdaptConfig.model_validate({"lora": {"rank": 4} | lora, "train": list(train)}, strict=True)
    choose_trainable(model, config)
    return model, config.lora


def train(model: torch.nn.Module, steps: int = 4) -> None:
    optimizer = build_optimizer(model, OptimizerConfig(lr=1e-2), fused=True)
    for _ in range(steps):
        optimizer.zero_grad()
        gaussians = model(random_views(2))
        sum(value.square().mean() for value in (gaussians.means, gaussians.harmonics, gaussians.opacities)).backward()
        optimizer.step()


def difference(first: Gaussians, second: Gaussians) -> float:
    return max(float((getattr(first, name) - getattr(second, name)).detach().abs().max()) for name in vars(first))


def test_a_fresh_adapter_changes_nothing():
    plain, (adapted, _) = small_model(), with_lora()
    assert difference(plain(random_views(2)), adapted(random_views(2))) == 0


@pytest.mark.parametrize("trained", [(), ("pixel_gaussian_decoder.*",)])
def test_training_leaves_the_base_bit_for_bit_and_merging_reproduces_the_adapted_model(trained):
    start = small_model().state_dict()
    model, config = with_lora(train=trained, alpha=12.0)
    train(model)
    for name, value in whole_state(model).items():
        assert torch.equal(value, start[name]) != name.startswith("pixel_gaussian_decoder") or not trained
    plain = small_model()
    load_published(plain, adapter_of(model, config).merge(start))
    views = random_views(3, seed=5)
    assert difference(model(views), plain(views)) < 1e-5
    assert difference(model(views), small_model()(views)) > 1e-3  # it did learn something


def test_our_merge_is_pefts():
    model, config = with_lora(rank=3, alpha=7.0)
    train(model)
    merged = adapter_of(model, config).merge({key: value.clone() for key, value in whole_state(model).items()})
    for module in model.modules():
        if hasattr(module, "merge"):
            module.merge()
    for name, value in whole_state(model).items():
        torch.testing.assert_close(value, merged[name], atol=1e-6, rtol=1e-6)


def test_an_adapter_moves_to_a_fresh_base():
    model, config = with_lora(train=("gaussian_upsampler.*",))
    train(model)
    other, _ = with_lora(train=("gaussian_upsampler.*",))
    set_adapter(other, adapter_of(model, config), config, name="adapter.pt")
    assert difference(model(random_views(2)), other(random_views(2))) == 0


@pytest.mark.parametrize(
    ("there", "message"),
    [
        ({"rank": 2}, r"adapter.pt: its LoRA has .*lora_A.weight of \(4, 32\) .*wants \(2, 32\)"),
        ({"alpha": 8.0}, "alpha / rank 4, the configuration wants .* and 2;"),
        ({"targets": ["transformer_layers.*.mlp.*"]}, r"adapter.pt: trained other parameters .*attn\.fc\.lora_A"),
    ],
)
def test_an_adapter_is_refused_by_another_lora(there, message):
    model, config = with_lora()
    other, other_config = with_lora(**there)
    before = {name: value.detach().clone() for name, value in trainable(other).items()}
    with pytest.raises(UserError, match=message):
        set_adapter(other, adapter_of(model, config), other_config, name="adapter.pt")
    for name, value in trainable(other).items():
        assert torch.equal(value, before[name])


@pytest.mark.parametrize(
    ("targets", "per_layer"),
    [
        (["transformer_layers.*.attn.*", "transformer_layers.*.mlp.*"], 4 + 2 + 5 + 5),
        (["transformer_layers.*.attn.to_qkv"], 4),
    ],
)
def test_adapters_of_the_published_model_are_small(targets, per_layer):
    """A linear layer of `in` to `out` gets rank * (in + out) numbers: in units of d, qkv 4, out 2, the MLP 5 and 5."""
    pytest.importorskip("peft")
    with torch.device("meta"):
        model = build_model(ModelConfig())
        choose_trainable(model, AdaptConfig(lora=LoraConfig(rank=8, targets=targets)))
    count = sum(value.numel() for value in trainable(model).values())
    assert count == 24 * 8 * 1024 * per_layer
    assert 3 * 4 * count < LIMIT_BYTES  # with AdamW's two moments, all float32


def test_targets_must_be_linear_layers_and_are_not_trained_twice():
    with pytest.raises(UserError, match="'transformer_layers.0.norm1' matches no linear layer"):
        with_lora(targets=["transformer_layers.0.norm1"])
    with pytest.raises(UserError, match="LoRA adapts transformer_layers.0.attn.fc.weight; leave it out"):
        with_lora(train=("transformer_layers.0.attn.*",))


def test_without_peft_lora_names_the_cure_and_the_rest_works(monkeypatch):
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(UserError, match="needs peft .*python -m pip install 'peft>=0.17'"):
        choose_trainable(small_model(), AdaptConfig(lora=LoraConfig(rank=2)))
    choose_trainable(small_model(), AdaptConfig(preset="decoder_only"))


def test_merging_is_the_sum_of_the_weights_and_the_product():
    generator = torch.Generator().manual_seed(0)
    weight, down, up = (torch.randn(*shape, generator=generator) for shape in ((5, 3), (2, 3), (5, 2)))
    tensors = {"x.lora_B.weight": up, "x.lora_A.weight": down, "y": torch.ones(1)}
    merged = Adapter(tensors, scale=0.5).merge({"x.weight": weight, "y": torch.zeros(1), "z": torch.zeros(1)})
    torch.testing.assert_close(merged["x.weight"], weight + 0.5 * up @ down)
    assert (merged["y"].item(), merged["z"].item()) == (1, 0)


def test_a_fingerprint_sees_every_bit_and_every_name():
    weights = {"a": torch.arange(6.0).reshape(2, 3), "b": torch.ones(2)}
    changed = weights["a"].clone()
    changed[1, 2] = changed[1, 2].nextafter(torch.tensor(9.0))
    turned, renamed = weights | {"a": weights["a"].reshape(3, 2)}, {"a": weights["a"], "c": weights["b"]}
    others = [weights | {"a": changed}, turned, renamed]
    assert fingerprint(dict(reversed(weights.items()))) == fingerprint(weights)
    assert len({fingerprint(each) for each in [weights, *others]}) == 4
