"""Faults put into a running training: what is not finite is skipped, counted, named, and leaves no other trace."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from training_helpers import configure, differences, lines, repeatable

from gslrm.config import Config
from gslrm.data import load_batches
from gslrm.errors import UserError
from gslrm.model.utils_losses import LossReport
from gslrm.training.resume import resume
from gslrm.training.runtime import Runtime
from gslrm.training.trainer import Trainer
from gslrm.types import Batch, Rendering

NAN, INF = float("nan"), float("inf")
Fault = str
AVERAGED = {"ema": {"decay": 0.9}}


@pytest.fixture
def half(monkeypatch) -> None:
    """Runs in float16 on the CPU, which users are refused because it is slow there."""
    monkeypatch.setattr("gslrm.reconstruct.build_runtime", lambda config: Runtime(torch.device("cpu"), torch.float16))


def spoil(images: torch.Tensor) -> torch.Tensor:
    """One channel of one pixel of one view."""
    spoiled = images.clone()
    spoiled[0, 1, 0, 3, 5] = NAN
    return spoiled


class Faulty(Trainer):
    """A run with faults in passes that are counted from 1."""

    def __init__(self, config: Config, folder: Path, faults: Mapping[int, Fault]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        super().__init__(config, folder)
        self.faults = faults
        self.fault = ""
        weight = next(self.model.parameters())
        weight.register_hook(self._on_gradient)

    def train_pass(self, batch: Batch) -> tuple[dict[str, float], Rendering]:
        self.fault = self.faults.get(self.position.passes + 1, "")
        if self.fault == "scale":
            self.update.scaler.update(INF)
        for place in ("input", "target"):
            if self.fault == f"{place} picture":
                views = getattr(batch, place)
                batch = replace(batch, **{place: replace(views, images=spoil(views.images))})
        return super().train_pass(batch)

    def step(self, batch: Batch) -> tuple[LossReport, Rendering]:
        report, rendering = super().step(batch)
        return (replace(report, total=report.total * NAN) if self.fault == "loss" else report), rendering

    def _on_gradient(self, gradient: torch.Tensor) -> torch.Tensor:
        factor = {"nan gradient": NAN, "inf gradient": INF, "huge gradient": 1e9}.get(self.fault)
        if factor is None:
            return gradient
        spoiled = gradient.clone()
        spoiled.view(-1)[7] += factor * (self.update.scaler.get_scale() if factor == 1e9 else 1.0)
        return spoiled


def run(config: Config, folder: Path, faults: Mapping[int, Fault] | None = None) -> Faulty:
    trainer = Faulty(config, folder, faults or {})
    resume(trainer, "auto")
    trainer.run()
    return trainer


def run_without(config: Config, folder: Path, left_out: set[int], halve: bool = False) -> Trainer:
    """Take all passes but those left out, whose samples are not even looked at."""
    folder.mkdir()
    trainer = Trainer(config, folder)
    for number, batch in enumerate(load_batches(trainer.dataset, config, start=0, stop=trainer.plan.stop), start=1):
        if number not in left_out:
            trainer.train_pass(batch)
            continue
        trainer.course.position = replace(trainer.position, passes=number)
        if halve:
            trainer.update.scaler.update(trainer.update.scaler.get_scale() / 2)
            halve = False
    return trainer


def everything(trainer: Trainer) -> dict:
    """Weights, moments and average."""
    average = trainer.adaptation.average
    return {
        "weights": trainer.model.state_dict(),
        "moments": trainer.update.optimizer.state_dict(),
        "average": {} if average is None else average.averages,
    }


def all_finite(value: object) -> bool:
    if isinstance(value, torch.Tensor):
        return bool(value.isfinite().all())
    if isinstance(value, dict):
        return all(map(all_finite, value.values()))
    return not isinstance(value, list) or all(map(all_finite, value))


PLACES = pytest.mark.parametrize("place", [3, 4], ids=["first of the update", "last of the update"])
FAULTS = {
    "input picture": "loss",
    "target picture": "loss",
    "loss": "loss",
    "nan gradient": "gradient",
    "inf gradient": "gradient",
    "huge gradient": "norm",
}


@PLACES
@pytest.mark.parametrize("fault", FAULTS)
def test_after_a_fault_the_run_is_the_one_whose_update_was_left_out(samples, tmp_path, caplog, fault, place):
    """Two passes an update; the fault is in the second of four updates."""
    config = configure(samples, adapt=AVERAGED)
    with caplog.at_level(logging.WARNING):
        faulty = run(config, tmp_path / "faulty", {place: fault})
    without = run_without(config, tmp_path / "without", {3, 4})
    assert not differences(everything(faulty), everything(without))
    assert all_finite(everything(faulty))
    assert faulty.position.updates == without.position.updates == 3
    assert faulty.position.skips.by_reason == {FAULTS[fault]: 1}
    assert faulty.position.skips.in_row == 0
    (line,) = [line for line in lines(tmp_path / "faulty") if line.get("train/skipped_updates")]
    assert line["step"] == 4
    named = lines(tmp_path / "faulty")[2]["train/samples"] + without_duplicates(faulty, 4)
    assert line["train/samples"] == named
    (message,) = [record.getMessage() for record in caplog.records if "update skipped" in record.getMessage()]
    assert all(name in message for name in named)


def without_duplicates(trainer: Trainer, number: int) -> list[str]:
    """Names of the samples of pass `number`."""
    (batch,) = load_batches(trainer.dataset, trainer.config, start=number - 1, stop=number)
    return list(batch.names)


def test_skipped_updates_do_not_advance_the_schedule(samples, tmp_path):
    config = configure(samples, runtime={"grad_accum_steps": 1})
    run(config, tmp_path / "faulty", {3: "loss", 5: "huge gradient"})
    run(config, tmp_path / "sound")
    faulty, sound = ([line["train/lr"] for line in lines(tmp_path / name)] for name in ("faulty", "sound"))
    assert faulty == [*sound[:3], *sound[2:4], *sound[3:6]]


@pytest.mark.parametrize("fault", ["nan gradient", "inf gradient"])
def test_in_float16_a_fault_halves_the_scale_and_leaves_no_other_trace(samples, tmp_path, half, fault):
    config = configure(samples, adapt=AVERAGED)
    faulty = run(config, tmp_path / "faulty", {4: fault})
    without = run_without(config, tmp_path / "without", {3, 4}, halve=True)
    assert not differences(everything(faulty), everything(without))
    assert faulty.position.skips.by_reason == {"overflow": 1}
    assert [line["train/scale"] for line in lines(tmp_path / "faulty") if "train/scale" in line] == [
        65536, 65536, 32768, 32768,
    ]  # fmt: skip


def test_in_float16_faults_of_every_kind_in_a_row_leave_the_scaler_usable(samples, tmp_path, half):
    """Unscaled gradients that were not stepped used to end a run at its next update."""
    config = configure(samples, schedule={"max_fwdbwd_passes": 9}, runtime={"grad_accum_steps": 1})
    order = ["huge gradient", "huge gradient", "nan gradient", "loss", "loss", "inf gradient", "input picture"]
    trainer = run(config, tmp_path / "run", dict(enumerate(order, start=2)))
    assert trainer.position.updates == 2
    assert trainer.position.skips.by_reason == {"norm": 2, "overflow": 2, "loss": 3}
    assert all_finite(everything(trainer))
    assert trainer.update.scaler.get_scale() == 2.0**14


def test_in_float16_an_infinite_scale_costs_one_update(samples, tmp_path, half):
    config = configure(samples, runtime={"grad_accum_steps": 1})
    trainer = run(config, tmp_path / "run", {4: "scale"})
    assert trainer.position.updates == 7
    assert trainer.position.skips.by_reason == {"overflow": 1}
    assert all_finite(everything(trainer))
    logged = [line["train/scale"] for line in lines(tmp_path / "run")]
    assert logged[3] is None  # JSON has no infinity
    assert set(logged[:3] + logged[4:]) == {65536}


def test_in_float16_a_scale_that_is_far_too_large_is_found_out_without_ending_the_run(samples, tmp_path, half):
    config = configure(
        samples, runtime={"grad_accum_steps": 1, "max_skipped_updates": 2}, schedule={"max_fwdbwd_passes": 60}
    )
    trainer = Faulty(config, tmp_path / "run", {})
    trainer.update.scaler.update(2.0**40)
    trainer.run()
    skips = trainer.position.skips
    assert skips.by_reason == {"overflow": skips.total}
    assert 5 < skips.total < 40
    assert trainer.position.updates == 60 - skips.total
    losses = [line["train/loss"] for line in lines(tmp_path / "run")]
    assert sum(losses[-6:]) < 0.9 * sum(losses[:6])


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("loss", "a loss was not finite .*scripts/check_data.py"),
        ("nan gradient", "a gradient was not finite .*bf16 or fp32"),
        ("huge gradient", "the gradient norm was far beyond the clip .*limit 20;.*allowed_gradnorm_factor"),
    ],
)
def test_faults_without_end_stop_the_run_at_the_limit_with_a_diagnosis(samples, tmp_path, fault, said):
    config = configure(samples, runtime={"grad_accum_steps": 1, "max_skipped_updates": 3})
    with pytest.raises(UserError, match=f"3 updates in a row were skipped because {said}") as stopped:
        run(config, tmp_path / "run", dict.fromkeys(range(4, 9), fault))
    last = lines(tmp_path / "run")[-1]
    assert last["step"] == 6
    assert last["train/skipped_updates"] == 3
    assert last["train/samples"][0] in str(stopped.value)


def test_faults_with_good_updates_between_them_never_stop_a_run(samples, tmp_path):
    config = configure(samples, runtime={"grad_accum_steps": 1, "max_skipped_updates": 2})
    trainer = run(config, tmp_path / "run", {2: "loss", 4: "huge gradient", 6: "nan gradient", 8: "loss"})
    assert trainer.position.skips.total == 4


def test_a_run_whose_first_pass_is_not_finite_stops_at_once(samples, tmp_path):
    with pytest.raises(UserError, match="is nan where it begins; check cameras and images"):
        run(configure(samples), tmp_path / "run", {1: "input picture"})


def test_a_pass_that_has_no_picture_draws_none_and_claims_no_overlap(samples, tmp_path):
    run(configure(samples, logging={"vis_every": 3}), tmp_path / "run", {3: "input picture"})
    assert {path.stem[-8:] for path in (tmp_path / "run/pictures").iterdir()} == {"00000006"}
    assert "train/mask_iou" not in lines(tmp_path / "run")[2]


def interrupted(
    make: Callable[[Config, Path], Trainer], samples: Path, folder: Path, **runtime: object
) -> tuple[Trainer, Trainer]:
    """A run that was stopped after pass 4 of 8 and went on, and one that was not."""
    options = {"grad_accum_steps": 1, **runtime}
    whole = make(configure(samples, runtime=options), folder / "whole")
    make(
        configure(samples, runtime=options, schedule={"max_fwdbwd_passes": 8, "early_stop_after": 4}), folder / "parts"
    )
    return whole, make(configure(samples, runtime=options), folder / "parts")


def test_a_run_resumed_in_the_midst_of_skips_is_the_uninterrupted_one(samples, tmp_path):
    faults = {2: "huge gradient", 4: "loss", 5: "nan gradient", 6: "loss"}
    whole, parts = interrupted(lambda config, folder: run(config, folder, faults), samples, tmp_path)
    assert whole.position == parts.position
    assert whole.position.skips.by_reason == {"norm": 1, "loss": 2, "gradient": 1}
    assert not differences(everything(whole), everything(parts))
    assert repeatable(tmp_path / "whole") == repeatable(tmp_path / "parts")


def test_a_float16_run_resumed_in_the_midst_of_overflows_is_the_uninterrupted_one(samples, tmp_path, half):
    faults = dict.fromkeys((3, 4, 5, 6), "inf gradient")
    whole, parts = interrupted(lambda config, folder: run(config, folder, faults), samples, tmp_path)
    assert whole.position == parts.position
    assert not differences(everything(whole), everything(parts))
    assert whole.update.scaler.state_dict() == parts.update.scaler.state_dict()
    assert repeatable(tmp_path / "whole") == repeatable(tmp_path / "parts")


def test_skips_before_and_after_an_interruption_count_together(samples, tmp_path):
    faults = dict.fromkeys(range(3, 9), "loss")

    def stop_after(config: Config, folder: Path) -> Trainer:
        trainer = Faulty(config, folder, faults)
        resume(trainer, "auto")
        if config.training.schedule.early_stop_after:
            trainer.run()
        else:
            with pytest.raises(UserError, match="3 updates in a row"):
                trainer.run()
        return trainer

    whole, parts = interrupted(stop_after, samples, tmp_path, max_skipped_updates=3)
    assert whole.position == parts.position
    assert whole.position.passes == 5
