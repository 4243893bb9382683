"""Two ways of scoring the same images, fold by fold -> the difference of their mean macro-AUCs, as `ablate`
compares heads.

In    two Samples, their rows in one order; the rows of each fold and the truth that counts there.
Out   Difference with an interval over patients. No image is ranked among those of another fold, whose scores
      need not be on one scale.
"""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from cxrscore.statistics.bootstrap import Truth, freedoms, resampled_areas, together
from cxrscore.statistics.estimates import RESAMPLES, SEED, Difference, Estimate
from cxrscore.statistics.intervals import interval, pooled_freedom
from cxrscore.statistics.roc_area import auc_by_finding, macro
from cxrscore.statistics.sample import Sample


def fold_means(
    a: Sample,
    b: Sample,
    folds: Sequence[NDArray[np.int64]],
    truth: Sequence[Truth],
    *,
    after: Callable[[int], None],
) -> Difference:
    """`folds`: the rows of each; `truth` says which of their labels count."""
    ways = {name: [[side.scores[rows] for rows in folds]] for name, side in (("a", a), ("b", b))}
    generator = np.random.default_rng(SEED)
    drawn = resampled_areas(truth, ways, generator=generator, resamples=RESAMPLES, after=after)
    one, other = (mean_of_folds(side, folds, truth) for side in (a, b))
    whole = together(truth)
    apart = drawn["b"].findings - drawn["a"].findings
    freedom = pooled_freedom(freedoms(whole.y, whole.mask, whole.patient), apart)
    ends = interval(other - one, drawn["b"].macro - drawn["a"].macro, freedom=freedom)
    return Difference(one, other, Estimate(other - one, *ends, degrees=freedom.degrees))


def mean_of_folds(side: Sample, folds: Sequence[NDArray[np.int64]], truth: Sequence[Truth]) -> float:
    areas = [
        macro(auc_by_finding(one.y, one.mask, side.scores[rows]))
        for rows, one in zip(folds, truth, strict=True)
    ]
    return float(np.nanmean(areas)) if not np.isnan(areas).all() else float("nan")


def defined(truth: Truth) -> NDArray[np.bool_]:
    """(L,) whether an image of either class is there."""
    zero, one = ((truth.mask & (truth.y == value)).any(0) for value in (0, 1))
    found: NDArray[np.bool_] = zero & one
    return found
