"""A figure's resamples -> the interval that is shown for it.

In    (R,) values in resamples of the patients, as bootstrap.py makes them.
Out   the two ends.
Source: Efron & Tibshirani, An Introduction to the Bootstrap, 1993, 13.3 (percentiles).
"""

import numpy as np

from cxrscore.core.errors import promise
from cxrscore.statistics.roc_area import Floats


def interval(differences: Floats, *, coverage: float = 0.95) -> tuple[float, float]:
    """(R,) -> the percentiles that leave out as much on either side, of resamples that have a value."""
    defined = differences[~np.isnan(differences)]
    promise(len(defined) > 0, "folds in which nothing is defined are refused before they are trained")
    low, high = np.percentile(defined, [50 * (1 - coverage), 50 * (1 + coverage)])
    return float(low), float(high)
