"""Two numbers of each image -> the ratio of their sums, such as a mean over the images that have a label.

In    numerator and denominator (n,).
Out   Ratio, a figure that can be resampled.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cxrscore.statistics.roc_area import Floats, quotient


@dataclass(frozen=True)
class Ratio:
    """NaN where the denominators' sum is 0. An image that does not count has 0 in both."""

    numerator: Floats
    denominator: Floats

    def values(self, weights: Floats) -> Floats:
        """(n, R) -> (R,)."""
        return quotient(self.numerator @ weights, self.denominator @ weights)


def mean_of(values: np.ndarray, counted: NDArray[np.bool_]) -> Ratio:
    """The mean of (n,) values over the images where `counted` (n,) holds."""
    return Ratio(np.where(counted, values, 0.0).astype(float), counted.astype(float))


def prevalence(y: np.ndarray, mask: np.ndarray, scores: np.ndarray) -> Ratio:
    """(n,) each -> the share of the images with a label that show the finding."""
    return mean_of(y == 1, mask)
