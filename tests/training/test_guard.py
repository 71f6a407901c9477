"""The guard around every update: what it skips, what it leaves untouched, how it counts, when it ends a run."""

import math
from collections.abc import Callable
from functools import partial

import pytest
import torch

from gslrm.config import RuntimeConfig
from gslrm.training.guard import GuardedUpdate
from gslrm.training.skips import REASONS, Skips, UpdateReport, describe, diagnose

NAN, INF = float("nan"), float("inf")


def guarded(
    *, scale: bool = False, agree: Callable[[bool], bool] = bool, **settings: object
) -> tuple[torch.nn.Parameter, GuardedUpdate]:
    weight = torch.nn.Parameter(torch.ones(4))
    config = RuntimeConfig.model_validate(settings)
    return weight, GuardedUpdate(torch.optim.AdamW([weight], lr=0.1), config, scale=scale, device="cpu", agree=agree)


def record(calls: list[str], name: str, function: Callable[..., None], *arguments: object) -> None:
    calls.append(name)
    function(*arguments)


def moments(update: GuardedUpdate) -> list[torch.Tensor]:
    return [value.clone() for state in update.optimizer.state.values() for value in state.values()]


@pytest.mark.parametrize("scale", [False, True])
@pytest.mark.parametrize(("bad", "reason"), [(NAN, "gradient"), (INF, "gradient"), (1e9, "norm")])
def test_a_bad_gradient_moves_neither_weights_nor_moments_and_the_next_good_one_does(scale, bad, reason):
    weight, update = guarded(scale=scale)
    for _ in range(3):
        update.backward(weight.sum())
        assert update(losses_finite=True).taken
    before, held = weight.detach().clone(), moments(update)
    update.backward((weight * bad).sum())
    report = update(losses_finite=True)
    assert report.skipped == ("overflow" if scale and reason == "gradient" else reason)
    assert torch.equal(weight, before)
    assert all(torch.equal(a, b) for a, b in zip(moments(update), held, strict=True))
    assert weight.grad is None
    update.backward(weight.sum())
    assert update(losses_finite=True).taken
    assert (weight < before).all()


def test_a_bad_first_gradient_leaves_no_moments_at_all():
    weight, update = guarded()
    update.backward((weight * NAN).sum())
    update(losses_finite=True)
    assert not update.optimizer.state


@pytest.mark.parametrize("scale", [False, True])
def test_a_bad_loss_in_any_accumulated_pass_skips_the_update(scale):
    weight, update = guarded(scale=scale)
    update.backward(weight.sum())
    report = update(losses_finite=False)
    assert report.skipped == "loss"
    assert report.gradient_norm == pytest.approx(2)
    assert torch.equal(weight, torch.ones(4))


def test_gradients_are_clipped_to_the_norm():
    weight, update = guarded(grad_clip_norm=1.0)
    update.optimizer = torch.optim.SGD([weight], lr=1.0)
    update.backward((3 * weight).sum())  # norm 6
    assert update(losses_finite=True).gradient_norm == pytest.approx(6)
    torch.testing.assert_close((1 - weight).norm(), torch.tensor(1.0))


@pytest.mark.parametrize(("norm", "taken"), [(2 * 9.99, True), (2 * 10.01, False)])
def test_the_limit_is_the_clip_times_the_factor(norm, taken):
    weight, update = guarded(grad_clip_norm=2.0, allowed_gradnorm_factor=10.0)
    update.backward((weight * norm / 2).sum())
    report = update(losses_finite=True)
    assert report.gradient_norm == pytest.approx(norm)
    assert report.skipped == (None if taken else "norm")


def test_without_a_clip_a_norm_of_any_size_is_taken():
    weight, update = guarded(grad_clip_norm=0.0)
    update.backward((1e12 * weight).sum())
    assert update(losses_finite=True).taken


