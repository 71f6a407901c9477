"""The study of loss terms: every run can be trained, and its figures mean what they say."""

import importlib.util
from pathlib import Path

import pytest
import torch
from loss_helpers import ball_scene

from gslrm.config_io import load_config
from gslrm.types import Rendering

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def study():
    specification = importlib.util.spec_from_file_location("study_losses", ROOT / "scripts/study_losses.py")
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def test_every_run_has_a_name_of_its_own_and_loads(study):
    names = [run.name for run in study.runs()]
    assert len(set(names)) == len(names)
    for run in study.runs():
        config = load_config(ROOT / run.config, study.overrides(run, Path("list.txt"), passes=3))
        assert config.training.schedule.max_fwdbwd_passes == 3


def test_white_paper_has_no_darkness_and_a_brown_flood_floats_everywhere(study):
    c = ball_scene()
    truth = c.batch.target[0]
    dark = type(truth)(1 - 0.8 * truth.masks.expand(-1, 3, -1, -1), truth.masks, truth.cameras)
    empty = torch.zeros_like(truth.masks)

    def mean(rgb: torch.Tensor, alpha: torch.Tensor, name: str) -> float:
        scores = list(study.score_views(dark, Rendering(rgb, alpha, empty)))
        return sum(score[name] for score in scores) / len(scores)

    white, brown = torch.ones_like(dark.images), torch.full_like(dark.images, 0.2)
    share = float(sum((1 - view.mean()) / view.mean() for view in truth.masks) / len(truth.masks))
    assert mean(white, empty, "darkness") == 0
    assert mean(dark.images, truth.masks, "darkness") == pytest.approx(1)
    assert mean(dark.images, truth.masks, "alpha_outside") == 0
    assert mean(brown, 1 + empty, "alpha_outside") == pytest.approx(share)
    assert mean(brown, 1 + empty, "psnr_fg") == pytest.approx(100)
