"""Everything that is measured of one checkpoint at cameras it was not given: scores, robustness, seconds, pictures."""
