"""Scores and truth -> average precision by finding, the area under the steps of the precision-recall curve.

In    y (n, L) 0/1, mask (n, L) bool, scores (n, L).
Out   (L,) float64; NaN where a finding has a single class, as for the area under the ROC curve.
Source: scikit-learn's average_precision_score.
"""

import numpy as np
from numpy.typing import NDArray


def average_precision_by_finding(y: np.ndarray, mask: np.ndarray, scores: np.ndarray) -> NDArray[np.float64]:
    """(n, L) each -> (L,); masked entries count nowhere."""
    from sklearn.metrics import average_precision_score  # takes a second

    found = np.full(y.shape[1], np.nan)
    for j, (truth, known, score) in enumerate(zip(y.T, mask.T, scores.T, strict=True)):
        if 0 < truth[known].sum() < known.sum():
            found[j] = average_precision_score(truth[known], score[known])
    return found


def average_precision_of_all(y: np.ndarray, mask: np.ndarray, scores: np.ndarray) -> float:
    """(n, L) each -> class-agnostic average precision: the area under the steps of the precision-recall curve
    of all pairs of image and finding, ranked together, those of a finding with a single class included; NaN
    where all pairs are of one class. Masked pairs count nowhere, and equal scores are one step. Source:
    AP_all of Inoue et al., "Multi-label fashion image classification with minimal human supervision", 2017.
    """
    truth, score = y[mask], scores[mask]
    positives = int(truth.sum())
    if positives in (0, len(truth)):
        return float("nan")
    order = np.argsort(-score, kind="stable")
    ends = np.append(np.flatnonzero(np.diff(score[order])), len(order) - 1)  # of each group of equal scores
    hits = np.cumsum(truth[order] == 1)[ends]
    return float((np.diff(hits, prepend=0) * hits / (ends + 1)).sum() / positives)
