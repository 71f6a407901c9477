"""How far a mean over samples may be trusted: percentile bootstrap (Efron 1979) with samples as the unit.

Views of one sample show the same animal in the same pose, so they are not drawn apart.
"""

from collections.abc import Sequence

import numpy as np

RESAMPLES = 2000
LEVEL = 0.95
SEED = 0


def interval(
    values: Sequence[float], *, resamples: int = RESAMPLES, level: float = LEVEL, seed: int = SEED
) -> tuple[float, float] | None:
    """Lower and upper end of the interval of the mean; none of fewer than two values, which tell no spread.

    Lists of equal length are resampled alike, whatever their values.
    """
    if len(values) < 2:
        return None
    drawn = np.random.default_rng(seed).integers(len(values), size=(resamples, len(values)))
    means = np.asarray(values, dtype=np.float64)[drawn].mean(axis=1)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
