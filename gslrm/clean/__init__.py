"""Fewer Gaussians without a loss: filters by name, one after the other."""

from gslrm.clean.contribution import contributions
from gslrm.clean.evidence import Evidence
from gslrm.clean.filters import FILTERS, PRESETS, Filter, Step, clean, parse_filters

__all__ = ["FILTERS", "PRESETS", "Evidence", "Filter", "Step", "clean", "contributions", "parse_filters"]
