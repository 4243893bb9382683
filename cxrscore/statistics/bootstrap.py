"""Two ways of scoring the same images -> how far apart their macro-AUCs are, with an interval over patients.

In    of each fold the truth, y and mask (n, L), and whose images they are; each way's scores, by seed, fold.
Out   macro-AUC in many resamples of the patients, the same resamples for every way; intervals.py makes an
      interval of them. It covers which patients were sampled, not the randomness of training.
Source: Efron & Tibshirani, An Introduction to the Bootstrap, 1993, 8.3 (whole clusters are drawn, since one
patient's images are no independent draws).
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from cxrscore.core.errors import promise
from cxrscore.core.resources import usable_cores
from cxrscore.statistics.intervals import FEWEST, Freedom, effective_patients, freedom_of, patients_by_class
from cxrscore.statistics.roc_area import Floats, Ranked, quotient, ranked

FEWEST_IN_FOLD = 5  # patients of either class; of one alone, intervals held the truth 85 times of 100
CELLS = 1_000_000  # of a matrix of weights, 8 MB: a few of them are all the memory this takes

Key = TypeVar("Key")


class Prepared(Protocol):
    """A figure of scores and truth, made ready once, so that many resamples cost little."""

    def values(self, weights: Floats) -> Floats:
        """(n, R) how often each image counts in R resamples -> (R,), NaN where the figure is undefined; or
        (..., R) of what several figures are made of.
        """
        ...


@dataclass(frozen=True)
class Truth:
    """A fold's images: y (n, L) 0/1, mask (n, L), and `patient` (n,), numbers from 0, without gaps over all
    folds.
    """

    y: np.ndarray
    mask: np.ndarray
    patient: np.ndarray


def well_shown(fold: Truth) -> NDArray[np.bool_]:
    """(L,) whether at least FEWEST_IN_FOLD patients have the finding, and as many have it not, masked labels
    apart.

    An area that rests on fewer is missing from many resamples (from 37 % where one patient has the finding),
    and in the others it varies too little: with it, an interval is of another mean than its estimate.
    """
    return rarer_patients(fold.y, fold.mask, fold.patient) >= FEWEST_IN_FOLD


def rarer_patients(y: np.ndarray, mask: np.ndarray, patient: np.ndarray) -> NDArray[np.int64]:
    """(n, L), (n, L), (n,) -> (L,) patients of each finding's rarer class, masked labels apart."""
    fewest: NDArray[np.int64] = patients_by_class(y, mask, patient).min(axis=0)
    return fewest


def shown_by_fold(folds: Sequence[Truth]) -> list[NDArray[np.bool_]]:
    """(L,) for each fold: the findings that a mean over folds with an interval may have in it there. They are
    well shown there, and FEWEST patients of either class are in such folds. Of a truth that is masked by them
    they are the same.
    """
    enough = [well_shown(fold) for fold in folds]
    parts = zip(folds, enough, strict=True)
    whole = together([Truth(fold.y, fold.mask & there, fold.patient) for fold, there in parts])
    often = rarer_patients(whole.y, whole.mask, whole.patient) >= FEWEST
    return [there & often for there in enough]


def freedoms(y: np.ndarray, mask: np.ndarray, patient: np.ndarray) -> list[Freedom]:
    """(n, L), (n, L), (n,) -> of each finding, from the patients of its two classes."""
    return [
        freedom_of(*(effective_patients(rows & (truth == value), patient) for value in (0, 1)))
        for truth, rows in zip(y.T, mask.T, strict=True)
    ]


def together(folds: Sequence[Truth]) -> Truth:
    """All folds as one."""
    arrays = ([getattr(fold, name) for fold in folds] for name in ("y", "mask", "patient"))
    return Truth(*map(np.concatenate, arrays))


@dataclass(frozen=True)
class Resampled:
    """In R resamples: the macro-AUC (R,), in a fold the mean over the findings defined there, then over folds
    and seeds; and each finding's area (L, R), the mean over the folds and seeds that define it. NaN where a
    resample defines nothing.
    """

    macro: Floats
    findings: Floats


