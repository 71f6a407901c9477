"""The commands that write pages."""

from pathlib import Path

import pytest
from command_helpers import call
from report_helpers import flat, read_page, train_line, write_run


@pytest.fixture
def run(tmp_path) -> Path:
    pictures = {f"val_gt_vs_pred_{step:08d}.png": flat(step) for step in (50, 100)}
    return write_run(tmp_path / "run", [train_line(1)], pictures=pictures)


def test_the_report_is_written_where_it_says(run, tmp_path, capsys):
    assert call("scripts/report.py", run) == 0
    assert capsys.readouterr().out.strip() == str(run / "report.html")
    read_page(run / "report.html")
    assert call("scripts/report.py", run, "--output", tmp_path / "other/page.html") == 0
    read_page(tmp_path / "other/page.html")


def test_the_comparison_is_written_where_it_is_asked_for(run, tmp_path):
    assert call("scripts/compare.py", "--before", run, "--after", run, "--output", tmp_path / "c.html") == 0
    assert len(read_page(tmp_path / "c.html").of("img")) == 2


def test_wrong_input_ends_with_one_sentence(tmp_path, capsys):
    assert call("scripts/report.py", tmp_path / "nothing") == 2
    arguments = ("--before", tmp_path / "a.png", "--after", tmp_path / "b.png", "--output", tmp_path / "c.html")
    assert call("scripts/compare.py", *arguments) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 2 and all(line.startswith("error: ") for line in lines)
