"""Networks that turn Views into Gaussians."""

from torch import nn

from gslrm.config import ModelConfig
from gslrm.model.gslrm import GSLRM

FAMILIES = {"gslrm": GSLRM}


def build_model(config: ModelConfig) -> nn.Module:
    """The network of a `model:` section, with random weights; `model(views: Views) -> Gaussians`."""
    return FAMILIES[config.family](config)
