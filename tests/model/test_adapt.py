"""What is frozen, what learns, and at which rate."""

import json
from typing import get_args

import pytest
import torch
from helpers import FIXTURES
from model_helpers import random_views, small_model

from gslrm.config import ModelConfig, OptimizerConfig
from gslrm.config.adapt import AdaptConfig
from gslrm.config_io import config_from_mapping
from gslrm.errors import UserError
from gslrm.model import build_model
from gslrm.model.adapt import anatomy_of_model, choose_trainable, preset_patterns, trainable_groups, trainable_table
from gslrm.model.adapter import trainable, whole_state
from gslrm.training.optim import build_optimizer

PRESETS = get_args(AdaptConfig.model_fields["preset"].annotation)
HEADS = {"gaussian_upsampler.layernorm.weight", "gaussian_upsampler.linear.weight"} | {
    f"pixel_gaussian_decoder.{layer}.weight" for layer in (0, 1)
}


def adapted(layers: int = 3, **settings: object) -> torch.nn.Module:
    model = small_model(transformer={"d": 32, "d_head": 16, "n_layer": layers})
    choose_trainable(model, AdaptConfig.model_validate(settings, strict=True))
    return model


def published(**settings: object) -> torch.nn.Module:
    with torch.device("meta"):
        model = build_model(ModelConfig())
        choose_trainable(model, AdaptConfig.model_validate(settings, strict=True))
    return model


def take_step(model: torch.nn.Module, **options: object) -> None:
    optimizer = build_optimizer(model, OptimizerConfig(lr=1e-2), fused=True, **options)
    gaussians = model(random_views(2))
    sum(value.square().mean() for value in (gaussians.means, gaussians.harmonics, gaussians.opacities)).backward()
    optimizer.step()


@pytest.mark.parametrize(
    ("preset", "expected"),
    [
        ("none", lambda name: True),
        ("freeze_all", lambda name: not name.startswith("transformer_layers.")),
        ("conservative", lambda name: name.startswith("transformer_layers.2.") or name in HEADS),
        ("decoder_only", lambda name: name in HEADS),
        ("last_layer", lambda name: name == "pixel_gaussian_decoder.1.weight"),
    ],
)
def test_a_preset_trains_what_it_says_and_nothing_else_moves(preset, expected):
    model = adapted(preset=preset)
    before = {name: value.detach().clone() for name, value in model.named_parameters()}
    assert set(trainable(model)) == {name for name in before if expected(name)}
    take_step(model)
    for name, value in model.named_parameters():
        assert torch.equal(value, before[name]) != expected(name), name


def test_every_preset_of_the_schema_has_its_patterns():
    for preset in PRESETS:
        preset_patterns(preset, ["transformer_layers.0.norm1.weight"])


def test_frozen_blocks_before_the_first_that_learns_keep_no_graph():
    model = adapted(preset="conservative")
    tokens = model.transformer_layers[1](model.transformer_layers[0](model.embed(random_views(2))))
    assert not tokens.requires_grad
    assert model.transformer_layers[2](tokens).requires_grad


@pytest.mark.parametrize("preset", PRESETS)
def test_freezing_renames_nothing(preset):
    shapes = json.loads((FIXTURES / "facelift/key_shapes_released.json").read_text())["state_dict"]
    model = published(preset=preset)
    core = {key: tuple(shape) for key, shape in shapes.items() if not key.startswith("loss_calculator.")}
    assert {key: tuple(value.shape) for key, value in model.state_dict().items()} == core
    assert list(whole_state(model)) == list(model.state_dict())


