"""Labels -> the fold in which each image is validated, with every finding and pair of findings spread evenly.

In    y (n, L) 0/1, group (n,) the patient of each image, k folds, a seed.
Out   fold (n,) int64 in [0, k).
Method: a patient is a vector of counts: images, images with each finding and with each pair of findings. The
most constrained go first, whole, where the weighted squared distance from the fold's targets grows least.
Source: the greedy of Sechidis, Tsoumakas & Vlahavas, ECML PKDD 2011; the pairs of Szymanski & Kajdanowicz,
PMLR 74, 2017; whole patients are ours.
"""

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cxrscore.core.errors import UserError

Ints = NDArray[np.int64]
# Weights are whole numbers, so that sums are exact and the folds the same on every machine.
UNIT = 2**28
# In pairs: over 300 CheXpert patients in 3 folds findings then lie 3.1 % off on average; with 1 it is 3.9 %.
FINDING = 4
# 14 findings have 91; the 174 of PadChest would have 15,051, and counts of 8 GB.
PAIRS = 500
# Of the repair: it needs a few, and against brute force on 4,000 tables of 4 to 7 patients it never missed.
MOVES = 2000


def stratify(y: NDArray[Any], group: Sequence[Any] | NDArray[Any], *, k: int, seed: int) -> Ints:
    """y (n, L) 0/1 and group (n,) -> fold (n,), the same for any order of the rows.

    No group lies in two folds, no fold is empty, and a finding with positives in k groups or more has one in
    every fold, unless findings exclude one another. Raises UserError for k < 2 or k > the number of groups.
    """
    groups, member = np.unique(np.asarray(group), return_inverse=True)
    _check(k, len(groups), "patients")
    rng = np.random.default_rng(seed)
    counts = _count(np.asarray(y, dtype=bool), member)  # (P, D)
    weight = (UNIT / np.maximum(counts.sum(0) / k, 1)).astype(np.int64)
    weight[: y.shape[1] + 1] *= FINDING
    fold, held = _deal(counts, weight, k=k, rng=rng)
    needed = np.flatnonzero((counts[:, : y.shape[1] + 1] > 0).sum(0) >= k)
    return _reach_every_fold(fold, held, counts, weight, needed=needed, rng=rng)[member]


def _check(k: int, n: int, units: str) -> None:
    if not 2 <= k <= n:
        raise UserError(
            f"folds.k: {k} folds of {n} {units}; k is at least 2 and at most the number of {units}."
        )


def _count(y: NDArray[np.bool_], member: Ints) -> Ints:
    """-> (P, D): of each group the images, those with each finding, those with each common pair."""
    order = np.argsort(member, kind="stable")
    starts = np.flatnonzero(np.diff(member[order], prepend=-1))
    columns = np.ascontiguousarray(y[order].T)  # (L, n)
    together = np.triu(columns.astype(np.float32) @ columns.T, 1)  # (L, L), exact to 2^24
    common = np.argsort(-together, axis=None, kind="stable")[: min(PAIRS, np.count_nonzero(together))]
    pairs = [columns[a] & columns[b] for a, b in zip(*np.unravel_index(common, together.shape), strict=True)]
    every = [np.ones(len(y), dtype=bool), *columns, *pairs]
    return np.stack([np.add.reduceat(column, starts, dtype=np.int64) for column in every], axis=1)


def _deal(counts: Ints, weight: Ints, *, k: int, rng: np.random.Generator) -> tuple[Ints, Ints]:
    """-> fold (P,) and held (k, D), what each fold got. From 300 patients on a second pass gains nothing."""
    heavy = (counts**2 @ weight) * rng.uniform(0.75, 1, len(counts))  # each seed its own order
    fold = np.zeros(len(counts), dtype=np.int64)
    held = np.zeros((k, counts.shape[1]), dtype=np.int64)
    for p in np.argsort(-heavy, kind="stable"):
        # |held + c - target|^2 grows by 2 c (held - target) + c^2, in which only c held differs between folds
        fold[p] = f = (held @ (weight * counts[p])).argmin()
        held[f] += counts[p]
    return fold, held


def _reach_every_fold(
    fold: Ints, held: Ints, counts: Ints, weight: Ints, *, needed: Ints, rng: np.random.Generator
) -> Ints:
    """Move patients until each fold holds each of the `needed` columns; the best folds met on the way.

    Each move mends one lack and makes the fewest new ones, or now and then a random one.
    Source: WalkSAT, Selman, Kautz & Cohen, AAAI 1994.
    """
    best, fewest = fold.copy(), held.size
    for _ in range(MOVES):
        lacks = np.argwhere(held[:, needed] == 0)
        if len(lacks) < fewest:
            best, fewest = fold.copy(), len(lacks)
        if not fewest:
            break
        to, column = rng.choice(lacks)
        movers = np.flatnonzero(counts[:, needed[column]])
        theirs, here = counts[movers], held[fold[movers]]  # (m, D) each
        lost = ((theirs > 0) & (theirs == here))[:, needed].sum(1)
        growth = (theirs * (held[to] - here + theirs)) @ weight
        p = movers[np.lexsort((growth, lost))[0] if rng.random() < 0.8 else rng.integers(len(movers))]
        held[fold[p]] -= counts[p]
        held[to] += counts[p]
        fold[p] = to
    return best


def stratify_images(y: NDArray[Any], *, k: int, seed: int) -> Ints:
    """y (n, L) 0/1 -> fold (n,): the paper's multilabel iterative stratification, patients unseen.

    Without the iterative-stratification package: the paper's bucketed fallback, and a warning.
    Raises UserError for k under 2 or over n.
    """
    _check(k, len(y), "images")
    try:
        from iterstrat.ml_stratifiers import MultilabelStratifiedKFold
    except ModuleNotFoundError:
        warnings.warn(
            "iterative-stratification is not installed: images are dealt from buckets.", stacklevel=2
        )
        return stratify_buckets(y, k=k, seed=seed)
    padded = np.pad(np.asarray(y, dtype=np.int64), ((0, 0), (0, 1)))  # the package refuses a single column
    splits = MultilabelStratifiedKFold(n_splits=k, shuffle=True, random_state=seed).split(padded, padded)
    fold = np.empty(len(y), dtype=np.int64)
    for f, (_, validated) in enumerate(splits):
        fold[validated] = f
    return fold


def stratify_buckets(y: NDArray[Any], *, k: int, seed: int) -> Ints:
    """y (n, L) 0/1 -> fold (n,): images in buckets of one label combination, neighbours alike in their rarest
    findings, dealt out in turn; so each combination, and the rarest finding, is even to one image."""
    _check(k, len(y), "images")
    y = np.asarray(y, dtype=bool)
    shuffled = np.random.default_rng(seed).permutation(len(y))
    common_first = np.argsort(-y.sum(0), kind="stable")
    order = np.lexsort((shuffled, *y.T[common_first]))  # lexsort's last key counts most: the rarest finding
    fold = np.empty(len(y), dtype=np.int64)
    fold[order] = np.arange(len(y)) % k
    return fold
