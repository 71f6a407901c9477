"""AdamW with its moments in 8 bits, or in the host's memory."""

import io
import sys
from importlib.util import find_spec

import pytest
import torch
from torch import nn
from training_helpers import run, settings

from gslrm.config import Config, OptimizerConfig, RuntimeConfig
from gslrm.config_io import config_from_mapping
from gslrm.errors import UserError
from gslrm.training.guard import GuardedUpdate
from gslrm.training.optim import build_optimizer, restore_optimizer

EIGHT_BIT = pytest.param(
    {"kind": "adamw8bit"},
    marks=pytest.mark.skipif(find_spec("bitsandbytes") is None, reason="bitsandbytes is not installed"),
    id="8-bit",
)
OFFLOAD = pytest.param({"offload": True}, id="offload")
PLAIN = pytest.param({}, id="plain")


class Run:
    """A small network that learns to repeat its input."""

    def __init__(self, options: dict[str, object], *, scale: bool = False) -> None:
        torch.manual_seed(0)
        self.model = nn.Sequential(
            nn.Linear(64, 256, bias=False), nn.LayerNorm(256, bias=False), nn.Linear(256, 64, bias=False)
        )
        optimizer = build_optimizer(self.model, OptimizerConfig(lr=1e-3, **options), fused=True)
        self.update = GuardedUpdate(optimizer, RuntimeConfig(), scale=scale, device="cpu")

    def train(self, first: int, last: int) -> float:
        for index in range(first, last):
            x = torch.randn(32, 64, generator=torch.Generator().manual_seed(index))
            for group in self.update.optimizer.param_groups:
                group["lr"] = 1e-3 * (1 + index % 3)
            loss = (self.model(x) - x).square().mean()
            self.update.backward(loss)
            self.update(losses_finite=True)
        return float(loss.detach())

    def weights(self) -> list[torch.Tensor]:
        return [parameter.detach().clone() for parameter in self.model.parameters()]

    def saved(self) -> io.BytesIO:
        file = io.BytesIO()
        torch.save({"model": self.model.state_dict(), "optimizer": self.update.optimizer.state_dict()}, file)
        file.seek(0)
        return file

    def load(self, file: io.BytesIO) -> "Run":
        content = torch.load(file, weights_only=True)
        self.model.load_state_dict(content["model"])
        restore_optimizer(self.update.optimizer, content["optimizer"])
        return self


def equal(one: list[torch.Tensor], other: list[torch.Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("options", [PLAIN, OFFLOAD, EIGHT_BIT])
def test_the_loss_falls(options):
    run = Run(options)
    assert run.train(0, 40) < 0.5 * Run(options).train(0, 1)


@pytest.mark.parametrize("options", [PLAIN, OFFLOAD, EIGHT_BIT])
def test_a_run_that_was_interrupted_equals_one_that_was_not(options):
    whole, first = Run(options), Run(options)
    whole.train(0, 9)
    first.train(0, 4)
    second = Run(options).load(first.saved())
    second.train(4, 9)
    assert equal(second.weights(), whole.weights())
    assert not equal(second.weights(), first.weights())


@pytest.mark.parametrize("options", [PLAIN, OFFLOAD, EIGHT_BIT])
def test_a_state_that_was_only_loaded_can_be_saved_again(options):
    first = Run(options)
    first.train(0, 3)
    again = Run(options).load(Run(options).load(first.saved()).saved())
    first.train(3, 5)
    again.train(3, 5)
    assert equal(first.weights(), again.weights())


@pytest.mark.parametrize("scale", [False, True])
def test_offloaded_moments_change_no_bit(scale):
    plain, offloaded = Run({}, scale=scale), Run({"offload": True}, scale=scale)
    plain.train(0, 5)
    offloaded.train(0, 5)
    assert equal(plain.weights(), offloaded.weights())


@pytest.mark.parametrize(("before", "after"), [({}, {"offload": True}), ({"offload": True}, {})])
def test_a_run_may_begin_or_cease_to_offload(before, after):
    whole, first = Run({}), Run(before)
    whole.train(0, 6)
    first.train(0, 3)
    second = Run(after).load(first.saved())
    second.train(3, 6)
    assert equal(second.weights(), whole.weights())


def test_offloading_follows_weights_that_were_loaded_between_updates():
    run, fresh = Run({"offload": True}), Run({"offload": True})
    run.train(0, 2)
    run.model.load_state_dict(fresh.model.state_dict())
    before = run.weights()
    run.train(2, 3)
    assert max(float((a - b).abs().max()) for a, b in zip(run.weights(), before, strict=True)) < 0.02


def test_offloaded_moments_are_not_the_devices():
    run = Run({"offload": True})
    run.train(0, 1)
    copies = [id(copy) for copy in run.update.optimizer._copies.values()]
    assert not {id(parameter) for parameter in run.model.parameters()} & set(copies)
    assert run.update.optimizer.state[run.model[0].weight]["exp_avg"].shape == (256, 64)


@pytest.mark.skipif(find_spec("bitsandbytes") is None, reason="bitsandbytes is not installed")
@pytest.mark.parametrize(("before", "after"), [("adamw", "adamw8bit"), ("adamw8bit", "adamw")])
def test_moments_of_another_kind_are_refused(before, after):
    first = Run({"kind": before})
    first.train(0, 1)
    with pytest.raises(UserError, match=f"optimiser is {before}, and training.optimizer.kind is {after}.*--load"):
        Run({"kind": after}).load(first.saved())


@pytest.mark.skipif(find_spec("bitsandbytes") is None, reason="bitsandbytes is not installed")
def test_moments_in_8_bits_take_a_quarter_of_the_memory():
    run = Run({"kind": "adamw8bit"})
    run.train(0, 1)
    moments = run.update.optimizer.state[run.model[0].weight]
    kept = sum(moments[key].numel() * moments[key].element_size() for key in ("state1", "state2", "absmax1", "absmax2"))
    assert kept == pytest.approx(8 * 64 * 256 / 4, rel=0.02)


def test_without_its_package_8_bits_are_refused_with_the_line_that_installs_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "bitsandbytes.optim", None)
    with pytest.raises(UserError, match="python -m pip install 'bitsandbytes"):
        Run({"kind": "adamw8bit"})


def test_both_ways_to_save_memory_at_once_are_refused():
    mapping = {"training": {"optimizer": {"kind": "adamw8bit", "offload": True}}}
    with pytest.raises(UserError, match="offload"):
        config_from_mapping(mapping, source="test")


@pytest.mark.parametrize("options", [OFFLOAD, EIGHT_BIT])
def test_a_whole_run_resumes_exactly_with_moments_that_take_less(samples, tmp_path, options):
    def config(**schedule: int) -> Config:
        schedule = {"max_fwdbwd_passes": 8, "warmup": 1, **schedule}
        mapping = settings(samples, optimizer={"lr": 1e-3, **options}, schedule=schedule)
        return config_from_mapping(mapping, source="test")

    whole = run(config(), tmp_path / "whole")
    run(config(early_stop_after=4), tmp_path / "parts")
    parts = run(config(), tmp_path / "parts")
    assert equal(list(whole.model.parameters()), list(parts.model.parameters()))
