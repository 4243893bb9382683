"""Scores and truth -> statistics: pure functions on arrays.

In    y (n, L) 0/1, mask (n, L) bool, scores (n, L).
Out   floats, and scores by group; what is undefined is NaN here and absent from the files.
"""

from collections.abc import Sequence

import numpy as np

from cxrscore.core.errors import promise


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


def group_means(scores: np.ndarray, groups: Sequence[str]) -> np.ndarray:
    """(n, L) scores -> (n, L) float64: each row the mean over the rows of its group."""
    _, group = np.unique(groups, return_inverse=True)
    sums = np.zeros((group.max(initial=-1) + 1, scores.shape[1]))
    np.add.at(sums, group, scores)
    return (sums / np.bincount(group)[:, None])[group]
