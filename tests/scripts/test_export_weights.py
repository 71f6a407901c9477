"""The command that turns checkpoints of training into files of weights; it needs no peft."""

from pathlib import Path

import pytest
import torch
from command_helpers import call
from safetensors.torch import save_file

from gslrm.config import Config
from gslrm.config_io import config_from_mapping
from gslrm.errors import UserError
from gslrm.model import build_model
from gslrm.model.adapter import fingerprint
from gslrm.model.weights import load_published, read_checkpoint_file, read_state_dict

SCRIPT = "scripts/export_weights.py"
LAYER = "transformer_layers.0.attn.fc"


@pytest.fixture
def config() -> Config:
    small = {"image_tokenizer": {"image_size": 16}, "transformer": {"d": 32, "d_head": 16, "n_layer": 1}}
    adapt = {"lora": {"rank": 2, "alpha": 1.0}, "ema": {"decay": 0.9}}
    return config_from_mapping({"model": small, "training": {"adapt": adapt}}, source="test")


@pytest.fixture
def checkpoint(config, tmp_path) -> Path:
    """As a LoRA run with an average writes it: the adapter's own B is 0, its average is 1."""
    weights = build_model(config.model).state_dict()
    torch.save({"model": weights}, tmp_path / "base.pt")
    tensors = {f"{LAYER}.lora_A.weight": torch.ones(2, 32), f"{LAYER}.lora_B.weight": torch.zeros(32, 2)}
    content = {
        "adapter": {"tensors": tensors, "scale": 0.5},
        "base": {"path": str(tmp_path / "base.pt"), "fingerprint": fingerprint(weights)},
        "ema": {"updates": 3, "weights": tensors | {f"{LAYER}.lora_B.weight": torch.ones(32, 2)}},
        "config": config.model_dump(mode="json"),
    }
    torch.save(content, tmp_path / "checkpoint.pt")
    return tmp_path / "checkpoint.pt"


@pytest.mark.parametrize("options", [(), ("--adapter-only",)], ids=["merged", "adapter only"])
def test_the_average_is_merged_into_the_base_now_or_when_it_is_read(config, checkpoint, tmp_path, options):
    output = tmp_path / "out/weights.pt"
    assert call(SCRIPT, "--checkpoint", checkpoint, "--output", output, *options) == 0
    model = build_model(config.model)
    load_published(model, output)
    base = read_state_dict(tmp_path / "base.pt")
    base[f"{LAYER}.weight"] += 0.5 * torch.ones(32, 2) @ torch.ones(2, 32)
    for name, value in model.state_dict().items():
        torch.testing.assert_close(value, base[name])
    assert ("model" in torch.load(output, weights_only=True)) == (not options)


def test_without_the_average_the_last_weights_are_written(checkpoint, tmp_path):
    output = tmp_path / "weights.pt"
    assert (
        call(
            "scripts/export_weights.py",
            "--checkpoint",
            checkpoint,
            "--output",
            output,
            "--set",
            "training.adapt.ema.decay=0",
        )
        == 0
    )
    base, written = read_state_dict(tmp_path / "base.pt"), read_state_dict(output)
    for name, value in base.items():
        assert torch.equal(value, written[name])


def test_a_base_that_is_gone_is_named_and_nothing_is_written(checkpoint, tmp_path, capsys):
    (tmp_path / "base.pt").unlink()
    assert call(SCRIPT, "--checkpoint", checkpoint, "--output", tmp_path / "weights.pt") == 2
    assert "base.pt, which is not there" in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "weights.pt").exists()


def test_safetensors_carry_the_weights_and_their_configuration(config, checkpoint, tmp_path):
    pt, exchange = tmp_path / "weights.pt", tmp_path / "weights.safetensors"
    for output in (pt, exchange):
        assert call(SCRIPT, "--checkpoint", checkpoint, "--output", output) == 0
    plain, content = read_checkpoint_file(pt), read_checkpoint_file(exchange)
    assert content["config"] == plain["config"]
    assert content["model"].keys() == plain["model"].keys()
    for key, value in plain["model"].items():
        assert torch.equal(content["model"][key], value)


def test_safetensors_of_other_programs_have_no_configuration(tmp_path):
    save_file({"a": torch.ones(2)}, tmp_path / "theirs.safetensors")
    assert read_checkpoint_file(tmp_path / "theirs.safetensors").keys() == {"model"}


@pytest.mark.parametrize("keep", [0, 5, 40, 2000, -1])
def test_cut_safetensors_are_refused_by_name(checkpoint, tmp_path, keep):
    whole, cut = tmp_path / "whole.safetensors", tmp_path / "cut.safetensors"
    assert call(SCRIPT, "--checkpoint", checkpoint, "--output", whole) == 0
    cut.write_bytes(whole.read_bytes()[:keep])
    with pytest.raises(UserError, match=r"cut\.safetensors"):
        read_checkpoint_file(cut)


def test_an_adapter_alone_is_no_safetensors_file(checkpoint, tmp_path, capsys):
    assert (
        call(
            "scripts/export_weights.py",
            "--checkpoint",
            checkpoint,
            "--output",
            tmp_path / "a.safetensors",
            "--adapter-only",
        )
        != 0
    )
    assert "leave --adapter-only away" in capsys.readouterr().err
    assert not (tmp_path / "a.safetensors").exists()
