"""Samples that training tests share."""

from pathlib import Path

import pytest
from training_helpers import write_samples


@pytest.fixture(scope="session")
def samples(tmp_path_factory) -> Path:
    return write_samples(tmp_path_factory.mktemp("samples"))
