"""Intervals cover what they should, gains are paired, near frames and memorising runs are noticed."""

import json
from pathlib import Path

import numpy as np
import pytest

from gslrm.evaluation.bootstrap import interval
from gslrm.evaluation.memorising import HELDOUT, INPUT, Validated, is_memorising, read_history
from gslrm.evaluation.scoring import ViewScore
from gslrm.evaluation.split import overlap
from gslrm.evaluation.summary import gains, intervals, per_camera, scalars, summarise
from gslrm.evaluation.table import camera_table, table


def view(sample: str, index: int, *, camera: str = "cam", **methods: float) -> ViewScore:
    scores = {name: {"psnr_crop": value} for name, value in methods.items()}
    return ViewScore(f"/data/{sample}", sample, index, f"{camera}{index}", (0, 1), scores)


# Intervals


def test_the_interval_is_a_golden_value_of_its_seed_and_repeats():
    values = [20.0, 21.0, 23.0, 26.0]
    assert interval(values) == interval(values) == (pytest.approx(20.5), pytest.approx(24.75))
    assert interval(values, seed=1, resamples=50) != interval(values, seed=2, resamples=50)


def test_the_interval_of_equal_values_is_a_point_and_of_one_value_none():
    assert interval([3.0, 3.0, 3.0]) == (3.0, 3.0)
    assert interval([3.0]) is None and interval([]) is None


def test_the_interval_moves_and_scales_with_its_values():
    values = np.random.default_rng(0).normal(size=24)
    low, high = interval(values.tolist())
    assert interval((5 + 2 * values).tolist()) == (pytest.approx(5 + 2 * low), pytest.approx(5 + 2 * high))
    assert low < values.mean() < high


def test_the_interval_covers_the_true_mean_about_as_often_as_it_says():
    rng = np.random.default_rng(1)
    covered = 0
    for _ in range(300):
        low, high = interval(rng.normal(size=24).tolist(), resamples=300)
        covered += low <= 0 <= high
    assert 0.88 < covered / 300 < 0.98


# Summaries


def test_gains_are_paired_and_their_intervals_narrower_than_those_of_the_means():
    views = [view(f"s{n}", 2, model=20.0 + n + 0.1 * (n % 2), visual_hull=19.0 + n) for n in range(8)]
    gain = gains(views)["heldout"]["visual_hull"]["psnr_crop"]
    assert gain["mean"] == pytest.approx(1.05)
    assert gain["interval"][0] >= 1.0 and gain["interval"][1] <= 1.1
    low, high = intervals(views)["heldout"]["model"]["psnr_crop"]
    assert high - low > 2


def test_a_baseline_that_some_sample_has_not_is_compared_on_the_others():
    views = [view("a", 2, model=20.0, visual_hull=15.0), view("b", 2, model=30.0)]
    assert gains(views)["heldout"]["visual_hull"]["psnr_crop"]["mean"] == 5
    assert summarise(views)["heldout"]["visual_hull"] == {"psnr_crop": 15.0}


def test_cameras_are_averaged_over_samples_and_named_where_samples_agree():
    views = [view("a", 0, model=1.0), view("a", 2, model=10.0), view("b", 2, model=20.0), view("b", 3, model=5.0)]
    views.append(view("c", 3, camera="other", model=7.0))
    rows = per_camera(views)
    assert [(row["view"], row["camera"]) for row in rows] == [(0, "cam0"), (2, "cam2"), (3, "view 3")]
    assert rows[0]["input"]["model"] == {"psnr_crop": 1.0} and "heldout" not in rows[0]
    assert rows[1]["heldout"]["model"] == {"psnr_crop": 15.0} and rows[2]["heldout"]["model"] == {"psnr_crop": 6.0}
    assert [line.split()[0] for line in camera_table(rows).splitlines()[1:]] == ["2", "3"]


