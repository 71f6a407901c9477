"""LGM's files: whole, by the original names, in any precision; what of LGM is frozen or adapted."""

import json
import struct
from pathlib import Path

import pytest
import torch
from lgm_helpers import lgm_config, random_maps, small_lgm
from model_helpers import random_views

from gslrm.config import ModelConfig
from gslrm.config.adapt import AdaptConfig, EmaConfig, LoraConfig
from gslrm.errors import UserError
from gslrm.model import build_model
from gslrm.model.adapt import anatomy_of_model, choose_trainable, trainable_groups
from gslrm.model.adapt_lora import adapter_of
from gslrm.model.adapter import trainable, whole_state
from gslrm.model.weights import load_published, read_checkpoint_file
from gslrm.training.ema import WeightAverage

HEADS = ("unet.norm_out.", "unet.conv_out.", "conv.")


def write_published(path: Path, weights: dict[str, torch.Tensor]) -> Path:
    """A safetensors file as LGM's are: no metadata, the header padded to 8 bytes. Written by hand, from the format."""
    kinds = {torch.float16: "F16", torch.float32: "F32"}
    header, body = {}, b""
    for name, value in weights.items():
        data = value.contiguous().numpy().tobytes()
        place = [len(body), len(body) + len(data)]
        header[name] = {"dtype": kinds[value.dtype], "shape": list(value.shape), "data_offsets": place}
        body += data
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + body)
    return path


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
def test_a_file_without_metadata_loads_whole_into_float32(tmp_path, dtype):
    source, model = small_lgm(), build_model(lgm_config())
    file = write_published(tmp_path / "model.safetensors", {k: v.to(dtype) for k, v in source.state_dict().items()})
    assert set(read_checkpoint_file(file)) == {"model"}
    report = load_published(model, file)
    assert report.share == 1 and not report.missing and not report.unexpected
    for name, value in model.state_dict().items():
        assert value.dtype == torch.float32
        assert torch.equal(value, source.state_dict()[name].to(dtype).float()), name


def test_less_or_more_than_the_whole_network_is_refused_and_changes_nothing():
    model, weights = build_model(lgm_config()), dict(small_lgm().state_dict())
    before = {name: value.clone() for name, value in model.state_dict().items()}
    less = {name: value for name, value in weights.items() if not name.startswith("unet.mid_block.attns.")}
    with pytest.raises(UserError, match=r"5 missing \(first: unet.mid_block.attns.0.norm.weight\)"):
        load_published(model, less)
    with pytest.raises(UserError, match=r"1 unknown to the model \(first: unet.time_embedding.weight\)"):
        load_published(model, weights | {"unet.time_embedding.weight": torch.zeros(1)})
    with pytest.raises(UserError, match=r"conv.weight is \(14, 13, 1, 1\), the model wants \(14, 14, 1, 1\)"):
        load_published(model, weights | {"conv.weight": torch.zeros(14, 13, 1, 1)})
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name])


def test_a_loss_that_was_saved_with_the_network_is_ignored_and_told():
    report = load_published(small_lgm(), small_lgm().state_dict() | {"lpips_loss.lin0.model.1.weight": torch.zeros(1)})
    assert report.ignored == ("lpips_loss.lin0.model.1.weight",)
    assert report.share == 1


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"lgm": {"down_channels": [32, 64]}}, "down_channels has 2 levels and down_attention 6"),
        ({"lgm": {"up_attention": [True]}}, "up_channels has 5 levels and up_attention 1"),
        ({"lgm": {"preset": "tiny", "down_channels": [32, 48, 128, 256, 512]}}, "48 is not a multiple of 32"),
        ({"lgm": {"preset": "tiny", "up_channels": [512, 128, 64]}}, "are not the first of .512, 256, 128, 64, 32."),
        ({"lgm": {"up_channels": [], "up_attention": []}}, "up_channels is empty"),
        ({"image_tokenizer": {"image_size": 240}}, "240 is not a multiple of 32, as lgm halves it 5 times"),
        ({"image_tokenizer": {"patch_size": 16}}, "patch_size is for family: gslrm"),
        ({"transformer": {"n_layer": 3}}, "transformer is for family: gslrm"),
        ({"clip_xyz": True}, "clip_xyz is for family: gslrm"),
    ],
)
def test_impossible_networks_are_refused_by_the_configuration(settings, message):
    with pytest.raises(ValueError, match=message):
        ModelConfig.model_validate({"family": "lgm"} | settings)


def test_keys_of_lgm_are_refused_where_nothing_reads_them():
    with pytest.raises(ValueError, match="lgm is for family: lgm"):
        ModelConfig.model_validate({"lgm": {"preset": "tiny"}})


