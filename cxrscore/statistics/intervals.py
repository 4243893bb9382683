"""A figure's resamples -> the interval that is shown for it.

In    (R,) values in resamples of the patients, as bootstrap.py makes them.
Out   the two ends.
Source: Efron & Tibshirani, An Introduction to the Bootstrap, 1993, 13.3 (percentiles).
"""

import numpy as np

from cxrscore.core.errors import promise
from cxrscore.statistics.roc_area import Floats

FEWEST = 5  # patients of either class; of one alone, 95 % intervals held the truth 85 times of 100, of two 92


def interval(
    estimate: float, resampled: Floats, *, scale: str = "plain", coverage: float = 0.95
) -> tuple[float, float]:
    """`resampled` (R,) -> the percentiles that leave out as much on either side, of resamples that have a
    value. `scale`: values lie in 0 to 1 (unit) or anywhere (plain).
    """
    defined = resampled[~np.isnan(resampled)]
    promise(len(defined) > 0, "folds in which nothing is defined are refused before they are trained")
    low, high = np.percentile(defined, [50 * (1 - coverage), 50 * (1 + coverage)])
    return float(low), float(high)