@pytest.mark.parametrize("scale", [False, True])
def test_an_update_without_any_gradient_is_skipped_and_the_next_one_taken(scale):
    weight, update = guarded(scale=scale)
    for _ in range(2):  # every accumulated loss was not finite, twice in a row, before any gradient was ever scaled
        report = update(losses_finite=False)
        assert report.skipped == "loss"
        assert math.isnan(report.gradient_norm)
    assert update.scaler.get_scale() == (2.0**16 if scale else 1.0)
    update.backward(weight.sum())
    assert update(losses_finite=True).taken


def test_an_infinite_gradient_halves_the_scale_and_one_that_is_only_large_does_not():
    weight, update = guarded(scale=True)
    scales = [update.scaler.get_scale()]
    for bad in (INF, 1e9, NAN):
        update.backward((weight * bad).sum())
        assert update(losses_finite=True).scale == scales[-1]
        scales.append(update.scaler.get_scale())
    assert scales == [65536, 32768, 32768, 16384]


def test_the_scaler_is_updated_once_and_unscaled_at_most_once_per_update_whatever_happens(monkeypatch):
    weight, update = guarded(scale=True)
    calls: list[str] = []
    for name in ("unscale_", "step", "update"):
        monkeypatch.setattr(update.scaler, name, partial(record, calls, name, getattr(update.scaler, name)))
    expected = {1.0: ["unscale_", "step", "update"], NAN: ["unscale_", "update"], 1e9: ["unscale_", "update"]}
    for factor, sequence in [*expected.items(), *expected.items()]:
        update.backward((weight * factor).sum())
        update(losses_finite=True)
        assert calls == sequence
        calls.clear()
    update(losses_finite=False)  # without a gradient
    assert calls == ["update"]


@pytest.mark.parametrize("scale", [False, True])
def test_what_pulls_is_added_to_gradients_that_are_no_longer_scaled(scale):
    weight = torch.nn.Parameter(torch.ones(4))

    def pull() -> None:
        weight.grad += 2.0

    optimizer, config = torch.optim.SGD([weight], lr=0.1), RuntimeConfig(grad_clip_norm=0.0)
    update = GuardedUpdate(optimizer, config, scale=scale, device="cpu", pull=pull)
    update.backward(3 * weight.sum())
    assert update(losses_finite=True).gradient_norm == pytest.approx(2 * 5)
    torch.testing.assert_close(weight.detach(), torch.full((4,), 1 - 0.1 * 5))


def test_infinite_gradients_are_overflows_while_the_scale_can_fall_and_faults_from_then_on():
    """Sixteen halvings lead from 65536 to 1, where gradients have their true size."""
    weight, update = guarded(scale=True)
    reasons = []
    for _ in range(20):
        update.backward((weight * INF).sum())
        reasons.append(update(losses_finite=True).skipped)
    assert reasons == ["overflow"] * 16 + ["gradient"] * 4


def test_gradients_that_fit_once_the_scale_has_fallen_are_learned_from():
    """A gradient of 1000 overflows float16 at every scale from 128 on."""
    weight, update = guarded(scale=True, grad_clip_norm=0.0)
    reports = []
    while not reports or not reports[-1].taken:
        scaled = update.scaler.scale((1000 * weight).sum())
        (gradient,) = torch.autograd.grad(scaled, weight)
        weight.grad = gradient.half().float()
        reports.append(update(losses_finite=True))
    assert [report.skipped for report in reports[:-1]] == ["overflow"] * 10
    assert reports[-1].scale == 64
    assert reports[-1].gradient_norm == pytest.approx(2000)


@pytest.mark.parametrize("broken", [INF, NAN])
def test_a_scale_that_is_not_finite_begins_anew_after_one_skip(broken):
    weight, update = guarded(scale=True)
    update.scaler.update(broken)
    update.backward(weight.sum())
    assert not update(losses_finite=True).taken
    assert torch.equal(weight, torch.ones(4))
    assert update.scaler.get_scale() == 2.0**16
    update.backward(weight.sum())
    assert update(losses_finite=True).taken


def test_a_scale_that_is_not_finite_begins_anew_without_a_gradient_too():
    _, update = guarded(scale=True)
    update.scaler.update(INF)
    assert update(losses_finite=False).skipped == "loss"
    assert update.scaler.get_scale() == 2.0**16


