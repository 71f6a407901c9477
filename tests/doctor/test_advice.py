"""Advice is what estimating again says, in the order in which to follow it."""

from functools import cache

import pytest

from gslrm.config import Config
from gslrm.config_io import config_from_mapping
from gslrm.doctor import Advice, Estimate, advise, card, describe, estimate, recommend
from gslrm.doctor.advice import _follow
from gslrm.doctor.changes import EFFECTS, ROUNDING, SAME, Change, changed, luxuries, savings

GIB = 2**30
SETTINGS = {
    "model": {
        "image_tokenizer": {"image_size": 64, "patch_size": 8},
        "transformer": {"d": 128, "d_head": 32, "n_layer": 3},
    },
    "training": {
        "runtime": {"amp_dtype": "fp32", "grad_checkpoint_every": 0},
        "dataset": {"num_views": 4, "num_input_views": 2},
        "dataloader": {"batch_size_per_gpu": 2},
    },
}


def config() -> Config:
    return config_from_mapping(SETTINGS, source="test")


@cache
def on_card(gibibytes: float) -> Estimate:
    return estimate(config(), card(gibibytes, config().training.runtime))


@cache
def too_small() -> Estimate:
    """A card with four fifths of what it takes."""
    roomy = on_card(100.0)
    return on_card((roomy.target.base + 0.8 * (roomy.taken - roomy.target.base)) / GIB)


@cache
def advice() -> Advice:
    return advise(config(), too_small())


def test_a_suggestion_saves_what_the_estimate_with_its_values_says():
    now = too_small()
    suggestions = advice().suggestions
    assert len(suggestions) > 3
    for suggestion in (suggestions[0], suggestions[-1]):
        then = estimate(changed(config(), suggestion.change), now.target)
        assert suggestion.saved_bytes == now.taken - then.taken
        assert suggestion.time_ratio == then.sample_seconds / now.sample_seconds


def test_what_changes_least_comes_first():
    effects = [EFFECTS.index(found.change.effect) for found in advice().suggestions]
    assert effects == sorted(effects)
    assert effects[0] == EFFECTS.index(SAME)


def test_following_the_advice_makes_it_fit_and_one_step_less_does_not():
    now = too_small()
    followed, before = config(), now
    for index in advice().followed:
        assert not before.fits
        followed = changed(followed, advice().suggestions[index].change)
        before = estimate(followed, now.target)
    assert before.fits
    assert advice().result.taken == before.taken


def test_what_never_fits_is_told():
    now = on_card(0.5)  # what the process takes before it has made a tensor
    given = _follow(config(), list(advice().suggestions[:2]), now, shown=0.25)
    assert not given.result.fits
    lines = "\n".join([*describe(now, shown=None), *recommend(given, now)])
    assert "DOES NOT FIT" in lines
    assert "still does not fit" in lines


def test_where_there_is_room_advice_is_about_time():
    wider = {
        "training.runtime.grad_checkpoint_every": 1,
        "training.dataloader.batch_size_per_gpu": 16,
        "model.transformer.d": 512,
    }
    recomputing = changed(config(), Change(wider, SAME))
    now = estimate(recomputing, card(12.0, recomputing.training.runtime))
    suggestions = advise(recomputing, now).suggestions
    assert [found.change.values for found in suggestions] == [{"training.runtime.grad_checkpoint_every": 0}]
    assert suggestions[0].saved_bytes < 0
    assert "takes" in str(suggestions[0])
    assert "saves about" in str(suggestions[0])


def test_no_change_is_what_the_configuration_says_already():
    for change in [*savings(config(), amp="fp32"), *luxuries(config())]:
        assert changed(config(), change) != config()


def test_changes_that_contradict_the_configuration_are_none():
    lora = changed(config(), Change({"training.adapt.lora.rank": 4}, SAME))
    assert lora.training.adapt.lora.rank == 4
    assert changed(lora, Change({"training.adapt.preset": "freeze_all"}, SAME)) is None


def test_numbers_are_rounded_only_where_they_are_not_yet():
    rounding = [change for change in savings(config(), amp="bf16") if change.effect == ROUNDING]
    assert [list(change.values) for change in rounding] == [["training.optimizer.kind"]]


@pytest.mark.parametrize("wanted", ["memory on a card of 12 GiB", "computed; no GPU was measured", "fits,", "assumed"])
def test_an_estimate_for_a_card_says_what_it_is(wanted):
    assert wanted in "\n".join(describe(on_card(12.0), shown=0.25))
