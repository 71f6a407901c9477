"""A report can be written at any time, says what there is, and needs nothing but itself."""

import base64
import io
import json

import numpy as np
import pytest
from PIL import Image
from report_helpers import flat, read_page, train_line, val_line, write_run

from gslrm.errors import UserError
from gslrm.evaluation.baselines import ALL
from gslrm.export import write_video
from gslrm.training.report import write_report
from gslrm.training.report.curves import BASELINES, score_table, validated_metrics
from gslrm.training.report.record import read_run

FULL = [entry for step in (5, 10, 15, 20) for entry in (train_line(step), val_line(step))]
HOSTILE = '<img src=x onerror="alert(1)"> & run'


def decoded(source: str) -> np.ndarray:
    return np.array(Image.open(io.BytesIO(base64.b64decode(source.partition("base64,")[2]))))


def test_a_finished_run_is_told_with_scores_baselines_curves_pictures_and_set_up(tmp_path):
    pictures = {f"val_gt_vs_pred_{step:08d}.png": flat(10 * step) for step in (5, 10, 20)}
    page = read_page(write_report(write_run(tmp_path / "run", FULL, pictures=pictures)))
    assert "All 20 passes are done." in page.words
    assert "held-out views: model 10.2" in page.words and "held-out views: nearest input view 6.2" in page.words
    assert "input views: white paper 5.2" in page.words
    plots = [attributes["aria-label"] for attributes in page.of("svg")]
    assert {"psnr_fg (dB)", "mask_iou", "Loss", "Learning rate", "Seconds per pass"} <= set(plots)
    shown = {attributes["alt"]: decoded(attributes["src"]).mean() for attributes in page.of("img")}
    assert shown == {
        "val/gt_vs_pred after pass 5": pytest.approx(50, abs=2),
        "val/gt_vs_pred after pass 20": pytest.approx(200, abs=2),
    }
    assert "max_fwdbwd_passes: 20" in page.words and "2 lines of diff" in page.words and "torch 2.9" in page.words


def test_given_and_held_out_views_are_drawn_in_one_plot_beside_the_line_to_beat(tmp_path):
    text = write_report(write_run(tmp_path / "run", FULL)).read_text()
    plot = text.partition('aria-label="psnr_fg (dB)"')[2].partition("</svg>")[0]
    assert plot.count('class="curve"') == 2
    assert ">input views<" in plot and ">held-out views<" in plot and "nearest input view 6.2<" in plot


@pytest.mark.parametrize(("metric", "best"), [("psnr_fg", "coloured visual hull 7"), ("lpips", "white paper 0.2")])
def test_the_line_to_beat_is_the_best_baseline(tmp_path, metric, best):
    levels = {"": 5.0, "visual_hull_": 7.0, "nearest_input_": 6.0, "white_": 0.2}
    line = {"step": 1} | {f"val_heldout/{method}{metric}": level for method, level in levels.items()}
    text = write_report(write_run(tmp_path / "run", [line])).read_text()
    assert f"held-out: {best}<" in text


def test_a_torn_last_line_is_left_out_and_named(tmp_path):
    folder = write_run(tmp_path / "run", FULL[:5])
    with (folder / "metrics.jsonl").open("a") as file:
        file.write('{"step": 19, "train/lo')
    page = read_page(write_report(folder))
    assert "1 damaged line(s) left out" in page.words
    assert "Figures up to pass 15 of at most 20" in page.words


def test_a_run_killed_before_its_first_figure_has_a_report(tmp_path):
    folder = write_run(tmp_path / "run", [])
    assert "No figures yet" in read_page(write_report(folder)).words
    (folder / "metrics.jsonl").unlink()
    (folder / "environment.json").write_text('{"python": ')
    assert "No figures yet" in read_page(write_report(folder)).words


def test_what_this_version_cannot_read_is_named_and_the_rest_is_shown(tmp_path):
    folder = write_run(tmp_path / "run", FULL, pictures={"val_gt_vs_pred_00000020.png": flat(9)})
    (folder / "config.yaml").write_text("training: {no_such_key: 1}\n")
    (folder / "pictures/val_gt_vs_pred_00000020.png").write_bytes(b"\x89PNG")
    page = read_page(write_report(folder))
    assert "config.yaml: this version cannot use it" in page.words and "no_such_key: 1" in page.words
    assert "val_gt_vs_pred_00000020.png as a picture" in page.words
    assert "Figures up to pass 20." in page.words


