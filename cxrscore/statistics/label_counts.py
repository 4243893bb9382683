"""Truth -> how many labels an image has, and how many images a label has.

In    y (n, L) 0/1 and mask (n, L).
Out   mean, median and maximum of either. Unknown labels are none; an image without a label counts as 0.
Source: Lanchantin et al., "Neural message passing for multi-label classification", table 6.
"""

from typing import NamedTuple

import numpy as np


class Spread(NamedTuple):
    mean: float
    median: float
    maximum: int


def labels_per_image(y: np.ndarray, mask: np.ndarray) -> Spread:
    return _spread((mask & (y == 1)).sum(1))


def images_per_label(y: np.ndarray, mask: np.ndarray) -> Spread:
    return _spread((mask & (y == 1)).sum(0))


def _spread(counts: np.ndarray) -> Spread:
    return Spread(float(counts.mean()), float(np.median(counts)), int(counts.max()))
