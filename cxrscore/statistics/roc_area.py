"""Scores and truth -> areas under the ROC curve.

In    y (n, L) 0/1, mask (n, L) bool, scores (n, L).
Out   areas, by finding and on average; what is undefined is NaN here and absent from the files.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cxrscore.core.errors import promise

Floats = NDArray[np.float64]


def roc_auc(y: np.ndarray, scores: np.ndarray) -> float:
    """(n,) 0/1 and (n,) scores -> area under the ROC curve, ties counted half; NaN where only one class is
    present.

    The probability that a positive outranks a negative, from mid-ranks. Source: Hanley & McNeil, Radiology
    143, 1982.
    """
    promise(not np.isnan(scores).any(), "a score that is not a number has no rank")
    positives = int(y.sum())
    negatives = len(y) - positives
    if positives == 0 or negatives == 0:
        return float("nan")
    _, inverse, counts = np.unique(scores, return_inverse=True, return_counts=True)
    mid_ranks = np.cumsum(counts) - (counts - 1) / 2  # 1-based
    rank_sum = mid_ranks[inverse][y == 1].sum()
    return float((rank_sum - positives * (positives + 1) / 2) / (positives * negatives))


def auc_by_finding(y: np.ndarray, mask: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """(n, L) each -> (L,) areas; masked entries count nowhere."""
    columns = zip(y.T, mask.T, scores.T, strict=True)
    return np.array([roc_auc(truth[known], score[known]) for truth, known, score in columns])


def macro(areas: np.ndarray) -> float:
    """(L,) -> mean over the defined ones; NaN where none is."""
    defined = areas[~np.isnan(areas)]
    return float(defined.mean()) if len(defined) else float("nan")


@dataclass(frozen=True)
class Ranked:
    """One finding's scores, sorted once: a positive outranks the first `below` of the negatives, and is as
    high as those after them up to `upto`. All are row numbers, but those two.
    """

    positives: np.ndarray
    negatives: np.ndarray
    below: np.ndarray
    upto: np.ndarray

    def values(self, weights: Floats) -> Floats:
        """(n, R) weights of the images in R resamples -> (R,), NaN where one class has no weight.

        The probability that a positive outranks a negative, ties counted half (as roc_auc), among
        images repeated by their weights. Whole weights make it exact.
        """
        sums = np.zeros((len(self.negatives) + 1, weights.shape[1]))  # of the first 0, 1, ... negatives
        np.cumsum(weights[self.negatives], axis=0, out=sums[1:])
        mine = weights[self.positives]
        outranked = np.einsum("pr,pr->r", mine, sums[self.below]) + np.einsum(
            "pr,pr->r", mine, sums[self.upto]
        )
        return quotient(outranked, 2 * mine.sum(0) * sums[-1])


def ranked(y: np.ndarray, mask: np.ndarray, scores: np.ndarray) -> Ranked:
    """(n,) each, of one finding. Masked images are in neither class."""
    positives, negatives = np.flatnonzero(mask & (y == 1)), np.flatnonzero(mask & (y == 0))
    negatives = negatives[np.argsort(scores[negatives], kind="stable")]
    sides = (np.searchsorted(scores[negatives], scores[positives], side) for side in ("left", "right"))
    return Ranked(positives, negatives, *sides)


def quotient(sums: Floats, counts: Floats) -> Floats:
    """NaN where the count is 0."""
    return np.divide(sums, counts, out=np.full_like(sums, np.nan), where=counts > 0)
