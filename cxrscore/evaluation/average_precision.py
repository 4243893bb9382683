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
