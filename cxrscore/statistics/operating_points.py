"""Scores and truth of one finding -> sensitivity where specificity is at least 90 %, and the reverse.

In    y, mask and scores, (n,) each.
Out   Point, a figure that can be resampled; NaN with a single class.
Source: points of the ROC curve as scikit-learn's roc_curve has them: an image is called positive where its
score is at least the threshold, and a threshold is one of the scores or above all. Nothing is interpolated,
and each resample has a threshold of its own.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cxrscore.core.errors import promise
from cxrscore.statistics.roc_area import Floats

AT_LEAST = 0.9
ROUNDING = 1e-12  # so that 9 of 10 are 90 %


@dataclass(frozen=True)
class Point:
    """Rows of the class whose share is given, from the side on which it is right, and of the other class from
    the same side. `within`: how many of the others a threshold just behind each given one leaves there, too.
    """

    given: NDArray[np.int64]
    others: NDArray[np.int64]
    within: NDArray[np.int64]

    def values(self, weights: Floats) -> Floats:
        """(n, R) -> (R,) the largest share of the others that is right where AT_LEAST of the given are."""
        found = np.full(weights.shape[1], np.nan)
        given, others = (np.cumsum(weights[rows], axis=0) for rows in (self.given, self.others))
        if not len(given) or not len(others):
            return found
        both = (given[-1] > 0) & (others[-1] > 0)
        last = (given < (AT_LEAST - ROUNDING) * given[-1]).sum(0)  # the given one with which the share is met
        within = self.within[np.minimum(last, len(given) - 1)]
        wrong = np.where(within > 0, others[within - 1, np.arange(len(within))], 0.0)
        found[both] = 1 - wrong[both] / others[-1, both]
        return found


def sensitivity_at_specificity(y: np.ndarray, mask: np.ndarray, scores: np.ndarray) -> Point:
    promise(not np.isnan(scores).any(), "a score that is not a number has no rank")
    return _point(mask & (y == 0), mask & (y == 1), scores)


def specificity_at_sensitivity(y: np.ndarray, mask: np.ndarray, scores: np.ndarray) -> Point:
    promise(not np.isnan(scores).any(), "a score that is not a number has no rank")
    return _point(mask & (y == 1), mask & (y == 0), -scores)


def _point(given: NDArray[np.bool_], others: NDArray[np.bool_], scores: np.ndarray) -> Point:
    """The given are right where their scores are low, the others where theirs are high."""
    first, second = (
        rows[np.argsort(scores[rows], kind="stable")]
        for rows in (np.flatnonzero(given), np.flatnonzero(others))
    )
    return Point(first, second, np.searchsorted(scores[second], scores[first], "right"))
