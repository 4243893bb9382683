"""Scores of all findings, cut at 0.5 -> the figures by which papers on multilabel classification compare.

In    y, mask and scores, (n, L) each. What is masked counts nowhere: it is not true, called or ranked.
Out   figures that can be resampled. NaN where their denominator is 0.
Source: A-GCN, "Evaluation metrics": a label is called positive where its probability is greater than 0.5. Of
the top 3 labels of an image those are called that are above 0.5, too: in the papers' tables the three have a
higher precision and a lower recall than all labels, row by row. F1, exact matches and single labels: LaMP,
8.2. Terms without a denominator are left out of a mean.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cxrscore.statistics.roc_area import Floats, quotient
from cxrscore.statistics.weighted_ratio import Ratio, mean_of

THRESHOLD = 0.5
TOP = 3
Bools = NDArray[np.bool_]
Figure = Callable[[Floats], Floats]  # of (3, L, R) numbers of labels that are true, called, and both


def called(mask: np.ndarray, scores: np.ndarray, *, top: int | None = None) -> Bools:
    """(n, L) labels that are called positive; of each image the `top` highest at most, and of equal scores
    the first.
    """
    found: Bools = mask & (scores > THRESHOLD)
    if top is not None:
        order = np.argsort(np.where(mask, -scores, np.inf), axis=1, kind="stable")
        highest = np.zeros_like(found)
        np.put_along_axis(highest, order[:, :top], True, axis=1)
        found &= highest
    return found


@dataclass(frozen=True)
class Counts:
    """(3 L, n) by finding, which labels are true, called, and both."""

    labels: Floats

    def values(self, weights: Floats) -> Floats:
        """(n, R) -> (3, L, R) their numbers."""
        sums: Floats = self.labels @ weights
        return sums.reshape(3, -1, weights.shape[1])


def counts(y: np.ndarray, mask: np.ndarray, scores: np.ndarray) -> Counts:
    return _counts(mask & (y == 1), called(mask, scores))


def counts_of_top(y: np.ndarray, mask: np.ndarray, scores: np.ndarray) -> Counts:
    """With the TOP labels of an image that can be called."""
    return _counts(mask & (y == 1), called(mask, scores, top=TOP))


def _counts(true: Bools, positive: Bools) -> Counts:
    return Counts(np.concatenate([true.T, positive.T, (true & positive).T]).astype(float))


def class_precision(counted: Floats) -> Floats:
    """CP: the mean over findings that are there; one that is never called has precision 0."""
    true, positive, both = counted
    precision = quotient(both, np.maximum(positive, np.finfo(float).tiny))
    return _mean(np.where(true > 0, precision, np.nan))


def class_recall(counted: Floats) -> Floats:
    """CR: the mean over findings that are there."""
    true, _, both = counted
    return _mean(quotient(both, true))


def class_f1(counted: Floats) -> Floats:
    """CF1: the harmonic mean of CP and CR."""
    return harmonic_mean(class_precision(counted), class_recall(counted))


def overall_precision(counted: Floats) -> Floats:
    """OP: of all labels that are called."""
    _, positive, both = counted
    return quotient(both.sum(0), positive.sum(0))


def overall_recall(counted: Floats) -> Floats:
    """OR: of all labels that are true."""
    true, _, both = counted
    return quotient(both.sum(0), true.sum(0))


def overall_f1(counted: Floats) -> Floats:
    """OF1, the harmonic mean of OP and OR, which is the micro-averaged F1: 2 tp / (2 tp + fp + fn)."""
    true, positive, both = counted
    return quotient(2 * both.sum(0), true.sum(0) + positive.sum(0))


def macro_f1(counted: Floats) -> Floats:
    """The mean of F1 over findings that are true or called somewhere."""
    true, positive, both = counted
    return _mean(quotient(2 * both, true + positive))


def harmonic_mean(a: Floats, b: Floats) -> Floats:
    """0 where both are."""
    return 2 * a * b / np.where(a + b > 0, a + b, 1.0)


def subset_accuracy(y: np.ndarray, mask: np.ndarray, scores: np.ndarray) -> Ratio:
    """The share of images whose labels are all right."""
    wrong: Bools = mask & (called(mask, scores) != (y == 1))
    return mean_of(wrong.sum(1) == 0, mask.sum(1) > 0)


def hamming_loss(y: np.ndarray, mask: np.ndarray, scores: np.ndarray) -> Ratio:
    """The share of labels that are wrong; LaMP's Hamming accuracy is the rest."""
    wrong = mask & (called(mask, scores) != (y == 1))
    return Ratio(wrong.sum(1).astype(float), mask.sum(1).astype(float))


def example_f1(y: np.ndarray, mask: np.ndarray, scores: np.ndarray) -> Ratio:
    """The mean of 2 |true and called| / (|true| + |called|) over images where something is true or called."""
    true, positive = mask & (y == 1), called(mask, scores)
    size = (true.sum(1) + positive.sum(1)).astype(float)
    return mean_of(2 * (true & positive).sum(1) / np.maximum(size, 1), size > 0)


def _mean(values: Floats) -> Floats:
    """(L, R) -> (R,) means of what is defined."""
    defined = ~np.isnan(values)
    return quotient(np.where(defined, values, 0.0).sum(0), defined.sum(0).astype(float))