def test_logged_names_tell_given_from_held_out_cameras_and_the_model_from_baselines():
    views = [view("a", 0, model=1.0, white=2.0), view("a", 2, model=3.0, white=4.0)]
    assert scalars(summarise(views)) == {
        "val/psnr_crop": 1.0,
        "val/white_psnr_crop": 2.0,
        "val_heldout/psnr_crop": 3.0,
        "val_heldout/white_psnr_crop": 4.0,
    }


def test_a_table_without_held_out_views_says_what_it_is_worth():
    shown = table(summarise([view("a", 0, model=21.25)]))
    assert "21.250" in shown and "no view was held out" in shown
    assert camera_table(per_camera([view("a", 0, model=21.25)])) == ""


# Splits in time


def frames(folder: Path, *numbers: int) -> list[Path]:
    return [folder / f"frame_{number:06d}" for number in numbers]


def test_a_sample_in_both_lists_is_reported_first():
    training, validation = frames(Path("/r"), 1, 2, 3), frames(Path("/r"), 3, 4)
    found = overlap(training, validation, frame_gap=100)
    assert found.shared == tuple(frames(Path("/r").resolve(), 3))
    assert "1 of 2 validation samples are also trained on" in str(found.warning())


def test_shuffled_frames_of_a_recording_are_reported_with_the_nearest_pair():
    training, validation = frames(Path("/r"), 0, 50, 100, 1000), frames(Path("/r"), 75, 98, 400)
    warning = str(overlap(training, validation, frame_gap=50).warning())
    assert "2 of 3" in warning and "frame_000098 and frame_000100" in warning


@pytest.mark.parametrize(
    ("training", "validation"),
    [
        (frames(Path("/r"), 0, 100), frames(Path("/r"), 200, 300)),  # blocks of time with a gap
        (frames(Path("/one"), 1, 2), frames(Path("/two"), 3, 4)),  # other recordings
        ([Path("/r/sample_000001")], [Path("/r/sample_000002")]),  # no frames of a video
    ],
)
def test_blocks_of_time_and_other_recordings_are_not(training, validation):
    assert overlap(training, validation, frame_gap=100).warning() is None


def test_the_gap_is_the_smallest_distance_that_is_not_reported():
    pair = frames(Path("/r"), 0), frames(Path("/r"), 100)
    assert overlap(*pair, frame_gap=100).warning() is None
    assert overlap(*pair, frame_gap=101).warning() is not None


def test_links_to_one_directory_are_one_sample(tmp_path):
    (tmp_path / "frame_000001").mkdir()
    (tmp_path / "alias").symlink_to(tmp_path / "frame_000001")
    assert overlap([tmp_path / "frame_000001"], [tmp_path / "alias"], frame_gap=1).shared


# Memorising


@pytest.mark.parametrize(
    ("history", "expected"),
    [
        ([(20, 18), (21, 17.9), (22, 17.8)], True),
        ([(20, 18), (21, 17.9)], False),  # one step may be chance
        ([(20, 18), (21, 18.1), (22, 17.8)], False),
        ([(20, 18), (21, 17.9), (20.9, 17.8)], False),
        ([(22, 18), (21, 17), (20, 16)], False),  # both fall: another trouble
        ([(20, 18), (20.01, 17.99), (20.02, 17.98)], False),  # noise
        ([(10, 9), (20, 18), (21, 17.9), (22, 17.8)], True),  # the last ones count
        ([(20, 18), (21, 17.9), (22, 17.8), (23, 18.5)], False),
    ],
)
def test_memorising_is_given_views_rising_while_held_out_ones_fall(history, expected):
    assert is_memorising([Validated(*map(float, pair)) for pair in history]) is expected


def test_a_resumed_run_remembers_its_validations(tmp_path):
    lines = [{"step": 1, "train/loss": 2.0}, {"step": 2, INPUT: 20.0, HELDOUT: 18.0}, {"step": 3, INPUT: None}]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines) + '{"step": 4, "val')
    assert read_history(tmp_path / "metrics.jsonl") == [Validated(20.0, 18.0)]
    assert read_history(tmp_path / "none.jsonl") == []
