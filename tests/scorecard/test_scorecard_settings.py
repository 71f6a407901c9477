"""Each setting gives what it says, and the settings together are those that a model is held to."""

import pytest
from evaluation_helpers import ball_sample

from gslrm.errors import UserError
from gslrm.evaluation.baselines import ALL
from gslrm.scorecard.scores import held_out
from gslrm.scorecard.settings import EVERYTHING, Setting, farthest_apart, permuted, standard_settings

RING = tuple(range(6))


@pytest.fixture(scope="module")
def sample(tmp_path_factory):
    return ball_sample(tmp_path_factory.mktemp("settings") / "sample_000", size=16)


def test_three_of_a_ring_of_six_are_every_second_one(sample):
    assert farthest_apart(sample, RING, 3) in {(0, 2, 4), (1, 3, 5)}


def test_the_farthest_views_are_some_of_those_that_may_be_given(sample):
    for count in (3, 4, 5):
        chosen = farthest_apart(sample, (5, 3, 1, 0, 2), count)
        assert len(set(chosen)) == count and set(chosen) <= {0, 1, 2, 3, 5}
    assert farthest_apart(sample, (0, 1, 2, 3), 2) == (0, 3)  # opposite ones


@pytest.mark.parametrize("every", [(0, 1), RING, (4, 2, 0)])
def test_another_order_is_another_order_of_the_same_views(sample, every):
    order = permuted(sample, every)
    assert sorted(order) == sorted(every) and order != every and order == permuted(sample, every)


def test_all_views_come_first_and_every_camera_is_left_out_once(sample):
    settings = standard_settings(6, unit=1.0)
    assert len({setting.name for setting in settings}) == len(settings)
    first = settings[0]
    assert first.name == EVERYTHING and first.inputs(sample, RING) == RING and set(first.baselines) == set(ALL)
    missing = [set(RING) - set(s.inputs(sample, RING)) for s in settings if s.left_out is not None]
    assert missing == [{0}, {1}, {2}, {3}, {4}, {5}]
    assert [len(s.inputs(sample, RING)) for s in settings if s.views is not None] == [4, 3]


def test_masks_are_off_by_one_and_two_pixels_and_cameras_by_one_and_two_millimetres_in_any_unit():
    for unit in (1.0, 1000.0):
        errors = [setting.disturbance for setting in standard_settings(6, unit=unit)]
        assert sorted({error.mask_pixels for error in errors}) == [0, 1, 2]
        assert sorted({unit * error.camera_shift for error in errors}) == [0, 1, 2]


def test_refinement_is_measured_when_asked_for():
    assert [s.refine for s in standard_settings(6, unit=1.0, refine=(30, 220)) if s.refine] == [30, 220]


def test_too_few_views_to_leave_one_out_are_refused():
    with pytest.raises(UserError, match="3 input views.* 4 are needed"):
        standard_settings(3, unit=1.0)


def test_the_cameras_compared_are_given_under_no_setting(sample):
    assert held_out(sample, (0, 1, 2, 3)) == (4, 5)
    assert held_out(sample, (0, 1), (5, 3)) == (5, 3)
    with pytest.raises(UserError, match=r"views \[1\] are input"):
        held_out(sample, (0, 1), (1, 2))
    with pytest.raises(UserError, match="none is left to compare"):
        held_out(sample, RING)
    with pytest.raises(UserError, match="no view 7"):
        held_out(sample, (0, 1), (7,))


def test_a_setting_with_neither_change_gives_all_views_in_their_order(sample):
    assert Setting("x", "x").inputs(sample, (3, 1, 2)) == (3, 1, 2)