def resampled_areas(
    folds: Sequence[Truth],
    ways: Mapping[str, Sequence[Sequence[np.ndarray]]],
    *,
    generator: np.random.Generator,
    resamples: int = 2000,
    after: Callable[[int], None] = lambda drawn: None,
) -> dict[str, Resampled]:
    """Of each way. `ways`: name -> seed -> fold -> scores (n, L) of that fold's images.

    Patients are drawn with replacement from those of all folds, so one whose images lie in several folds
    carries the same weight into each. `after` is called with each chunk's number of resamples, when they are
    done.
    """
    patients = 1 + max(int(fold.patient.max()) for fold in folds)
    findings = {
        name: [[_ranked(*fold) for fold in zip(folds, scores, strict=True)] for scores in seeds]
        for name, seeds in ways.items()
    }
    parts: dict[str, list[Resampled]] = {name: [] for name in ways}
    for times in draws(patients, resamples, generator, rows=max(len(fold.patient) for fold in folds)):
        weights = [_of_images(times, fold.patient) for fold in folds]
        for name, seeds in findings.items():
            areas = np.stack(
                [_areas(fold, mine) for one in seeds for fold, mine in zip(one, weights, strict=True)]
            )  # (seeds and folds, L, R)
            macro = _mean(np.stack([_mean(one) for one in areas]))
            parts[name].append(Resampled(macro, _mean(areas)))
        after(times.shape[1])
    return {
        name: Resampled(
            np.concatenate([part.macro for part in found]),
            np.concatenate([part.findings for part in found], axis=1),
        )
        for name, found in parts.items()
    }


def replicates(
    prepared: Mapping[Key, Prepared],
    cluster: NDArray[np.int64],
    *,
    resamples: int,
    generator: np.random.Generator,
    after: Callable[[int], None] = lambda drawn: None,
) -> dict[Key, Floats]:
    """Figures prepared from the same n images -> each one's values (..., R) in R resamples of whole clusters,
    the same resamples for all. `cluster` (n,): numbers from 0 without gaps, of patients or, where those are
    unknown, of images. Figures are shared out over threads, and each makes its numbers alone, so the number
    of threads changes none.
    """
    parts: dict[Key, list[Floats]] = {key: [] for key in prepared}
    with ThreadPoolExecutor(max_workers=usable_cores()) as pool:
        for times in draws(1 + int(cluster.max()), resamples, generator, rows=len(cluster)):
            weights = _of_images(times, cluster)
            found = pool.map(lambda figure, mine=weights: figure.values(mine), prepared.values())
            for key, values in zip(prepared, found, strict=True):
                parts[key].append(values)
            after(times.shape[1])
    return {key: np.concatenate(found, axis=-1) for key, found in parts.items()}


def draws(clusters: int, resamples: int, generator: np.random.Generator, *, rows: int) -> Iterator[Floats]:
    """(clusters, R) how often each was drawn, R resamples at a time. One after another, so that R, which
    bounds the memory, changes nothing.
    """
    chunk = max(1, CELLS // max(clusters, rows))
    for start in range(0, resamples, chunk):
        drawn = [
            np.bincount(generator.integers(clusters, size=clusters), minlength=clusters)
            for _ in range(min(chunk, resamples - start))
        ]
        yield np.stack(drawn).astype(float).T


def _of_images(times: Floats, patient: np.ndarray) -> Floats:
    """(patients, R), (n,) -> (n, R). A resample's numbers lie side by side in memory: 107,000 of them stay
    in a core's cache.
    """
    return times.T.take(patient, axis=1).T


def _ranked(truth: Truth, scores: np.ndarray) -> list[Ranked]:
    """Of each finding. Masked images are in neither class."""
    promise(scores.shape == truth.y.shape, "scores of other images")
    return [ranked(*column) for column in zip(truth.y.T, truth.mask.T, scores.T, strict=True)]


def _areas(findings: Sequence[Ranked], weights: Floats) -> Floats:
    """-> (L, R)."""
    return np.stack([finding.values(weights) for finding in findings])


def _mean(values: Floats) -> Floats:
    """(K, ...) -> (...) means of what is defined; NaN where nothing is."""
    return quotient(np.nansum(values, axis=0), (~np.isnan(values)).sum(0).astype(float))
