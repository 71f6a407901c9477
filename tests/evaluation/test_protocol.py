"""What is scored was not given, and every camera has its turn."""

import pytest
from evaluation_helpers import ball_sample

from gslrm.errors import UserError
from gslrm.evaluation.protocol import describe_folds, plan


@pytest.fixture(scope="module")
def sample(tmp_path_factory):
    return ball_sample(tmp_path_factory.mktemp("protocol") / "sample_000", size=16)


def test_every_view_that_is_not_input_is_held_out(sample):
    (fold,) = plan(sample, (0, 2, 3))
    assert fold.inputs == (0, 2, 3) and fold.heldout == (1, 4, 5) and fold.targets == (0, 1, 2, 3, 4, 5)


def test_a_list_of_held_out_views_narrows_them(sample):
    (fold,) = plan(sample, (0, 1), (5, 3))
    assert fold.targets == (0, 1, 3, 5) and fold.heldout == (3, 5)
    (fold,) = plan(sample, (0, 1, 2, 3, 4, 5), ())
    assert fold.heldout == () and fold.targets == (0, 1, 2, 3, 4, 5)


def test_without_spare_views_each_camera_is_left_out_once_and_compared_once_as_input(sample):
    folds = plan(sample, (0, 1, 2, 3, 4, 5))
    assert [fold.heldout for fold in folds] == [(0,), (1,), (2,), (3,), (4,), (5,)]
    for fold in folds:
        assert set(fold.inputs) == set(range(6)) - set(fold.heldout)
    compared_as_input = [view for fold in folds for view in fold.targets if view in fold.inputs]
    assert sorted(compared_as_input) == [0, 1, 2, 3, 4, 5]


def test_no_held_out_view_is_ever_input(sample):
    for folds in (plan(sample, (0, 1)), plan(sample, range(6)), plan(sample, (1, 3, 5), mode="leave_one_out")):
        assert all(not set(fold.heldout) & set(fold.inputs) for fold in folds)


def test_cameras_can_be_left_out_in_turn_although_others_are_to_spare(sample):
    folds = plan(sample, (1, 3, 5), mode="leave_one_out")
    assert [(fold.inputs, fold.heldout) for fold in folds] == [((3, 5), (1,)), ((1, 5), (3,)), ((1, 3), (5,))]


def test_two_cameras_cannot_be_left_out(sample, tmp_path):
    pair = ball_sample(tmp_path / "pair", views=2, size=16)
    (fold,) = plan(pair, (0, 1))
    assert fold.heldout == ()
    with pytest.raises(UserError, match="needs 3"):
        plan(sample, (0, 1), mode="leave_one_out")


@pytest.mark.parametrize(
    ("inputs", "heldout", "mode", "message"),
    [
        ((0, 1, 2), (2, 3), "auto", r"views \[2\] .* would not be held-out"),
        ((0, 1, 2), (3, 9), "auto", "has no view 9"),
        ((0, 9), None, "auto", "has no view 9"),
        ((0, 1, 2), (3,), "leave_one_out", "exclude each other"),
        (range(6), None, "heldout", "all of its 6 views are input"),
    ],
)
def test_what_cannot_be_held_out_is_refused(sample, inputs, heldout, mode, message):
    with pytest.raises(UserError, match=message):
        plan(sample, inputs, heldout, mode)


def test_the_report_of_folds_says_what_was_given_and_what_was_not(sample):
    assert describe_folds(plan(sample, (0, 1), (4,))) == {
        "leave_one_out": False,
        "folds": [{"inputs": [0, 1], "heldout": [4]}],
    }
    assert describe_folds(plan(sample, range(6)))["leave_one_out"] is True