class Elsewhere:
    """Another process, which disagrees with one of the questions of an update."""

    def __init__(self, disagrees_with: int) -> None:
        self.disagrees_with = disagrees_with
        self.asked = 0

    def agree(self, here: bool) -> bool:
        self.asked += 1
        return here and self.asked - 1 != self.disagrees_with


@pytest.mark.parametrize("question", range(3))
@pytest.mark.parametrize("scale", [False, True])
def test_nothing_is_stepped_where_another_process_disagrees(scale, question):
    elsewhere = Elsewhere(question)
    weight, update = guarded(scale=scale, agree=elsewhere.agree)
    update.backward(weight.sum())
    assert update(losses_finite=True).skipped == ("loss", "gradient", "norm")[question]
    assert torch.equal(weight, torch.ones(4))
    assert not update.optimizer.state


@pytest.mark.parametrize("scale", [False, True])
@pytest.mark.parametrize(
    ("factor", "losses_finite"), [(1.0, True), (NAN, True), (1e9, True), (1.0, False), (None, False)]
)
def test_processes_ask_equally_often_whatever_they_see_so_none_waits_forever(scale, factor, losses_finite):
    elsewhere = Elsewhere(99)
    weight, update = guarded(scale=scale, agree=elsewhere.agree)
    if factor is not None:
        update.backward((weight * factor).sum())
    update(losses_finite=losses_finite)
    assert elsewhere.asked == 3


def test_skips_are_counted_by_reason_and_a_taken_update_ends_the_row():
    skips = Skips()
    for reason in ("loss", "overflow", "norm", "overflow", "gradient"):
        skips = skips.after(UpdateReport(1.0, skipped=reason))
    assert (skips.in_row, skips.strikes, skips.total) == (5, 3, 5)
    skips = skips.after(UpdateReport(1.0))
    assert (skips.in_row, skips.strikes, skips.total) == (0, 0, 5)
    assert dict(skips.by_reason) == {"loss": 1, "overflow": 2, "norm": 1, "gradient": 1}
    assert skips.figures() == {
        "train/skipped_updates": 0, "train/skipped_total": 5, "train/skipped_loss": 1,
        "train/skipped_gradient": 1, "train/skipped_norm": 1, "train/skipped_overflow": 2,
    }  # fmt: skip
    assert Skips(**skips.to_content()) == skips


def test_overflows_neither_end_a_run_nor_save_it_from_its_faults():
    skips = Skips()
    for _ in range(100):
        skips = skips.after(UpdateReport(NAN, skipped="overflow"))
    assert skips.strikes == 0
    for _ in range(3):
        skips = skips.after(UpdateReport(NAN, skipped="loss")).after(UpdateReport(NAN, skipped="overflow"))
    assert skips.strikes == 3


def test_a_diagnosis_names_reasons_norms_limit_scale_samples_and_cures():
    last = [UpdateReport(NAN, 0.5, "gradient"), UpdateReport(412.3, 0.5, "norm")]
    skips = Skips().after(last[0]).after(last[1])
    text = diagnose(skips, last, ["mouse_7", "mouse_9", "mouse_7"], RuntimeConfig(grad_clip_norm=2.0))
    assert text == (
        "2 updates in a row were skipped because a gradient was not finite or the gradient norm was far beyond the "
        "clip (last gradient norms nan, 412, limit 40, loss scale 0.5; last samples mouse_7, mouse_9): lower "
        "training.optimizer.lr, and use training.runtime.amp_dtype bf16 or fp32 if it is fp16; check the cameras of "
        "these samples, lower training.optimizer.lr, or raise training.runtime.allowed_gradnorm_factor"
    )


@pytest.mark.parametrize("reason", REASONS)
def test_every_skip_is_described_with_its_norm_and_at_most_twelve_samples(reason):
    text = describe(UpdateReport(3.25, 1024.0, reason), [f"s{number}" for number in range(15)])
    assert "norm 3.25, loss scale 1.02e+03" in text or "norm 3.25, loss scale 1024" in text
    assert "s11 and 3 more" in text
