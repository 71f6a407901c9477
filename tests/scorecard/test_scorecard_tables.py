"""Tables of made-up scores are what one works out by hand."""

from dataclasses import replace

import pytest

from gslrm.evaluation.scoring import ViewScore
from gslrm.scorecard.marks import marks_of
from gslrm.scorecard.results import Results
from gslrm.scorecard.settings import FLOAT32, PERMUTED_FLOAT32, standard_settings
from gslrm.scorecard.tables import all_tables, errors_table, figure, methods_table, views_table

EVERY, SAMPLES = (0, 1, 2, 3, 4), ("/mice/a", "/mice/b")
SECONDS = {
    "samples": 2,
    "parts": {"read": 0.1, "normalise": 0.05, "hull": 0.03, "network": 0.2, "render": 0.04},
    "reconstruction": 0.38,
    "forward": 0.23,
    "device": "cpu",
    "precision": "bfloat16",
    "processors": 2,
    "threads": 2,
    "load": 0.5,
}
DROPS = {"views_3": 4.0, "without_0": 0.5, "without_1": 1.75, "masks_2px": 1.5, "cameras_1mm": 2.25}


def view(directory: str, number: int, psnr: float, inputs: tuple[int, ...]) -> ViewScore:
    model = {"psnr_crop": psnr, "mask_iou": 0.9, "psnr_fg": 21.0, "ssim_crop": 0.87, "depth_error": 0.001}
    hull = {"psnr_crop": 20.0, "mask_iou": 0.85, "psnr_fg": 25.0, "ssim_crop": 0.8, "depth_error": 0.002}
    return ViewScore(directory, directory[-1], number, f"cam {number}", inputs, {"model": model, "visual_hull": hull})


def scores(name: str, inputs: tuple[int, ...], samples=SAMPLES) -> list[ViewScore]:
    """Sample a has 24 and 26 dB, sample b 21 and 23 with all views; settings take their drop from each."""
    base = {"/mice/a": 25.0, "/mice/b": 22.0}
    drop = DROPS.get(name, 0.0)
    return [view(path, 5 + i, base[path] - drop + 2 * i - 1, inputs) for path in samples for i in range(2)]


@pytest.fixture(scope="module")
def results():
    settings = standard_settings(5, unit=1000.0)
    left_out = {s.name: tuple(v for v in EVERY if v != s.left_out) for s in settings}
    return Results(settings, {s.name: scores(s.name, left_out[s.name]) for s in settings}, SECONDS, 1000.0)


def test_the_table_of_methods(results):
    assert methods_table(results).markdown() == (
        "### At cameras it was not given\n\n"
        "|  | psnr_crop | IoU | psnr_fg | ssim_crop | depth, mm |\n"
        "|---|---|---|---|---|---|\n"
        "| coloured visual hull | 20.00 | .850 | 25.00 | .800 | 2.00 |\n"
        "| **this model** | 23.50 | .900 | 21.00 | .870 | 1.00 |\n"
        "| its 95 % interval | 22.00 to 25.00 | .900 to .900 | 21.00 to 21.00 | .870 to .870 | 1.00 to 1.00 |\n\n"
        "Means over 2 held-out cameras, then 2 samples; intervals are bootstraps over samples."
    )


def test_steps_are_compared_with_the_prediction_of_the_samples_they_were_taken_on(results):
    assert "refined" not in all_tables(results)
    settings = standard_settings(5, unit=1000.0, refine=(30, 220))
    refined = {s.name: scores(s.name, EVERY, samples=SAMPLES[:1]) for s in settings if s.refine}
    table = all_tables(Results(settings, dict(results.scores) | refined, SECONDS, 1000.0))["refined"]
    assert table.markdown().splitlines()[4:] == [
        "| as predicted | 25.00 | .900 | 21.00 | .870 | 1.00 |",
        "| and 30 steps on each sample | 25.00 | .900 | 21.00 | .870 | 1.00 |",
        "| and 220 steps on each sample | 25.00 | .900 | 21.00 | .870 | 1.00 |",
        "",
        "Means over the same 1 samples in every row.",
    ]


def test_the_table_of_fewer_views(results):
    lines = views_table(results).markdown().splitlines()
    assert lines[4:7] == [
        "| 5 | 23.50 | .900 | 21.00 | .870 | 1.00 |  |",
        "| 4, each camera left out in turn | 23.05 | .900 | 21.00 | .870 | 1.00 | 0.45 |",  # (.5 + 1.75) / 5
        "| 3, as far apart as they can be | 19.50 | .900 | 21.00 | .870 | 1.00 | 4.00 |",
    ]


def test_losses_are_of_the_same_samples(results):
    some = dict(results.scores) | {"masks_2px": scores("masks_2px", EVERY, samples=SAMPLES[:1])}
    partly = replace(results, scores=some)
    assert partly.drop("masks_2px") == pytest.approx(1.5) == results.drop("masks_2px")
    row = next(row for row in errors_table(partly).rows if "2 px" in row[0])
    assert row[1] == "23.50" and row[5] == "1.50"  # 25 - 1.5, whose 23.5 only look like no loss
    assert "1 evenly spread ones" in errors_table(partly).note and "evenly" not in errors_table(results).note


def test_the_change_by_order_is_that_of_the_worst_picture(results):
    assert results.greatest_change(FLOAT32, PERMUTED_FLOAT32) == 0
    moved = list(results.scores[PERMUTED_FLOAT32])
    moved[2] = view(moved[2].directory, moved[2].view, moved[2].model["psnr_crop"] - 0.25, EVERY)
    changed = replace(results, scores=dict(results.scores) | {PERMUTED_FLOAT32: moved})
    assert changed.greatest_change(FLOAT32, PERMUTED_FLOAT32) == pytest.approx(0.25)
    assert not next(mark for mark in marks_of(changed) if "order" in mark.label).is_met


def test_marks_are_met_on_their_right_side(results):
    met = {mark.label: mark.is_met for mark in marks_of(results)}
    assert met == {
        "psnr_crop, dB": True,
        "IoU": False,
        "psnr_fg, dB": True,
        "ssim_crop": True,
        "median depth error, mm": True,
        "worst loss without one camera, dB": False,
        "change by another order of views, dB": True,
        "seconds per mouse, with reading": True,
        "seconds of hull and network": True,
    }


def test_samples_stand_from_the_worst_to_the_best(results):
    assert [row[0] for row in all_tables(results)["samples"].rows] == ["b", "a"]


def test_each_camera_left_out_is_named_by_its_own_number(results):
    assert [row[0] for row in all_tables(results)["left_out"].rows] == [f"without view {n}" for n in EVERY]


def test_every_row_of_every_table_is_as_wide_as_its_headings(results):
    for name, table in all_tables(results).items():
        assert {len(row) for row in table.rows} == {len(table.headers)}, name


@pytest.mark.parametrize(
    ("value", "name", "text"),
    [(0.93449, "mask_iou", ".934"), (0.0, "mask_iou", "0"), (1.0, "ssim_crop", "1"), (23.456, "psnr_crop", "23.46")],
)
def test_figures_are_written_as_in_the_documents(value, name, text):
    assert figure(value, name) == text
