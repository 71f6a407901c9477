"""Networks that turn Views into Gaussians."""

from gslrm.config import ModelConfig
from gslrm.model.gslrm import GSLRM
from gslrm.model.hull_gslrm import HullGSLRM
from gslrm.model.lgm import LGM
from gslrm.model.lgm_start import StartedLGM

FAMILIES: dict[tuple[str, bool], type[GSLRM | LGM]] = {
    ("gslrm", False): GSLRM,
    ("gslrm", True): HullGSLRM,
    ("lgm", False): LGM,
    ("lgm", True): StartedLGM,
}


def build_model(config: ModelConfig) -> GSLRM | LGM:
    """The network of a `model:` section, with random weights; `model(views: Views) -> Gaussians`."""
    started = config.depth_anchor == "corrected_hull" or config.lgm.start.anchor != "none"
    return FAMILIES[config.family, started](config)
