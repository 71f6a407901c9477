"""LoRA inside a run: its checkpoints are small, name their base, and are merged wherever weights are used."""

from pathlib import Path

import pytest
import torch
from adaptation_helpers import EMA, HEAD, LORA, assert_same, begin, configure, core, newest, run
from model_helpers import random_views

from gslrm.errors import UserError
from gslrm.model.adapter import fingerprint, trainable, whole_state
from gslrm.model.weights import read_checkpoint_file, read_state_dict
from gslrm.reconstruct import Reconstructor
from gslrm.training.plain_weights import adapter_alone, plain_weights

pytest.importorskip("peft")


def test_lora_checkpoints_hold_what_is_trained_and_the_base_stays_bit_for_bit(samples, pretrained, tmp_path):
    trainer = run(configure(samples, LORA), tmp_path, pretrained)
    assert_same(whole_state(trainer.model), core(pretrained))
    content = read_checkpoint_file(newest(tmp_path))
    assert "model" not in content
    assert set(content["adapter"]["tensors"]) == set(trainable(trainer.model)) == set(content["trained"])
    assert content["base"] == {"path": str(pretrained), "fingerprint": fingerprint(core(pretrained))}
    assert all(".lora_" in name for name in content["trained"])


def test_inference_merges_lora_to_what_training_had(samples, pretrained, tmp_path):
    trainer = run(configure(samples, LORA | HEAD | EMA), tmp_path, pretrained)
    merged = Reconstructor.from_checkpoint(newest(tmp_path), device="cpu").model
    trainer.model.eval()
    with torch.no_grad(), trainer.adaptation.averaged():
        expected, found = trainer.model(random_views(4)), merged(random_views(4))
    for name in vars(expected):
        torch.testing.assert_close(getattr(found, name), getattr(expected, name), rtol=1e-5, atol=1e-5)
    assert not any(
        torch.equal(value, core(pretrained)[key]) for key, value in merged.state_dict().items() if "fc" in key
    )


def test_a_lora_checkpoint_is_refused_on_another_base_and_follows_a_base_that_moved(samples, pretrained, tmp_path):
    base, moved = tmp_path / "base.pt", tmp_path / "elsewhere.pt"
    base.write_bytes(pretrained.read_bytes())
    config = configure(samples, LORA)
    trainer = run(configure(samples, LORA, schedule={"early_stop_after": 4}), tmp_path / "run", base)
    base.rename(moved)
    for use in (
        lambda: Reconstructor.from_checkpoint(newest(tmp_path / "run")),
        lambda: begin(config, tmp_path / "run"),
    ):
        with pytest.raises(
            UserError, match=r"base\.pt, which is not there; put it back, or .*--set training.adapt.base"
        ):
            use()
    other = {name: value + 1e-6 for name, value in core(pretrained).items()}
    torch.save({"model": other}, base)
    for use in (
        lambda: Reconstructor.from_checkpoint(newest(tmp_path / "run")),
        lambda: begin(config, tmp_path / "run"),
    ):
        with pytest.raises(UserError, match="belongs to weights with the fingerprint"):
            use()
    there = (f"training.adapt.base={moved}",)
    Reconstructor.from_checkpoint(newest(tmp_path / "run"), device="cpu", overrides=there)
    resumed = begin(configure(samples, LORA | {"base": str(moved)}), tmp_path / "run")
    assert resumed.position == trainer.position
    assert_same(trainable(resumed.model), trainable(trainer.model))


def test_a_base_given_as_latest_is_noted_as_the_file_it_was(samples, pretrained, tmp_path):
    run(configure(samples, {}), tmp_path / "full", pretrained)
    trainer = begin(configure(samples, LORA), tmp_path / "lora", newest(tmp_path / "full"))
    assert Path(trainer.adaptation.base.path).name == "ckpt_0000000000000008.pt"


def test_loading_a_lora_checkpoint_keeps_the_adapter_in_a_lora_run_and_merges_it_in_any_other(
    samples, pretrained, tmp_path
):
    first = run(configure(samples, LORA), tmp_path / "first", pretrained)
    again = begin(configure(samples, LORA), tmp_path / "again", newest(tmp_path / "first"))
    assert (again.position.passes, len(again.update.optimizer.state)) == (0, 0)
    assert_same(trainable(again.model), trainable(first.model))
    assert again.adaptation.base == first.adaptation.base
    plain = begin(configure(samples, {}), tmp_path / "plain", newest(tmp_path / "first"))
    assert_same(whole_state(plain.model), read_state_dict(newest(tmp_path / "first")))
    assert not torch.equal(
        whole_state(plain.model)["transformer_layers.0.attn.fc.weight"],
        core(pretrained)["transformer_layers.0.attn.fc.weight"],
    )
    with pytest.raises(UserError, match="merge it first: python scripts/export_weights.py"):
        begin(configure(samples, {"l2sp_weight": 1.0}), tmp_path / "pulled", newest(tmp_path / "first"))


def test_a_lora_run_begins_on_a_plain_checkpoint_of_ours_with_its_average(samples, pretrained, tmp_path):
    full = run(configure(samples, EMA), tmp_path / "full", pretrained)
    trainer = begin(configure(samples, LORA), tmp_path / "lora", newest(tmp_path / "full"))
    assert_same(whole_state(trainer.model), full.adaptation.average.averages)


def test_exported_lora_is_plain_or_small_and_both_are_used_alike(samples, pretrained, tmp_path):
    run(configure(samples, LORA | EMA), tmp_path / "run", pretrained)
    torch.save(plain_weights(newest(tmp_path / "run")), tmp_path / "merged.pt")
    torch.save(adapter_alone(newest(tmp_path / "run")), tmp_path / "adapter.pt")
    models = [
        Reconstructor.from_checkpoint(path, device="cpu").model.state_dict()
        for path in (newest(tmp_path / "run"), tmp_path / "merged.pt", tmp_path / "adapter.pt")
    ]
    assert_same(models[0], models[1])
    assert_same(models[0], models[2])
    assert list(read_checkpoint_file(tmp_path / "merged.pt")["model"]) == list(models[0])  # published names
    assert (tmp_path / "adapter.pt").stat().st_size < 0.5 * (tmp_path / "merged.pt").stat().st_size
    resumed = begin(configure(samples, LORA), tmp_path / "again", tmp_path / "adapter.pt")
    average = read_checkpoint_file(newest(tmp_path / "run"))["ema"]["weights"]
    assert_same({name: value.detach() for name, value in trainable(resumed.model).items()}, average)
    with pytest.raises(UserError, match="holds no adapter"):
        adapter_alone(tmp_path / "merged.pt")
