"""Fine-tuning inside a run: it stops and goes on exactly, keeps its base, and inference uses what it says."""

import json
import logging

import pytest
import torch
from adaptation_helpers import EMA, HEAD, LORA, assert_same, begin, configure, core, newest, run

from gslrm.errors import UserError
from gslrm.model import build_model
from gslrm.model.adapter import whole_state
from gslrm.model.weights import load_published, read_checkpoint_file
from gslrm.reconstruct import Reconstructor
from gslrm.training.validation import Validation, ValidationReport


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
    rate = trainer.course.set_learning_rate()
    assert rate == pytest.approx(1e-3)  # the first of two updates of warm-up to 2e-3
    shares = sorted({group["lr"] / rate for group in trainer.update.optimizer.param_groups})
    assert shares == pytest.approx([0.0625, 0.125, 0.25, 0.5, 1.0])


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