@pytest.mark.parametrize(
    ("preset", "expected"),
    [
        ("none", lambda name: True),
        ("freeze_all", lambda name: name.startswith(("unet.conv_in.", *HEADS))),
        ("conservative", lambda name: name.startswith(("unet.up_blocks.", *HEADS))),
        ("decoder_only", lambda name: name.startswith(HEADS)),
        ("last_layer", lambda name: name.startswith(("unet.conv_out.", "conv."))),
    ],
)
def test_a_preset_trains_what_it_says_and_nothing_else_moves(preset, expected):
    model = small_lgm()
    choose_trainable(model, AdaptConfig(preset=preset))
    before = {name: value.detach().clone() for name, value in model.named_parameters()}
    assert set(trainable(model)) == {name for name in before if expected(name)}
    optimizer = torch.optim.SGD(trainable(model).values(), lr=0.1)
    gaussians = model(random_views(2))
    sum(getattr(gaussians, name).square().mean() for name in ("means", "scales", "harmonics", "opacities")).backward()
    optimizer.step()
    for name, value in model.named_parameters():  # some biases before a norm have no gradient but rounding
        assert (value.grad is not None) == expected(name), name
        assert torch.equal(value, before[name]) or expected(name), name
    assert not torch.equal(model.conv.weight, before["conv.weight"])


def test_each_level_learns_at_a_share_of_the_next_ones_rate():
    anatomy = anatomy_of_model(small_lgm())
    order = [
        "unet.conv_in.weight",
        *(f"unet.down_blocks.{level}.nets.0.conv1.weight" for level in range(3)),
        "unet.mid_block.attns.0.attn.qkv.weight",
        *(f"unet.up_blocks.{level}.nets.0.conv1.weight" for level in range(2)),
        "unet.norm_out.weight",
    ]
    shares = [anatomy.rate_share(name, decay=0.5) for name in order]
    assert shares == [2.0**-power for power in range(7, 0, -1)] + [1.0]
    assert anatomy.rate_share("unet.conv_out.bias", decay=0.5) == anatomy.rate_share("conv.weight", decay=0.5) == 1


def test_what_is_trained_is_listed_by_the_parts_of_the_network():
    model = small_lgm()
    groups = trainable_groups(model, AdaptConfig(), rate=1.0)
    names = ["conv_in", "down_blocks 0-2", "mid_block", "up_blocks 0-1", "norm_out", "conv_out", "conv"]
    assert [group.name for group in groups] == names
    assert sum(group.count for group in groups) == sum(value.numel() for value in model.parameters())


def test_lora_adapts_the_attention_and_merges_into_plain_weights():
    pytest.importorskip("peft")
    model, images = small_lgm(), random_maps(1, 3)
    plain = {name: value.clone() for name, value in whole_state(model).items()}
    lora = LoraConfig(rank=2)
    choose_trainable(model, AdaptConfig(lora=lora))
    layers = {name.rpartition(".lora_")[0] for name in trainable(model)}
    assert layers == {name.removesuffix(".weight") for name in plain if name.endswith(("qkv.weight", "proj.weight"))}
    assert set(whole_state(model)) == set(plain)
    for parameter in trainable(model).values():
        torch.nn.init.normal_(parameter, std=0.1)
    merged = small_lgm()
    load_published(merged, adapter_of(model, lora).merge(plain))
    with torch.no_grad():
        torch.testing.assert_close(merged.forward_maps(images), model.forward_maps(images), atol=2e-5, rtol=1e-4)
        assert (merged.forward_maps(images) - small_lgm().forward_maps(images)).abs().max() > 1e-2


def test_the_average_of_the_weights_is_kept_under_the_original_names():
    model = small_lgm()
    average = WeightAverage(trainable(model), EmaConfig(decay=0.5, warmup=1))
    before = model.conv.bias.detach().clone()
    model.conv.bias.data += 1
    average.update()
    assert set(average.state()["weights"]) == set(model.state_dict())
    torch.testing.assert_close(average.state()["weights"]["conv.bias"], before + 0.5)


@pytest.mark.parametrize(
    ("settings", "count"),
    [
        ({"preset": "freeze_all"}, 21_856),
        ({"preset": "conservative"}, 259_120_096),
        ({"preset": "decoder_only"}, 16_608),
        ({"preset": "last_layer"}, 16_352),
    ],
)
def test_presets_of_big_train_as_many_parameters_as_the_guide_says(settings, count):
    with torch.device("meta"):
        model = build_model(ModelConfig(family="lgm"))
        choose_trainable(model, AdaptConfig(**settings))
    assert sum(value.numel() for value in trainable(model).values()) == count
    guide = (Path(__file__).parents[2] / "docs" / "lgm.md").read_text(encoding="utf-8")
    assert f"`preset: {settings['preset']}`" in guide and f"| {count:,} |" in guide
