"""One finding's scores and truth -> an area under the ROC curve, or the difference of two, and its variance.

In    y (n,) 0/1, mask (n,) bool, scores (n,); `cluster` (n,), whose images they are, where rows are not
      independent.
Out   Spread: the value and its variance in closed form, without resamples.
Source: DeLong, DeLong & Clarke-Pearson, Biometrics 44, 1988, and for clusters Obuchowski, Biometrics 53,
1997: with M positives in I10 clusters, N negatives in I01, I clusters in all, V10 a positive's share of the
negatives that it outranks, V01 a negative's share of the positives that outrank it, and of cluster i
    a_i = sum of its V10 - m_i AUC,    b_i = sum of its V01 - n_i AUC
    variance = I10 / (I10 - 1) sum a_i^2 / M^2 + I01 / (I01 - 1) sum b_i^2 / N^2
               + 2 I / (I - 1) sum a_i b_i / M N.
Where each image is a cluster this is DeLong's. The variance of a difference is that of the differences of
a_i and of b_i. Ranks as in Sun & Xu, IEEE Signal Processing Letters 21, 2014.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cxrscore.statistics.roc_area import Floats


@dataclass(frozen=True)
class Spread:
    """NaN: a class is missing; the variance also where a class is one cluster's alone."""

    value: float
    variance: float


def area_spread(
    y: np.ndarray, mask: np.ndarray, scores: np.ndarray, cluster: np.ndarray | None = None
) -> Spread:
    return _spread([scores[mask]], y[mask], _clusters(mask, cluster))


def difference_spread(
    y: np.ndarray, mask: np.ndarray, a: np.ndarray, b: np.ndarray, cluster: np.ndarray | None = None
) -> Spread:
    """Of b's area less a's, on the same images."""
    return _spread([b[mask], a[mask]], y[mask], _clusters(mask, cluster))


def placements(y: np.ndarray, scores: np.ndarray) -> Floats:
    """(n,) each -> (n,) the share of the other class that a positive outranks or that outranks a negative,
    ties counted half.
    """
    found = np.empty(len(y))
    positives, negatives = (np.sort(scores[y == value]) for value in (1, 0))
    for value, others in ((1, negatives), (0, positives)):
        mine = scores[y == value]
        sides = [np.searchsorted(others, mine, side) for side in ("left", "right")]
        found[y == value] = (sides[0] + sides[1]) / (2 * len(others))
    return np.where(y == 1, found, 1 - found)


def _clusters(mask: np.ndarray, cluster: np.ndarray | None) -> NDArray[np.int64]:
    """Of the rows that are known, numbered from 0."""
    rows = np.flatnonzero(mask) if cluster is None else cluster[mask]
    return np.unique(rows, return_inverse=True)[1].astype(np.int64)


def _spread(ways: list[np.ndarray], y: np.ndarray, cluster: NDArray[np.int64]) -> Spread:
    """`ways`: scores of one, or of two, of which the second is taken off."""
    positive = y == 1
    m, n = int(positive.sum()), int((~positive).sum())
    if not m or not n:
        return Spread(np.nan, np.nan)
    shares = [placements(y, scores) for scores in ways]
    areas = [float(share[positive].mean()) for share in shares]
    off = [share - area for share, area in zip(shares, areas, strict=True)]
    apart, value = (off[0], areas[0]) if len(ways) == 1 else (off[0] - off[1], areas[0] - areas[1])
    a, b = (np.bincount(cluster, np.where(rows, apart, 0)) for rows in (positive, ~positive))
    with_a, with_b = (len(np.unique(cluster[rows])) for rows in (positive, ~positive))
    if min(with_a, with_b) < 2:
        return Spread(value, np.nan)
    variance = _unbiased(with_a) * (a @ a) / m**2 + _unbiased(with_b) * (b @ b) / n**2
    variance += 2 * _unbiased(len(a)) * (a @ b) / (m * n)
    return Spread(value, float(variance))


def _unbiased(clusters: int) -> float:
    return clusters / (clusters - 1)