@pytest.mark.parametrize("place", ["folder", "figure", "sample", "config", "picture"])
def test_names_cannot_become_markup(tmp_path, place):
    name = HOSTILE.replace("/", "")
    entries = [train_line(1, **{"train/skipped_updates": 1, "train/skipped_total": 1, "train/samples": ["s"]})]
    if place == "figure":
        entries[0][f"train/{HOSTILE}_loss"] = 1.0
    if place == "sample":
        entries[0]["train/samples"] = [HOSTILE]
    folder = write_run(tmp_path / (name if place == "folder" else "run"), entries)
    if place == "config":
        (folder / "config.yaml").write_text(f"training: {{}}\n# {HOSTILE}\n")
    if place == "picture":
        Image.fromarray(flat(1)).save(folder / f"pictures/{name}_00000001.png")
    page = read_page(write_report(folder))
    assert len(page.of("img")) == (place == "picture") and "onerror" in page.words


def test_skipped_updates_are_counted_and_listed_with_their_samples(tmp_path):
    skip = train_line(3, **{"train/skipped_updates": 1, "train/skipped_total": 1, "train/samples": ["frame_7"]})
    skip["train/grad_norm"] = None
    page = read_page(write_report(write_run(tmp_path / "run", [skip, train_line(5, **{"train/skipped_total": 4})])))
    assert "4 in all." in page.words and "3 – frame_7" in page.words
    clean = read_page(write_report(write_run(tmp_path / "clean", [train_line(1)])))
    assert "Skipped updates None." in clean.words


def test_the_cost_table_splits_the_pass_without_the_first_one(tmp_path):
    start = train_line(1) | {"train/step_time": 9.0, "train/time_data": 9.0}
    page = read_page(write_report(write_run(tmp_path / "run", [start, train_line(3), train_line(9)])))
    assert "data 0.01 5%" in page.words and "backward 0.08 40%" in page.words and "whole pass 0.2" in page.words


def test_figures_that_nobody_planned_are_drawn_too(tmp_path):
    line = train_line(1) | {"train/rotation_spread": 0.3}
    plots = [plot["aria-label"] for plot in read_page(write_report(write_run(tmp_path / "run", [line]))).of("svg")]
    assert "rotation_spread" in plots


def test_pictures_of_noise_and_a_long_run_stay_below_5_mb(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (700, 1800, 3), dtype=np.uint8)
    names = [f"{kind}_gt_vs_pred_{step:08d}.png" for kind in ("val", "train") for step in (1, 2)]
    names += [f"train_{kind}_00000002.png" for kind in ("depth_alpha", "c", "d")]
    entries = [entry for step in range(1, 700) for entry in (train_line(step), val_line(step))]
    folder = write_run(tmp_path / "run", entries, pictures={name: noise for name in names})
    (folder / "turntable.mp4").write_bytes(bytes(999_999))
    path = write_report(folder)
    assert len(read_page(path).of("img")) == 6
    assert path.stat().st_size < 5_000_000


def test_the_newest_turntable_plays_inside_the_page_unless_it_is_too_large(tmp_path):
    folder = write_run(tmp_path / "run", FULL)
    assert not read_page(write_report(folder)).of("video")
    path = folder / "results/sample/turntable.mp4"
    write_video(path, [np.full((32, 32, 3), 40 * i, np.uint8) for i in range(4)])
    (video,) = read_page(write_report(folder)).of("video")
    assert base64.b64decode(video["src"].partition("base64,")[2]) == path.read_bytes()
    path.write_bytes(bytes(1_000_001))
    page = read_page(write_report(folder))
    assert not page.of("video") and "results/sample/turntable.mp4 is not shown here" in page.words


def test_baselines_are_rows_of_the_table_and_no_metrics_of_their_own(tmp_path):
    record = read_run(write_run(tmp_path / "run", FULL))
    assert validated_metrics(record) == ["psnr_fg", "mask_iou"]
    assert "10.05" in score_table(record, ["psnr_fg"], step=5) and "10.05" not in score_table(record, ["psnr_fg"])


def test_every_baseline_that_is_scored_has_its_row():
    assert set(BASELINES.values()) == {f"{name}_" for name in ALL}


@pytest.mark.parametrize("memorising", [0.0, 1.0])
def test_a_run_that_memorises_its_inputs_is_told_so(tmp_path, memorising):
    entries = [*FULL, val_line(20) | {"val/memorising": memorising}]
    page = read_page(write_report(write_run(tmp_path / "run", entries)))
    assert ("learning its input pictures, not the object" in page.words) == (memorising > 0)
    assert "memorising" not in [plot["aria-label"] for plot in page.of("svg")]


def test_a_folder_without_a_run_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"is no run folder, it has no metrics.jsonl; give the --run-dir"):
        write_report(tmp_path)


def test_a_report_of_the_same_run_is_the_same_and_leaves_the_run_alone(tmp_path):
    folder = write_run(tmp_path / "run", FULL)
    first = write_report(folder).read_bytes()
    assert write_report(folder, tmp_path / "elsewhere.html").read_bytes() == first
    assert json.loads((folder / "metrics.jsonl").read_text().splitlines()[-1]) == FULL[-1]
