"""Estimated memory: what it follows from, and that it is what passes really take."""

import sys
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

from gslrm.config import Config
from gslrm.config_io import config_from_mapping
from gslrm.doctor import Estimate, card, estimate, estimate_reconstruction
from gslrm.doctor.rehearsal import ACTIVATIONS, BACKWARD, COPIES, FROZEN, GRADIENTS, OPTIMIZER, RENDERER, TRAINED
from gslrm.doctor.state import training_state
from gslrm.doctor.target import Speed, Target
from gslrm.model import build_model
from gslrm.model.adapt import choose_trainable
from gslrm.model.adapter import trainable
from gslrm.training.optim import build_optimizer

ROOT = Path(__file__).parents[2]
TOLERANCE = 0.25
RESET = Path("/proc/self/clear_refs")
GIB = 2**30
SMALL = {
    "image_tokenizer": {"image_size": 64, "patch_size": 8},
    "transformer": {"d": 64, "d_head": 32, "n_layer": 3},
}


RUNTIME = Config().training.runtime


def small(**training: object) -> Config:
    model = training.pop("model", {})
    render = training.pop("render", {})
    runtime = {"amp_dtype": "fp32", "grad_checkpoint_every": 0} | training.pop("runtime", {})
    mapping = {"model": SMALL | model, "training": {"runtime": runtime, **training}, "render": render}
    return config_from_mapping(mapping, source="test")


def on_card(config: Config, *, shown: float = 0.25) -> Estimate:
    return estimate(config, card(12.0, config.training.runtime), shown=shown)


def part(config: Config, *labels: str, shown: float = 0.25) -> int:
    return sum(on_card(config, shown=shown).rehearsal.bytes_at_peak[label] for label in labels)


def test_the_published_architecture_has_the_published_size():
    found = on_card(config_from_mapping({"training": {"dataset": {"num_input_views": 6}}}, source="test"))
    assert (found.rehearsal.parameters, found.tokens, found.rehearsal.gaussians) == (303_565_824, 24_578, 1_572_866)
    assert found.rehearsal.trained == found.rehearsal.parameters
    assert found.rehearsal.bytes_at_peak[TRAINED] == 4 * 303_565_824
    assert found.rehearsal.bytes_at_peak[OPTIMIZER] == 8 * 303_565_824


@pytest.mark.parametrize(
    "adapt",
    [
        {"preset": "freeze_all"},
        {"preset": "conservative"},
        {"preset": "last_layer"},
        pytest.param(
            {"lora": {"rank": 4}}, marks=pytest.mark.skipif(find_spec("peft") is None, reason="peft is not installed")
        ),
    ],
    ids=str,
)
def test_what_is_trained_is_what_training_chooses(adapt):
    config = small(adapt=adapt)
    model = build_model(config.model)
    choose_trainable(model, config.training.adapt)
    trained = sum(parameter.numel() for parameter in trainable(model).values())
    every = sum(parameter.numel() for parameter in model.parameters())
    rehearsal = on_card(config).rehearsal
    assert (rehearsal.trained, rehearsal.parameters) == (trained, every)
    assert rehearsal.bytes_at_peak[FROZEN] == 4 * (every - trained)
    assert rehearsal.bytes_at_peak[OPTIMIZER] == 8 * trained


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"offload": True},
        pytest.param(
            {"kind": "adamw8bit"},
            marks=pytest.mark.skipif(find_spec("bitsandbytes") is None, reason="bitsandbytes is not installed"),
        ),
    ],
    ids=str,
)
def test_the_state_of_every_optimiser_is_what_it_really_keeps(options):
    config = small(optimizer=options)
    model = build_model(config.model)
    optimizer = build_optimizer(model, config.training.optimizer, fused=True)
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    kept = [value for moments in optimizer.state.values() for value in moments.values() if torch.is_tensor(value)]
    storages = {tensor.untyped_storage()._cdata: tensor.untyped_storage().nbytes() for tensor in kept if tensor.ndim}
    state, numbers = training_state(model, config.training), sum(value.numel() for value in model.parameters())
    host = state.host_bytes - 8 * numbers if options.get("offload") else 0  # without copies of weights and gradients
    assert state.optimizer_bytes + host == pytest.approx(sum(storages.values()), rel=0.01)


def test_averages_and_anchors_are_copies_of_what_is_trained():
    config = small(adapt={"ema": {"decay": 0.9}, "l2sp_weight": 1.0, "preset": "conservative"})
    assert part(config, COPIES) == 2 * 4 * on_card(config).rehearsal.trained


def test_offloading_takes_the_moments_from_the_card_to_its_host():
    plain, offloaded = on_card(small()).rehearsal, on_card(small(optimizer={"offload": True})).rehearsal
    assert plain.peak - offloaded.peak == 8 * plain.trained
    assert (plain.host_bytes, offloaded.host_bytes) == (0, 16 * plain.trained)


def test_recomputing_takes_less_memory_and_more_arithmetic():
    wide = {"transformer": {"d": 256, "d_head": 32, "n_layer": 6}}
    configs = (small(model=wide, runtime={"grad_checkpoint_every": every}) for every in (0, 1))
    plain, recomputing = (on_card(config).rehearsal for config in configs)
    assert recomputing.peak < 0.85 * plain.peak
    assert 1.1 * plain.flops < recomputing.flops < 1.4 * plain.flops


