"""Validation during a run: what is warned of, and what is paid for once."""

import json
import logging

import pytest
from evaluation_helpers import SETTINGS, ball_sample, reconstructor

from gslrm.config_io import config_from_mapping
from gslrm.errors import UserError
from gslrm.evaluation import hull
from gslrm.evaluation.memorising import HELDOUT, INPUT
from gslrm.training.validation import MEMORISING, Validation


def settings(data, trained=None, **validation):
    training = SETTINGS["training"] | {
        "dataset": {"num_views": 6, "num_input_views": 4, "dataset_path": str(trained or data)}
    }
    section = {"enabled": True, "dataset_path": str(data)} | validation
    return config_from_mapping(SETTINGS | {"training": training, "validation": section}, source="test")


@pytest.fixture
def data(tmp_path):
    ball_sample(tmp_path / "val" / "frame_000500", size=32)
    return tmp_path / "val"


@pytest.fixture
def other(tmp_path):
    ball_sample(tmp_path / "train" / "frame_000001", size=32)
    return tmp_path / "train"


def test_baselines_are_made_once_and_logged_every_time(data, other, monkeypatch):
    made = []
    of = hull.Hull.of
    monkeypatch.setattr(hull.Hull, "of", staticmethod(lambda views: made.append(1) or of(views)))
    validation, worker = Validation(settings(data, other)), reconstructor()
    first, second = validation.run(worker).scalars, validation.run(worker).scalars
    assert len(made) == 1
    assert first == second
    assert {"val_heldout/visual_hull_psnr_crop", "val_heldout/white_psnr", "val/psnr_crop", MEMORISING} <= set(first)
    assert {"val/gaussians_floaters", "val/gaussians_effective_count"} <= set(first)


def test_the_hull_can_be_left_out(data, other):
    scalars = Validation(settings(data, other, visual_hull=False)).run(reconstructor()).scalars
    assert not [name for name in scalars if "visual_hull" in name] and "val_heldout/nearest_input_psnr" in scalars


def test_without_spare_cameras_held_out_scores_exist_all_the_same(data, other):
    config = settings(data, other, protocol="leave_one_out")
    validation = Validation(config)
    assert len(validation.cases[0].folds) == 4
    report = validation.run(reconstructor())
    assert {"val/psnr_crop", "val_heldout/psnr_crop"} <= set(report.scalars)
    assert report.picture.ndim == 3


def test_a_protocol_that_is_impossible_is_refused_before_the_first_pass(data, other):
    with pytest.raises(UserError, match="exclude each other"):
        settings(data, other, protocol="leave_one_out", heldout_views="4-5")
    with pytest.raises(UserError, match="has no view 9"):
        Validation(settings(data, other, heldout_views="9"))


def test_learning_pictures_instead_of_the_object_is_warned_of_across_a_resume(data, other, tmp_path, caplog):
    worker = reconstructor()
    now = Validation(settings(data, other)).run(worker).scalars
    assert now[MEMORISING] == 0
    past = [{INPUT: now[INPUT] - 2 + k, HELDOUT: now[HELDOUT] + 2 - k} for k in (0, 1)]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps({"step": 1} | line) + "\n" for line in past))
    resumed = Validation(settings(data, other), tmp_path / "metrics.jsonl")
    with caplog.at_level(logging.WARNING):
        assert resumed.run(worker).scalars[MEMORISING] == 1
    assert "learning its input pictures, not the object" in caplog.text


def test_validating_on_training_samples_or_their_neighbours_is_warned_of(data, other, tmp_path, caplog):
    Validation(settings(data, other))
    assert not caplog.records
    Validation(settings(data, data))
    assert "also trained on" in caplog.text
    caplog.clear()
    neighbours = ball_sample(tmp_path / "val" / "frame_000510", size=32).directory
    (tmp_path / "list.txt").write_text(f"{neighbours}\n")
    Validation(settings(tmp_path / "list.txt", data / "frame_000500"))
    assert "within 100 frames" in caplog.text
    caplog.clear()
    Validation(settings(tmp_path / "list.txt", data / "frame_000500", min_frame_gap=10))
    assert not caplog.records
