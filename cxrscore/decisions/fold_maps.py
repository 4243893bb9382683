"""Out-of-fold scores of several models -> a calibration map for each model and finding.

In    Sample of each fold: the scores of the one model that was not trained on its images.
Out   FoldMaps; the same scores calibrated by maps that have not seen their patients, for all that is chosen
      and measured out of fold.

A map is fitted to its own fold's scores. Of a finding that fewer than FEWEST patients of a fold show, or do
not, one map is fitted to all folds, as the models are of one training. Where all folds together have fewer
than FEWEST_POOLED, scores stay as they are.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cxrscore.core.errors import promise
from cxrscore.decisions.calibration import BETA, IDENTITY, CalibrationMap, fit
from cxrscore.statistics.roc_area import auc_by_finding
from cxrscore.statistics.sample import Sample

Floats = NDArray[np.float64]
FEWEST = 40  # patients of either class in a fold; docs/decisions.md
FEWEST_POOLED = 10  # in all folds together
PARTS = 5  # of a fold's patients; each part is calibrated by maps of the others
KIND = BETA  # docs/decisions.md
OWN, POOLED, NONE = "fold", "all folds", "too few"


@dataclass(frozen=True)
class FoldMaps:
    """`maps[k][j]`: of model k and finding j. `source[j]`: what those of finding j were fitted to, OWN,
    POOLED or NONE. `shown[k][j]`: patients of fold k with an image that shows finding j.
    """

    maps: tuple[tuple[CalibrationMap, ...], ...]
    source: tuple[str, ...]
    shown: tuple[tuple[int, ...], ...]

    def calibrated(self, by_fold: NDArray[np.floating]) -> Floats:
        """(F, ..., L) scores, fold by fold -> the same of probabilities, in float64."""
        return np.stack([calibrated(maps, scores) for maps, scores in zip(self.maps, by_fold, strict=True)])


def calibrated(maps: Sequence[CalibrationMap], scores: NDArray[np.floating]) -> Floats:
    """(..., L) scores of one model -> probabilities."""
    return np.stack([own(scores[..., j]) for j, own in enumerate(maps)], axis=-1)


def fit_fold_maps(folds: Sequence[Sample], *, kind: str = KIND) -> FoldMaps:
    """Each model's area under the ROC curve is, within 1e-9, what it was."""
    shown = [sample.shown() for sample in folds]
    sources = tuple(_source(shown, j) for j in range(len(folds[0].findings)))
    by_finding = [_maps_of(folds, j, source, kind) for j, source in enumerate(sources)]
    for k, sample in enumerate(folds):
        after = calibrated([maps[k] for maps in by_finding], sample.scores)
        before = auc_by_finding(sample.y, sample.mask, sample.scores)
        moved = np.abs(auc_by_finding(sample.y, sample.mask, after) - before)
        promise(not (moved > 1e-9).any(), "calibration moved the area under a ROC curve")
    return FoldMaps(
        maps=tuple(zip(*by_finding, strict=True)),
        source=sources,
        shown=tuple(tuple(int(count) for count in present) for present, _ in shown),
    )


def cross_calibrated(folds: Sequence[Sample], *, kind: str = KIND) -> list[Floats]:
    """-> (n, L) of each fold: probabilities by maps that were fitted without the image's part of its fold's
    patients. Where a map is of all folds, the other folds are in it.
    """
    parts = [parts_of(sample) for sample in folds]
    sources = fit_sources(folds)
    found = [np.empty(sample.scores.shape) for sample in folds]
    for k, (sample, part) in enumerate(zip(folds, parts, strict=True)):
        for own in range(PARTS):
            held_out = part == own
            if held_out.any():
                kept = [*folds[:k], sample.rows(~held_out), *folds[k + 1 :]]
                maps = [_maps_of(kept, j, source, kind)[k] for j, source in enumerate(sources)]
                found[k][held_out] = calibrated(maps, sample.scores[held_out])
    return found


def fit_sources(folds: Sequence[Sample]) -> tuple[str, ...]:
    """(L,) what the maps of each finding are fitted to."""
    shown = [sample.shown() for sample in folds]
    return tuple(_source(shown, j) for j in range(len(folds[0].findings)))


def _source(shown: Sequence[tuple[NDArray[np.int64], NDArray[np.int64]]], j: int) -> str:
    fewest = [min(int(present[j]), int(absent[j])) for present, absent in shown]
    both = [sum(int(fold[of][j]) for fold in shown) for of in (0, 1)]
    return OWN if min(fewest) >= FEWEST else POOLED if min(both) >= FEWEST_POOLED else NONE


def _maps_of(folds: Sequence[Sample], j: int, source: str, kind: str) -> list[CalibrationMap]:
    """One finding's map of each fold."""
    if source == NONE:
        return [IDENTITY] * len(folds)
    known = [sample.mask[:, j] for sample in folds]
    scores = [sample.scores[rows, j] for sample, rows in zip(folds, known, strict=True)]
    y = [sample.y[rows, j] for sample, rows in zip(folds, known, strict=True)]
    if source == POOLED:
        return [fit(np.concatenate(scores), np.concatenate(y), kind=kind)] * len(folds)
    return [fit(*one, kind=kind) for one in zip(scores, y, strict=True)]


def parts_of(sample: Sample) -> NDArray[np.int64]:
    """(n,) a number below PARTS for each image, one for all of a patient; as even as patients allow."""
    order = np.random.default_rng(0).permutation(sample.clusters)
    found: NDArray[np.int64] = (order % PARTS)[sample.cluster]
    return found
