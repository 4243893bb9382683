"""Scores with the truth of the same images, and which images are of one patient.

In    arrays of one row per image.
Out   Sample; samples of some of its rows.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from cxrscore.core.errors import promise
from cxrscore.statistics.intervals import patients_by_class


@dataclass(frozen=True)
class Sample:
    """y (n, L) 0/1, mask (n, L), where False what is not known; scores (n, L); `cluster` (n,), numbers from 0
    without gaps: patients or, where nobody knows them, images.
    """

    findings: tuple[str, ...]
    y: NDArray[np.int8]
    mask: NDArray[np.bool_]
    scores: NDArray[np.floating]
    cluster: NDArray[np.int64]

    def __post_init__(self) -> None:
        shape = len(self.cluster), len(self.findings)
        promise(self.y.shape == self.mask.shape == self.scores.shape == shape, "rows of other images")

    def __len__(self) -> int:
        return len(self.cluster)

    @property
    def clusters(self) -> int:
        return 1 + int(self.cluster.max(initial=-1))

    def rows(self, keep: NDArray[np.bool_]) -> "Sample":
        """Those images alone; their patients get new numbers."""
        cluster = np.unique(self.cluster[keep], return_inverse=True)[1].astype(np.int64)
        return replace(self, y=self.y[keep], mask=self.mask[keep], scores=self.scores[keep], cluster=cluster)

    def shown(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """(L,) patients with an image that shows the finding, and (L,) with one that does not; who has both
        kinds counts in both.
        """
        yes, no = patients_by_class(self.y, self.mask, self.cluster)
        return yes, no
