"""Scores and truth -> average precision, the area under the steps of the precision-recall curve.

In    y, mask and scores of one finding, (n,) each, or of all of them, (n, L).
Out   Precision, a figure that can be resampled; NaN where all labels are of one class, as for the area under
      the ROC curve.
Source: sum over thresholds of (R_k - R_(k-1)) P_k, without interpolation, as scikit-learn's
average_precision_score; equal scores are one threshold. Its mean over findings is the mAP of A-GCN and SALGL.
Of all pairs of image and finding in one ranking it is AP_all: Inoue et al., "Multi-label fashion image
classification with minimal human supervision", 2017.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cxrscore.core.errors import promise
from cxrscore.statistics.roc_area import Floats, quotient

CELLS = 1_000_000  # of a matrix of pairs and resamples, of which some are held at once, 8 MB each


@dataclass(frozen=True)
class Precision:
    """Images by falling score: of each positive label and of each negative one the image's row. With the
    threshold at a positive, the first `upto` positives and the first `beside` negatives are called positive.
    """

    positives: NDArray[np.int64]
    negatives: NDArray[np.int64]
    upto: NDArray[np.int64]
    beside: NDArray[np.int64]

    def values(self, weights: Floats) -> Floats:
        """(n, R) -> (R,)."""
        pairs, resamples = len(self.positives) + len(self.negatives), weights.shape[1]
        step = max(1, CELLS // max(pairs, 1))  # AP_all has L pairs for each image
        parts = [self._values(weights[:, at : at + step]) for at in range(0, resamples, step)]
        return np.concatenate(parts)

    def _values(self, weights: Floats) -> Floats:
        mine = weights[self.positives]
        right, wrong = (_sums(weights[rows]) for rows in (self.positives, self.negatives))
        found = right[self.upto]
        precision = found / np.maximum(found + wrong[self.beside], np.finfo(float).tiny)
        area = quotient(np.einsum("pr,pr->r", mine, precision), right[-1])
        return np.where(wrong[-1] > 0, area, np.nan)


def average_precision(y: np.ndarray, mask: np.ndarray, scores: np.ndarray) -> Precision:
    """(n,) each, or (n, L), and then all pairs are ranked together. What is masked counts nowhere."""
    promise(not np.isnan(scores).any(), "a score that is not a number has no rank")
    findings = 1 if y.ndim == 1 else y.shape[1]
    sides = []
    for value in (1, 0):
        places = np.flatnonzero(mask & (y == value))
        sides.append(places[np.argsort(-scores.ravel()[places], kind="stable")])
    falling = [-scores.ravel()[places] for places in sides]
    upto, beside = (np.searchsorted(side, falling[0], "right") for side in falling)
    positives, negatives = (places // findings for places in sides)
    return Precision(positives, negatives, upto, beside)


def average_precision_by_finding(y: np.ndarray, mask: np.ndarray, scores: np.ndarray) -> NDArray[np.float64]:
    """(n, L) each -> (L,)."""
    columns = zip(y.T, mask.T, scores.T, strict=True)
    return np.array([_once(average_precision(*column), len(y)) for column in columns])


def average_precision_of_all(y: np.ndarray, mask: np.ndarray, scores: np.ndarray) -> float:
    """(n, L) each -> AP_all."""
    return _once(average_precision(y, mask, scores), len(y))


def _once(figure: Precision, images: int) -> float:
    return float(figure.values(np.ones((images, 1)))[0])


def _sums(weights: Floats) -> Floats:
    """(m, R) -> (m + 1, R) of the first 0, 1, ... rows."""
    sums = np.zeros((len(weights) + 1, weights.shape[1]))
    np.cumsum(weights, axis=0, out=sums[1:])
    return sums
