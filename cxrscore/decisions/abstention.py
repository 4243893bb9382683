"""Calibrated probabilities and calls -> which calls are kept, and which cells are left undecided.

In    probabilities and truth of images that no map and no model has seen, for Limits; probabilities and
      calls.
Out   bool: whether a call is kept.

Conformal: split conformal prediction within each class. A finding is ruled out below `present_below`, under
which at most 1 - coverage of those who have it lie; its absence is ruled out above `absent_above`. A call is
kept where the other label is ruled out: of those who have the finding, and of those who do not, at most 1 -
coverage are called otherwise and kept, whichever threshold calls. Promised of an image drawn from a patient
like those of the limits.
Disagreement: a call is kept where each model by itself would make it.
Sources: Vovk, Gammerman & Shafer, Algorithmic Learning in a Random World, 2005, chapter 4 (by class);
Angelopoulos & Bates, arXiv:2107.07511, section 1.1 (the finite-sample quantile); Dunn, Wasserman & Ramdas,
arXiv:1809.07441 (CDF pooling: the images of a patient weigh one together). The coverage is exact where each
patient has one image of the class, else as the number of patients grows.
"""

from dataclasses import dataclass
from math import ceil

import numpy as np
from numpy.typing import NDArray

from cxrscore.decisions.thresholds import calls_of
from cxrscore.statistics.sample import Sample

Floats = NDArray[np.float64]
CONFORMAL, DISAGREEMENT = "conformal", "disagreement"
WAYS = (CONFORMAL, DISAGREEMENT)


@dataclass(frozen=True)
class Limits:
    """(L,) each. NaN where too few patients make the coverage certain: that label is never ruled out."""

    present_below: Floats
    absent_above: Floats


def conformal_limits(sample: Sample, *, coverage: float) -> Limits:
    """`sample.scores`: calibrated probabilities."""
    below, above = [], []
    for y, known, probs in zip(sample.y.T, sample.mask.T, sample.scores.T, strict=True):
        present, absent = known & (y == 1), known & (y == 0)
        below.append(-quantile(-probs[present], sample.cluster[present], coverage))
        above.append(quantile(probs[absent], sample.cluster[absent], coverage))
    return Limits(np.array(below), np.array(above))


def quantile(scores: NDArray[np.floating], cluster: NDArray[np.int64], coverage: float) -> float:
    """(n,) nonconformity and whose images they are -> the one at rank ceil((patients + 1) coverage), where a
    patient's images count one together; NaN where that is more than there are.
    """
    _, own, images = np.unique(cluster, return_inverse=True, return_counts=True)
    patients = len(images)
    rank = ceil((patients + 1) * coverage - 1e-9)
    if rank > patients:
        return float("nan")
    order = np.argsort(scores, kind="stable")
    reached = np.cumsum(1 / images[own][order])
    return float(scores[order][int(np.argmax(reached >= rank - 1e-9))])


def kept_by_limits(probs: NDArray[np.floating], calls: Floats, limits: Limits) -> NDArray[np.bool_]:
    """(..., L) probabilities and calls -> whether the other label is ruled out. No call is not kept."""
    found: NDArray[np.bool_] = np.where(calls == 1, probs > limits.absent_above, probs < limits.present_below)
    return found & ~np.isnan(calls)


def kept_by_all(by_fold: NDArray[np.floating], calls: Floats, thresholds: Floats) -> NDArray[np.bool_]:
    """(F, ..., L) calibrated probabilities of each model -> whether each one's call is that of their mean."""
    found: NDArray[np.bool_] = (calls_of(by_fold, thresholds) == calls).all(0)
    return found


def doubt(sample: Sample, probs: NDArray[np.floating], calls: Floats) -> Floats:
    """How little the other label is ruled out: (n, L) conformal p-values of it by the patients of `sample`, 0
    to 1. A call is kept by the limits of a coverage where this is at most 1 less the coverage.
    """
    found = np.full(probs.shape, np.nan)
    for j, (y, known, mine) in enumerate(zip(sample.y.T, sample.mask.T, sample.scores.T, strict=True)):
        absent, present = known & (y == 0), known & (y == 1)
        if absent.any() and present.any():
            of_absence = _p_values(mine[absent], sample.cluster[absent], probs[:, j])
            of_presence = _p_values(-mine[present], sample.cluster[present], -probs[:, j])
            found[:, j] = np.where(calls[:, j] == 1, of_absence, of_presence)
    return np.where(np.isnan(calls), np.nan, found)


def _p_values(scores: NDArray[np.floating], cluster: NDArray[np.int64], new: NDArray[np.floating]) -> Floats:
    """The share of patients, the new one counted, whose image is at least as odd."""
    _, own, images = np.unique(cluster, return_inverse=True, return_counts=True)
    order = np.argsort(scores, kind="stable")
    weight = np.append(0.0, np.cumsum(1 / images[own][order]))
    odder = weight[-1] - weight[np.searchsorted(scores[order], new, side="left")]
    found: Floats = (1 + odder) / (1 + len(images))
    return found
