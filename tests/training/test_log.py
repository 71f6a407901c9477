"""Figures and pictures arrive in files, with wandb offline or off."""

import json

import numpy as np
import pytest

from gslrm.config import Config, LoggingConfig
from gslrm.config_io import config_from_mapping
from gslrm.training import log
from gslrm.training.log import RunLog, wandb_mode


def config(mode: str) -> Config:
    return config_from_mapping({"training": {"logging": {"wandb": {"mode": mode}}}}, source="test")


@pytest.mark.parametrize("mode", ["offline", "disabled"])
def test_a_log_is_written_closed_and_continued(tmp_path, mode):
    for done in (0, 2):
        run = RunLog(tmp_path, config(mode), done=done, wandb_id="abcd1234")
        for step in (1, 2, 3):
            run.scalars(step + done, {"train/loss": 1.0 / step})
        path = run.picture(3 + done, "val/gt_vs_pred", np.zeros((8, 8, 3), np.uint8))
        run.close()
        assert path.is_file()
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2, 3, 4, 5]  # what came after pass 2 is computed again
    assert (tmp_path / "wandb").exists() == (mode == "offline")


def test_a_line_cut_short_by_a_kill_is_dropped(tmp_path):
    (tmp_path / "metrics.jsonl").write_text('{"step": 1, "train/loss": 0.5}\n{"step": 2, "train/lo')
    run = RunLog(tmp_path, config("disabled"), done=2, wandb_id="abcd1234")
    run.scalars(3, {"train/loss": float("nan")})
    run.close()
    assert (tmp_path / "metrics.jsonl").read_text().endswith('{"step": 3, "train/loss": null}\n')
    steps = [json.loads(line)["step"] for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert steps == [1, 3]


@pytest.mark.parametrize(
    ("mode", "login", "expected"),
    [
        ("auto", True, "online"),
        ("auto", False, "offline"),
        ("online", False, "offline"),
        ("disabled", True, "disabled"),
    ],
)
def test_without_a_login_runs_are_kept_offline(monkeypatch, mode, login, expected):
    monkeypatch.setattr(log, "has_wandb_login", lambda: login)
    assert wandb_mode(LoggingConfig.model_validate({"wandb": {"mode": mode}})) == expected
