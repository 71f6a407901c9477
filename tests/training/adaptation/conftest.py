"""What fine-tuning tests begin with."""

from pathlib import Path

import pytest
import torch
from adaptation_helpers import configure
from helpers import ring, write_ball_sample

from gslrm.model import build_model


@pytest.fixture(autouse=True)
def _peft(request: pytest.FixtureRequest) -> None:
    if "lora" in request.node.name.lower():
        pytest.importorskip("peft")


@pytest.fixture(scope="session")
def samples(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("samples")
    for number in range(3):
        write_ball_sample(folder / f"sample_{number}", ring(5, size=32), radius=26.0 + 3 * number)
    return folder


@pytest.fixture(scope="session")
def pretrained(samples, tmp_path_factory) -> Path:
    """Weights as published ones come: under 'model', with the VGG of a loss beside them."""
    torch.manual_seed(7)
    weights = build_model(configure(samples, {}).model).state_dict()
    path = tmp_path_factory.mktemp("pretrained") / "published.pt"
    torch.save({"model": weights | {"loss_calculator.vgg": torch.ones(2)}}, path)
    return path
