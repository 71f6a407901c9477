"""Networks that turn Views into Gaussians."""

from gslrm.config import ModelConfig
from gslrm.model.gslrm import GSLRM
from gslrm.model.hull_gslrm import HullGSLRM

FAMILIES = {("gslrm", False): GSLRM, ("gslrm", True): HullGSLRM}


def build_model(config: ModelConfig) -> GSLRM:
    """The network of a `model:` section, with random weights; `model(views: Views) -> Gaussians`."""
    return FAMILIES[config.family, config.depth_anchor == "corrected_hull"](config)
