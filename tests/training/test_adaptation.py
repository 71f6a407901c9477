"""Fine-tuning inside a run: it stops and goes on exactly, keeps its base, and inference uses what it says."""

import json
import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import ring, write_ball_sample
from model_helpers import random_views
from training_helpers import settings

from gslrm.config import Config
from gslrm.config_io import config_from_mapping
from gslrm.errors import UserError
from gslrm.model import build_model
from gslrm.model.adapter import fingerprint, trainable, whole_state
from gslrm.model.weights import load_published, read_checkpoint_file, read_state_dict
from gslrm.reconstruct import Reconstructor
from gslrm.training.plain_weights import adapter_alone, plain_weights
from gslrm.training.resume import resume
from gslrm.training.trainer import Trainer
from gslrm.training.validation import Validation, ValidationReport

LORA = {"lora": {"rank": 4, "alpha": 8.0}}
EMA = {"ema": {"decay": 0.9}}
HEAD = {"train": ["pixel_gaussian_decoder.*"]}


@pytest.fixture(autouse=True)
def _peft(request: pytest.FixtureRequest) -> None:
    if "lora" in request.node.name.lower():
        pytest.importorskip("peft")


@pytest.fixture(scope="module")
def samples(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("samples")
    for number in range(3):
        write_ball_sample(folder / f"sample_{number}", ring(5, size=32), radius=26.0 + 3 * number)
    return folder


def configure(samples: Path, adapt: dict, validation: dict | None = None, **training: Any) -> Config:
    mapping = settings(samples, validation, adapt=adapt, **{"dataset": {"num_views": 5}} | training)
    mapping["model"]["transformer"]["n_layer"] = 3
    return config_from_mapping(mapping, source="test")


@pytest.fixture(scope="module")
def pretrained(samples, tmp_path_factory) -> Path:
    """Weights as published ones come: under 'model', with the VGG of a loss beside them."""
    torch.manual_seed(7)
    weights = build_model(configure(samples, {}).model).state_dict()
    path = tmp_path_factory.mktemp("pretrained") / "published.pt"
    torch.save({"model": weights | {"loss_calculator.vgg": torch.ones(2)}}, path)
    return path


def begin(config: Config, folder: Path, load: Path | None = None) -> Trainer:
    folder.mkdir(parents=True, exist_ok=True)
    trainer = Trainer(config, folder)
    resume(trainer, "auto", load=load)
    return trainer


def run(config: Config, folder: Path, load: Path | None = None) -> Trainer:
    trainer = begin(config, folder, load)
    trainer.run()
    return trainer


def newest(folder: Path) -> Path:
    return folder / "checkpoints/latest"


def core(path: Path) -> dict[str, torch.Tensor]:
    return {key: value for key, value in read_state_dict(path).items() if not key.startswith("loss_calculator.")}


def assert_same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> None:
    assert first.keys() == second.keys()
    for name, value in first.items():
        assert torch.equal(value, second[name]), name


@pytest.mark.parametrize(
    "adapt",
    [
        EMA | {"preset": "conservative", "layer_lr_decay": 0.7, "l2sp_weight": 0.1},
        EMA | LORA | HEAD | {"l2sp_weight": 0.1, "layer_lr_decay": 0.7},
    ],
    ids=["frozen with L2-SP and EMA", "LoRA with L2-SP and EMA"],
)
def test_a_run_stopped_and_resumed_is_the_uninterrupted_run_bit_for_bit(samples, pretrained, tmp_path, adapt):
    whole = run(configure(samples, adapt), tmp_path / "whole", pretrained)
    run(configure(samples, adapt, schedule={"early_stop_after": 4}), tmp_path / "parts", pretrained)
    parts = run(configure(samples, adapt, dataloader={"num_workers": 1}), tmp_path / "parts")
    assert whole.position == parts.position
    assert_same(dict(whole.model.named_parameters()), dict(parts.model.named_parameters()))
    assert whole.adaptation.average.updates == parts.adaptation.average.updates == 4
    assert_same(whole.adaptation.average.averages, parts.adaptation.average.averages)
    for a, b in zip(whole.update.optimizer.state.values(), parts.update.optimizer.state.values(), strict=True):
        assert torch.equal(a["exp_avg_sq"], b["exp_avg_sq"])
    timeless = [
        [{key: value for key, value in json.loads(line).items() if key in ("step", "train/loss", "train/l2sp")}
         for line in (tmp_path / name / "metrics.jsonl").read_text().splitlines()] for name in ("whole", "parts")
    ]  # fmt: skip
    assert timeless[0] == timeless[1]


def test_the_distance_is_logged_with_every_update_and_grows_from_zero(samples, pretrained, tmp_path):
    run(configure(samples, {"l2sp_weight": 1e-3}), tmp_path, pretrained)
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    distances = [line["train/l2sp"] for line in lines if "train/l2sp" in line]
    assert len(distances) == 4
    assert distances[0] == 0
    assert distances[1] > 0


def test_a_stronger_pull_ends_nearer_to_the_beginning(samples, pretrained, tmp_path):
    distances = []
    for weight in (0.0, 1e-2, 1.0):
        trainer = run(configure(samples, {"l2sp_weight": weight}), tmp_path / str(weight), pretrained)
        start = core(pretrained)
        moved = [(value - start[name]).square().sum() for name, value in whole_state(trainer.model).items()]
        distances.append(float(torch.stack(moved).sum()))
    assert distances[0] > distances[1] > distances[2] > 0


@pytest.mark.parametrize(
    "adapt", [{"preset": "decoder_only"}, {"l2sp_weight": 1.0}, LORA], ids=["frozen", "L2-SP", "LoRA"]
)
def test_keeping_weights_that_were_never_loaded_is_refused(samples, tmp_path, adapt):
    with pytest.raises(UserError, match="keeps loaded weights, and none were loaded: give --load PATH"):
        run(configure(samples, adapt), tmp_path)


def test_averaging_and_layer_rates_need_no_loaded_weights(samples, tmp_path):
    run(configure(samples, EMA | {"layer_lr_decay": 0.5}, schedule={"max_fwdbwd_passes": 2}), tmp_path)


def test_what_is_trained_is_told_once_before_the_first_pass(samples, pretrained, tmp_path, caplog):
    trainer = begin(configure(samples, {"preset": "conservative"}), tmp_path, pretrained)
    with caplog.at_level(logging.INFO, logger="gslrm"):
        trainer.run()
    told = [message for message in caplog.messages if "trainable parameters" in message]
    assert len(told) == 1
    assert "transformer_layers 2 " in told[0]
    assert "2.00e-03" in told[0]


def test_layer_rates_follow_the_schedule(samples, tmp_path):
    trainer = begin(configure(samples, {"layer_lr_decay": 0.5}), tmp_path)
    rate = trainer.set_learning_rate()
    assert rate == pytest.approx(1e-3)  # the first of two updates of warm-up to 2e-3
    shares = sorted({group["lr"] / rate for group in trainer.update.optimizer.param_groups})
    assert shares == pytest.approx([0.0625, 0.125, 0.25, 0.5, 1.0])


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


def test_validation_and_inference_use_the_average_and_training_goes_on_with_the_weights(samples, tmp_path, monkeypatch):
    seen = []
    score = Validation.run

    def spy(validation: Validation, reconstructor: Reconstructor, *rest: object) -> ValidationReport:
        seen.append({name: value.detach().clone() for name, value in reconstructor.model.named_parameters()})
        return score(validation, reconstructor, *rest)

    monkeypatch.setattr(Validation, "run", spy)
    validated = run(configure(samples, EMA, validation={"val_every": 4}), tmp_path / "validated")
    plain = run(configure(samples, EMA), tmp_path / "plain")
    average, weights = validated.adaptation.average.averages, dict(validated.model.named_parameters())
    assert len(seen) == 2
    assert_same(seen[-1], average)
    assert not torch.equal(average["patch_embedder.1.weight"], weights["patch_embedder.1.weight"])
    assert_same(weights, dict(plain.model.named_parameters()))
    checkpoint = newest(tmp_path / "validated")
    assert_same(Reconstructor.from_checkpoint(checkpoint, device="cpu").model.state_dict(), average)
    last = Reconstructor.from_checkpoint(checkpoint, device="cpu", overrides=("training.adapt.ema.decay=0",))
    assert_same(last.model.state_dict(), {name: value.detach() for name, value in weights.items()})


def test_frozen_parts_are_not_averaged(samples, pretrained, tmp_path):
    trainer = begin(configure(samples, EMA | {"preset": "last_layer"}), tmp_path, pretrained)
    assert list(trainer.adaptation.average.averages) == ["pixel_gaussian_decoder.1.weight"]


def test_load_takes_the_average_and_begins_a_new_one_there(samples, tmp_path):
    first = run(configure(samples, EMA), tmp_path / "first")
    second = begin(configure(samples, EMA), tmp_path / "second", newest(tmp_path / "first"))
    assert_same(dict(second.model.named_parameters()), first.adaptation.average.averages)
    assert_same(second.adaptation.average.averages, first.adaptation.average.averages)
    assert second.adaptation.average.updates == 0


def test_an_average_can_begin_in_the_middle_of_a_run(samples, tmp_path, caplog):
    run(configure(samples, {}, schedule={"early_stop_after": 4}), tmp_path)
    with caplog.at_level(logging.INFO, logger="gslrm"):
        trainer = begin(configure(samples, EMA), tmp_path)
    assert "holds no average" in caplog.text
    assert_same(trainer.adaptation.average.averages, dict(trainer.model.named_parameters()))


@pytest.mark.parametrize("adapt", [{"preset": "decoder_only"}, LORA], ids=["frozen", "LoRA"])
def test_an_optimiser_of_other_parameters_is_refused_and_weights_alone_are_taken(samples, pretrained, tmp_path, adapt):
    full = run(configure(samples, {}), tmp_path / "full", pretrained)
    foreign = {"resume_ckpt": str(newest(tmp_path / "full"))}
    with pytest.raises(UserError, match="latest: trained other parameters .*reset_training_state: true"):
        begin(configure(samples, adapt, checkpointing=foreign), tmp_path / "refused")
    taken = begin(configure(samples, adapt, checkpointing=foreign | {"reset_training_state": True}), tmp_path / "taken")
    assert_same(whole_state(taken.model), whole_state(full.model))
    assert taken.position.passes == 0
    taken.run()


def test_another_layer_decay_level_is_refused_but_another_decay_is_taken(samples, tmp_path):
    run(configure(samples, {"layer_lr_decay": 0.5}, schedule={"early_stop_after": 4}), tmp_path)
    with pytest.raises(UserError, match="groups its parameters otherwise"):
        begin(configure(samples, {}), tmp_path)
    trainer = begin(configure(samples, {"layer_lr_decay": 0.7}), tmp_path)
    assert sorted({group["lr_share"] for group in trainer.update.optimizer.param_groups})[-2] == 0.7


def test_a_reset_decay_reaches_every_group_that_decays(samples, tmp_path):
    adapt = {"layer_lr_decay": 0.5}
    run(configure(samples, adapt), tmp_path / "first")
    foreign = {"resume_ckpt": str(newest(tmp_path / "first"))}
    for reset, expected in ((True, 0.2), (False, 0.05)):
        config = configure(
            samples, adapt, checkpointing=foreign, optimizer={"reset_weight_decay": reset, "weight_decay": 0.2}
        )
        groups = begin(config, tmp_path / str(reset)).update.optimizer.param_groups
        assert {group["weight_decay"] for group in groups if group["decays"]} == {expected}
        assert {group["weight_decay"] for group in groups if not group["decays"]} == {0.0}


def test_a_pull_that_begins_in_the_middle_of_a_run_is_refused_but_not_from_another_runs_checkpoint(samples, tmp_path):
    first = run(configure(samples, {}, schedule={"early_stop_after": 4}), tmp_path / "first")
    with pytest.raises(UserError, match="began without training.adapt.l2sp_weight"):
        begin(configure(samples, {"l2sp_weight": 1.0}), tmp_path / "first")
    foreign = {"resume_ckpt": str(newest(tmp_path / "first"))}
    second = begin(configure(samples, {"l2sp_weight": 1.0}, checkpointing=foreign), tmp_path / "second")
    assert second.position == first.position
    assert second.adaptation.penalty.add_gradients() == 0


def test_runs_from_before_adaptation_resume(samples, tmp_path):
    run(configure(samples, {}, schedule={"early_stop_after": 4}), tmp_path)
    path = newest(tmp_path).resolve()
    content = read_checkpoint_file(path)
    del content["trained"], content["config"]["training"]["adapt"]
    for group in content["optimizer"]["param_groups"]:
        del group["lr_share"], group["decays"]
    torch.save(content, path)
    trainer = run(configure(samples, {}), tmp_path)
    assert trainer.position.passes == 8
    load_published(build_model(trainer.config.model), path)
