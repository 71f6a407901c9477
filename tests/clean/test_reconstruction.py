"""Cleaning inside inference: in the network's world, by the input views, with what it costs."""

import json
from functools import partial

import pytest
import torch
from helpers import ring, write_ball_sample
from test_reconstruct import reconstructor

from gslrm import export
from gslrm.clean import parse_filters
from gslrm.clean.cost import measure
from gslrm.clean.reconstruction import clean_reconstruction
from gslrm.clean.summary import cleaning_text, read_reports
from gslrm.config import InferenceConfig
from gslrm.data.sample import read_sample
from gslrm.errors import UserError


@pytest.fixture
def made(tmp_path):
    worker = reconstructor()
    sample = read_sample(write_ball_sample(tmp_path / "s", ring(6, size=48)))
    return worker, worker.reconstruct(worker.place(sample, (0, 1, 2, 3)))


def test_the_report_says_how_many_stay_and_what_it_costs_at_both_kinds_of_views(made):
    worker, reconstruction = made
    cleaned, report = clean_reconstruction(worker, reconstruction, parse_filters("opacity:0.3,contribution:0.5"))
    json.dumps(report, allow_nan=False)
    count = len(reconstruction.gaussians.means)
    assert [step["filter"] for step in report["steps"]] == ["opacity:0.3", "contribution:0.5"]
    assert report["steps"][0]["before"] == count
    assert report["steps"][1]["after"] == len(cleaned.gaussians.means) <= count
    assert set(report["cost"]) == {"input", "heldout"}
    for scores in report["cost"].values():
        assert set(scores) == {"psnr_crop", "psnr_fg", "mask_iou"}
        for score in scores.values():
            assert score["change"] == pytest.approx(score["after"] - score["before"])


def test_a_run_tells_the_share_that_stays_and_the_mean_cost(made, tmp_path):
    reports = [clean_reconstruction(*made, parse_filters(f"opacity:{bound}"))[1] for bound in (0.2, 0.4)]
    for number, report in enumerate(reports):
        export.write_json(tmp_path / f"sample_{number}" / "clean.json", report)
    assert read_reports(tmp_path) == reports
    first, *rest = cleaning_text(reports).splitlines()
    before, after = (sum(report["steps"][0][when] for report in reports) for when in ("before", "after"))
    assert first == f"{after} of {before} Gaussians stay ({100 * after / before:.1f}%) in 2 samples"
    change = sum(report["cost"]["heldout"]["psnr_crop"]["change"] for report in reports) / 2
    assert rest[1].startswith(f"heldout views: psnr_crop {change:+.2f}, ")
    (tmp_path / "sample_1/clean.json").write_text("{")
    with pytest.raises(UserError, match="--redo"):
        read_reports(tmp_path)


def test_held_out_views_are_those_that_were_not_given(made):
    worker, reconstruction = made
    _, report = clean_reconstruction(worker, reconstruction, parse_filters("opacity:0.3"))
    for kind, views in (("input", (0, 1, 2, 3)), ("heldout", (4, 5))):
        truths = {kind: [worker.truth(reconstruction.placed, index) for index in views]}
        expected = measure(partial(worker.render, reconstruction), truths)[kind]
        assert {name: score["before"] for name, score in report["cost"][kind].items()} == pytest.approx(expected)


def test_removing_what_contributes_nothing_costs_nothing(made):
    worker, reconstruction = made
    _, report = clean_reconstruction(worker, reconstruction, parse_filters("contribution:0"))
    for scores in report["cost"].values():
        assert abs(scores["psnr_crop"]["change"]) < 0.05 and abs(scores["mask_iou"]["change"]) < 0.005


def test_the_hull_vote_sees_only_the_input_views(made):
    worker, reconstruction = made
    with pytest.raises(UserError, match="from 1 to 4"):
        clean_reconstruction(worker, reconstruction, parse_filters("hull:5"))
    cleaned, _ = clean_reconstruction(worker, reconstruction, parse_filters("hull:4/0"))
    assert torch.isfinite(cleaned.in_source().means).all()


def test_a_filter_that_leaves_nothing_is_refused(made):
    with pytest.raises(UserError, match="leaves nothing of s"):
        clean_reconstruction(*made, parse_filters("opacity:1"))


def test_the_configuration_names_the_formats_that_exist():
    field = InferenceConfig.model_fields["formats"].annotation
    assert set(field.__args__[0].__args__) == set(export.FORMATS) - {"ply"}
