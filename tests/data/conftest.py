"""Fixtures of the tests of gslrm/data."""

from pathlib import Path

import pytest
from data_helpers import BALL
from helpers import ring, write_ball_sample


@pytest.fixture
def sample_dir(tmp_path) -> Path:
    return write_ball_sample(tmp_path / "sample_000", ring(8), center=BALL)
