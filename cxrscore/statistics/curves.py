"""Scores and truth -> the points of ROC and precision-recall curves, as many as a plot can show.

In    y (n, L) 0/1, mask (n, L) bool, scores (n, L).
Out   rows for a table: a finding and a point, from left to right. A finding with a single class has no curve.
Source: scikit-learn's roc_curve and precision_recall_curve. The area itself is roc_area.py's, which is exact.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

DIGITS = 5
PIECES = 100  # of a curve; in each the first and the last point are kept, so at most 200 stand for a finding
Row = tuple[str, str, str]
Points = tuple[NDArray[np.float64], NDArray[np.float64]]


def roc_rows(findings: Sequence[str], y: np.ndarray, mask: np.ndarray, scores: np.ndarray) -> Iterator[Row]:
    """`finding, fpr, tpr`."""
    from sklearn.metrics import roc_curve  # takes a second

    for finding, truth, score in _with_both_classes(findings, y, mask, scores):
        fpr, tpr, _ = roc_curve(truth, score)
        yield from _rows(finding, thinned(fpr, tpr))


def pr_rows(findings: Sequence[str], y: np.ndarray, mask: np.ndarray, scores: np.ndarray) -> Iterator[Row]:
    """`finding, recall, precision`; the first point is recall 0 and precision 1, by definition."""
    from sklearn.metrics import precision_recall_curve

    for finding, truth, score in _with_both_classes(findings, y, mask, scores):
        precision, recall, _ = precision_recall_curve(truth, score, drop_intermediate=True)
        yield from _rows(finding, thinned(recall[::-1], precision[::-1]))


def thinned(x: NDArray[np.float64], y: NDArray[np.float64]) -> Points:
    """Of a curve (n,) the ends, and the first and last point in each of PIECES pieces of the same length.

    Lengths are sums of steps along both axes: a ROC curve's is 2, so what is left out lies within 0.02 of
    what is kept, and the area under it moves by 0.005 at most.
    """
    length = np.append(0.0, np.cumsum(np.abs(np.diff(x)) + np.abs(np.diff(y))))
    starts = np.searchsorted(length, np.linspace(0, length[-1], PIECES + 1)[1:-1])
    kept = np.unique([0, *starts - 1, *starts, len(x) - 1])
    return x[kept], y[kept]


def _with_both_classes(
    findings: Sequence[str], y: np.ndarray, mask: np.ndarray, scores: np.ndarray
) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    for finding, truth, known, score in zip(findings, y.T, mask.T, scores.T, strict=True):
        if 0 < truth[known].sum() < known.sum():
            yield finding, truth[known], score[known]


def _rows(finding: str, points: Points) -> Iterator[Row]:
    for x, y in zip(*points, strict=True):
        yield finding, f"{x:.{DIGITS}f}", f"{y:.{DIGITS}f}"
