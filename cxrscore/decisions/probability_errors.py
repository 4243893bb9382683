"""Probabilities and truth -> how wrong the probabilities are.

In    y (n,) 0/1 and probabilities (n,) of one finding, without masked images.
Out   one number; 0 is none. NaN without an image.
"""

import numpy as np
from numpy.typing import NDArray

BINS = 10


def brier(y: NDArray[np.int8], probs: NDArray[np.floating]) -> float:
    """Mean squared difference. Source: Brier, Monthly Weather Review 78, 1950."""
    return float(((probs - y) ** 2).mean()) if len(y) else float("nan")


def log_loss(y: NDArray[np.int8], probs: NDArray[np.floating]) -> float:
    """Mean negative log-likelihood; probabilities of 0 and 1 count as the nearest number of float64."""
    if not len(y):
        return float("nan")
    tiny, almost_one = np.finfo(np.float64).tiny, np.nextafter(1.0, 0.0)
    p = np.clip(np.asarray(probs, np.float64), tiny, almost_one)
    return float(-np.where(y == 1, np.log(p), np.log1p(-p)).mean())


def calibration_error(y: NDArray[np.int8], probs: NDArray[np.floating]) -> float:
    """Mean absolute difference between the mean probability and the share of positives in BINS groups of as
    many images each, in the order of their probabilities. Source: Naeini, Cooper & Hauskrecht, AAAI 2015,
    with groups of equal size, as most scores of a rare finding lie in one of equal width.
    """
    if not len(y):
        return float("nan")
    order = np.argsort(probs, kind="stable")
    groups = (rows for rows in np.array_split(order, BINS) if len(rows))
    gaps = [abs(float(y[rows].sum()) - float(probs[rows].sum())) for rows in groups]
    return sum(gaps) / len(y)
