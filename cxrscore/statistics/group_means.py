"""Scores of images -> scores of groups of them, such as the images of a study.

In    scores (n, L) and each row's group.
Out   (n, L): each row the mean of its group.
"""

from collections.abc import Sequence

import numpy as np


def group_means(scores: np.ndarray, groups: Sequence[str]) -> np.ndarray:
    """(n, L) scores -> (n, L) float64: each row the mean over the rows of its group. Rounded, as 0.1 + 0.2 +
    0.3 and 0.3 + 0.2 + 0.1 differ in the 16th digit, and groups of such scores are a tie.
    """
    _, group = np.unique(groups, return_inverse=True)
    sums = np.zeros((group.max(initial=-1) + 1, scores.shape[1]))
    np.add.at(sums, group, scores)
    return (sums / np.bincount(group)[:, None]).round(14)[group]
