"""The rehearsal of LGM: its published size, its published cost."""

import pytest

from gslrm.config import Config
from gslrm.config_io import config_from_mapping
from gslrm.doctor import card, estimate, estimate_reconstruction

BIG_TERAFLOPS, TINY_TERAFLOPS = 1.78, 0.32  # forward pass of four views of 256 px, counted on the published code


def lgm(preset: str, **training: object) -> Config:
    model = {"family": "lgm", "lgm": {"preset": preset}, "image_tokenizer": {"image_size": 256}}
    views = {"dataset": {"num_input_views": 4}, "runtime": {"use_amp": False} | training.pop("runtime", {})}
    return config_from_mapping({"model": model, "training": views | training}, source="test")


@pytest.mark.parametrize(
    ("preset", "parameters", "gaussians", "tokens", "teraflops"),
    [
        ("big", 415_042_848, 65_536, 4 * 32**2, BIG_TERAFLOPS),
        ("tiny", 59_743_360, 16_384, 4 * 16**2, TINY_TERAFLOPS),
    ],
)
def test_presets_cost_what_the_published_code_costs(preset, parameters, gaussians, tokens, teraflops):
    config = lgm(preset)
    found = estimate_reconstruction(config, card(24.0, config.training.runtime))
    assert (found.rehearsal.parameters, found.rehearsal.gaussians, found.tokens) == (parameters, gaussians, tokens)
    assert found.rehearsal.flops / 1e12 == pytest.approx(teraflops, rel=0.02)


def test_recomputing_lgm_takes_less_memory_and_more_arithmetic():
    kept, recomputed = (lgm("tiny", runtime={"grad_checkpoint_every": every}) for every in (0, 1))
    plain, other = (estimate(config, card(24.0, config.training.runtime)).rehearsal for config in (kept, recomputed))
    assert other.peak < 0.9 * plain.peak
    assert 1.2 * plain.flops < other.flops < 1.4 * plain.flops
