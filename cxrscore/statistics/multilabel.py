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
Figure = Callable[[Floats, Floats, Floats], Floats]


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
    """(n, L) labels that are true, called, and both; a figure of their sums by finding, (L, R) each."""

    true: Bools
    positive: Bools
    figure: Figure

    def values(self, weights: Floats) -> Floats:
        """(n, R) -> (R,)."""
        true, positive, both = (
            rows.T.astype(float) @ weights for rows in (self.true, self.positive, self.true & self.positive)
        )
        return self.figure(true, positive, both)


def counts(figure: Figure, *, top: int | None = None) -> Callable[..., Counts]:
    """How to make a figure ready."""

    def prepare(y: np.ndarray, mask: np.ndarray, scores: np.ndarray) -> Counts:
        return Counts(mask & (y == 1), called(mask, scores, top=top), figure)

    return prepare


def class_precision(true: Floats, positive: Floats, both: Floats) -> Floats:
    """CP: the mean over findings that are there; one that is never called has precision 0."""
    precision = quotient(both, np.maximum(positive, np.finfo(float).tiny))
    return _mean(np.where(true > 0, precision, np.nan))


def class_recall(true: Floats, positive: Floats, both: Floats) -> Floats:
    """CR: the mean over findings that are there."""
    return _mean(quotient(both, true))


def class_f1(true: Floats, positive: Floats, both: Floats) -> Floats:
    """CF1: the harmonic mean of CP and CR."""
    return harmonic_mean(class_precision(true, positive, both), class_recall(true, positive, both))


def overall_precision(true: Floats, positive: Floats, both: Floats) -> Floats:
    """OP: of all labels that are called."""
    return quotient(both.sum(0), positive.sum(0))


def overall_recall(true: Floats, positive: Floats, both: Floats) -> Floats:
    """OR: of all labels that are true."""
    return quotient(both.sum(0), true.sum(0))


def overall_f1(true: Floats, positive: Floats, both: Floats) -> Floats:
    """OF1, the harmonic mean of OP and OR, which is the micro-averaged F1: 2 tp / (2 tp + fp + fn)."""
    return quotient(2 * both.sum(0), true.sum(0) + positive.sum(0))


def macro_f1(true: Floats, positive: Floats, both: Floats) -> Floats:
    """The mean of F1 over findings that are true or called somewhere."""
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
