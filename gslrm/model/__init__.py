"""Networks that turn Views into Gaussians."""

from gslrm.config import ModelConfig
from gslrm.model.gslrm import GSLRM

FAMILIES = {"gslrm": GSLRM}


def build_model(config: ModelConfig) -> GSLRM:
    """The network of a `model:` section, with random weights; `model(views: Views) -> Gaussians`."""
    return FAMILIES[config.family](config)