def test_patterns_freeze_and_what_train_names_learns_all_the_same():
    model = adapted(freeze=["transformer_layers.[01].*", "*_embeddings"], train=["transformer_layers.1.norm?.weight"])
    frozen = {name for name, value in model.named_parameters() if not value.requires_grad}
    assert {name.rpartition(".norm")[0] for name in frozen if "norm" in name} == {"transformer_layers.0"}
    assert "gaussian_position_embeddings" in frozen
    assert "transformer_layers.1.attn.fc.weight" in frozen
    assert "transformer_layers.2.attn.fc.weight" not in frozen


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"freeze": ["transformer_layer.*"]},
            r"adapt.freeze: 'transformer_layer\.\*' .* mean 'transformer_layers\.\*'",
        ),
        ({"train": ["*.to_qvk.weight"]}, r"adapt.train: .*matches no parameter; did you mean .*'\*\.to_qkv\.weight'"),
        ({"freeze": ["zzz"]}, "names begin with gaussian_position_embeddings, gaussian_upsampler, input_layer_norm"),
        ({"freeze": ["transformer_layers.3.*"]}, "matches no parameter"),  # there are three
        ({"freeze": ["*"]}, "everything is frozen"),
    ],
)
def test_a_pattern_without_a_match_is_refused_with_what_comes_near(settings, message):
    with pytest.raises(UserError, match=message):
        adapted(**settings)


def test_a_preset_for_a_network_without_a_transformer_is_refused():
    with pytest.raises(
        UserError, match="preset decoder_only is for networks with transformer_layers or unet; use freeze"
    ):
        choose_trainable(torch.nn.Linear(2, 2), AdaptConfig(preset="decoder_only"))


def test_lora_and_freezing_by_name_exclude_each_other():
    mapping = {"training": {"adapt": {"preset": "freeze_all", "lora": {"rank": 4}}}}
    with pytest.raises(UserError, match="lora freezes everything by itself"):
        config_from_mapping(mapping, source="test")


def test_each_block_learns_at_a_share_of_the_next_ones_rate():
    anatomy = anatomy_of_model(adapted())
    rate = lambda name: anatomy.rate_share(name, decay=0.5)  # noqa: E731
    assert rate("pixel_gaussian_decoder.1.weight") == rate("gaussian_upsampler.layernorm.weight") == 1
    assert [rate(f"transformer_layers.{layer}.norm1.weight") for layer in (2, 1, 0)] == [0.5, 0.25, 0.125]
    assert rate("patch_embedder.1.weight") == rate("gaussian_position_embeddings") == 0.0625


def test_without_decay_all_learn_at_one_rate_in_two_groups():
    groups = build_optimizer(adapted(), OptimizerConfig(), fused=False).param_groups
    assert [(group["lr_share"], group["decays"]) for group in groups] == [(1.0, True), (1.0, False)]


def test_layer_wise_groups_hold_every_parameter_once_and_decay_matrices_only():
    model = adapted()
    groups = build_optimizer(model, OptimizerConfig(), fused=False, layer_lr_decay=0.5).param_groups
    names = {id(value): name for name, value in model.named_parameters()}
    assert sorted(names[id(p)] for group in groups for p in group["params"]) == sorted(names.values())
    for group in groups:
        for parameter in group["params"]:
            assert group["lr_share"] == anatomy_of_model(model).rate_share(names[id(parameter)], decay=0.5)
            assert group["weight_decay"] == (0.05 if parameter.ndim >= 2 else 0.0)


def test_the_table_counts_every_trainable_parameter_once_with_its_rate():
    model, config = adapted(preset="conservative"), AdaptConfig(preset="conservative", layer_lr_decay=0.5)
    groups = trainable_groups(model, config, rate=1e-3)
    assert sum(group.count for group in groups) == sum(value.numel() for value in trainable(model).values())
    assert [(group.name, group.rate) for group in groups] == [
        ("transformer_layers 2", 5e-4),
        ("gaussian_upsampler", 1e-3),
        ("pixel_gaussian_decoder", 1e-3),
    ]
    total = sum(value.numel() for value in model.parameters())
    assert f"of {total:,}" in trainable_table(model, config, rate=1e-3).splitlines()[-1]


@pytest.mark.parametrize(
    ("preset", "count"),  # 303,565,824 is the published core, 12,584,960 a block, 918,528 + 15,360 the heads
    [
        ("none", 303_565_824),
        ("freeze_all", 303_565_824 - 24 * 12_584_960),
        ("conservative", 8 * 12_584_960 + 933_888),
        ("decoder_only", 933_888),
        ("last_layer", 14 * 64 * 1024),
    ],
)
def test_presets_of_the_published_model_train_so_many_parameters(preset, count):
    assert sum(value.numel() for value in trainable(published(preset=preset)).values()) == count