@pytest.mark.parametrize(
    ("section", "change"),
    [
        ("runtime", {"grad_checkpoint_every": 0}),
        ("runtime", {"grad_checkpoint_every": 1, "use_amp": False}),
        ("dataset", {"num_input_views": 8}),
        ("adapt", {"ema": {"decay": 0.9}}),
        ("dataloader", {"batch_size_per_gpu": 2}),
    ],
)
def test_what_keeps_more_numbers_needs_more_memory(section, change):
    base = {"runtime": {"grad_checkpoint_every": 1, "amp_dtype": "bf16"}}
    more = small(**base | {section: base.get(section, {}) | change})
    assert on_card(more).rehearsal.peak > on_card(small(**base)).rehearsal.peak


def test_activations_grow_with_the_batch_and_state_does_not():
    one, two = (small(dataloader={"batch_size_per_gpu": batch}) for batch in (1, 2))
    assert part(two, ACTIVATIONS) == pytest.approx(2 * part(one, ACTIVATIONS), rel=0.01)
    assert part(two, TRAINED, OPTIMIZER) == part(one, TRAINED, OPTIMIZER)


def test_gradients_are_there_from_the_beginning_where_passes_are_accumulated():
    one, two = (small(runtime={"grad_accum_steps": passes}) for passes in (1, 2))
    assert part(two, GRADIENTS) == 4 * on_card(two).rehearsal.trained
    assert part(one, GRADIENTS) < part(two, GRADIENTS)


def test_dropping_the_background_keeps_activations_of_what_is_shown():
    dropped, whole = small(model={"drop_background": True}), small()
    assert part(dropped, ACTIVATIONS, shown=0.25) < 0.5 * part(whole, ACTIVATIONS)
    assert part(dropped, ACTIVATIONS, shown=0.5) > 1.5 * part(dropped, ACTIVATIONS, shown=0.25)
    assert on_card(dropped).rehearsal.splat_views == pytest.approx(
        0.25 * on_card(whole).rehearsal.splat_views, rel=0.01
    )


def test_a_network_about_a_hull_has_gaussians_only_where_something_is_shown():
    hull = small(model={"drop_background": True, "depth_anchor": "corrected_hull"}, dataset={"num_input_views": 2})
    found = on_card(hull, shown=0.25).rehearsal
    assert found.gaussians == 2 + 0.25 * 2 * 64**2
    assert found.splat_views == found.gaussians * 8


def test_deferred_rendering_keeps_the_splats_of_one_view():
    views = {"num_views": 16, "num_input_views": 1}
    plain, deferred = small(dataset=views), small(dataset=views, render={"deferred_backward": True})
    assert part(deferred, RENDERER, BACKWARD) < 0.4 * part(plain, RENDERER, BACKWARD)


def test_reconstructing_takes_the_forward_pass_alone():
    config = small(dataloader={"batch_size_per_gpu": 3})
    training, reconstruction = on_card(config).rehearsal, estimate_reconstruction(config, card(12.0, RUNTIME)).rehearsal
    assert reconstruction.bytes_at_peak[TRAINED] == training.bytes_at_peak[TRAINED]
    assert not any(reconstruction.bytes_at_peak[label] for label in (GRADIENTS, OPTIMIZER, BACKWARD))
    assert reconstruction.peak < 0.5 * training.peak
    assert reconstruction.flops < training.flops / 9


def test_a_card_that_is_too_small_is_told():
    config = small()
    enough = on_card(config).taken / GIB
    assert estimate(config, card(enough * 1.2, config.training.runtime)).fits
    assert estimate(config, card(enough * 1.01, config.training.runtime)).is_close
    assert not estimate(config, card(enough * 0.99, config.training.runtime)).fits


sys.path.append(str(ROOT / "benchmarks"))  # where the cases are kept

from doctor_cases import CASES, DISC, FAST, configuration, measure  # noqa: E402

HOST = Target("host", False, 0, "fp32", Speed(1.0, 1.0, 1.0, "nowhere"), 0, 0.0)
MEASURABLE = pytest.mark.skipif(not RESET.exists(), reason="peaks of memory are measured through Linux's /proc")
PACKAGES = {"LoRA": "peft", "8 bits": "bitsandbytes"}


def ratio(name: str) -> float:
    missing = [package for word, package in PACKAGES.items() if word in name and find_spec(package) is None]
    if missing:
        pytest.skip(f"{missing[0]} is not installed")
    config = configuration(CASES[name])
    rehearsal = estimate(config, replace(HOST, amp=config.training.runtime.amp_dtype), shown=DISC).rehearsal
    return (rehearsal.peak + rehearsal.host_bytes) / measure(CASES[name])["peak"]


@MEASURABLE
@pytest.mark.parametrize("name", FAST)
def test_the_estimate_is_what_a_small_run_takes(name):
    assert ratio(name) == pytest.approx(1.0, abs=TOLERANCE)


@MEASURABLE
@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in CASES if name not in FAST])
def test_the_estimate_is_what_a_run_takes(name):
    assert ratio(name) == pytest.approx(1.0, abs=TOLERANCE)
