"""Probabilities and truth -> how wrong the probabilities are, as `evaluate` measures it, and the log loss.

In    y (n,) 0/1 and probabilities (n,) of one finding, without masked images.
Out   one number; 0 is none. NaN without an image.
"""

import numpy as np
from numpy.typing import NDArray

from cxrscore.statistics.measures import MEASURES


def brier(y: NDArray[np.int8], probs: NDArray[np.floating]) -> float:
    return _measured("brier", y, probs)


def calibration_error(y: NDArray[np.int8], probs: NDArray[np.floating]) -> float:
    return _measured("calibration_error", y, probs)


def log_loss(y: NDArray[np.int8], probs: NDArray[np.floating]) -> float:
    """Mean negative log-likelihood; probabilities of 0 and 1 count as the nearest number of float64."""
    if not len(y):
        return float("nan")
    tiny, almost_one = np.finfo(np.float64).tiny, np.nextafter(1.0, 0.0)
    p = np.clip(np.asarray(probs, np.float64), tiny, almost_one)
    return float(-np.where(y == 1, np.log(p), np.log1p(-p)).mean())


def _measured(name: str, y: NDArray[np.int8], probs: NDArray[np.floating]) -> float:
    prepared = MEASURES[name].prepare(y, np.ones(len(y), dtype=bool), probs)
    return float(prepared.values(np.ones((len(y), 1)))[0])
