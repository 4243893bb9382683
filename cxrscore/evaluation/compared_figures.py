"""Scores of the same images by two sides, A and B -> how far B's areas under the ROC curve are from A's, with
intervals over patients, and what may be said of it.

In    two Sides, their rows in one order (paired_scores.py).
Out   Row of each figure that both have; notes on what the rows rest on, and on what they do not say.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from cxrscore.evaluation.joined_scores import Scored
from cxrscore.evaluation.verdict_sentences import sentence
from cxrscore.statistics.bootstrap import Truth, freedoms, resampled_areas, shown_by_fold, together
from cxrscore.statistics.estimates import MACRO, RESAMPLES, SEED, SHOWN, Difference, Estimate, differences
from cxrscore.statistics.intervals import interval, pooled_freedom
from cxrscore.statistics.roc_area import auc_by_finding, macro
from cxrscore.statistics.sample import Sample
from cxrscore.statistics.verdicts import POWER, Seen, Verdict, verdicts

KINDS = {  # of scores beside the plain ones -> what a row calls them
    "views": "all views",
    "study": "study means",
    "test": "held-out test",
}
HELD_OUT = "test"  # of patients of whom no model has seen an image
WITHOUT = ", rare findings left out"  # those of which no interval is shown
After = Callable[[int], None]


@dataclass(frozen=True)
class Row:
    """`key`: where the figure stands in metrics.json, such as auc, Edema. `what`: the same in words."""

    key: tuple[str, ...]
    what: str
    found: Difference
    verdict: Verdict
    sentence: str


@dataclass(frozen=True)
class Compared:
    rows: Sequence[Row]
    notes: Sequence[str]


def bootstraps(kinds: Mapping[str, tuple[Scored, Scored]], *, by_fold: bool) -> int:
    """Resamples in all, for a bar of progress."""
    return RESAMPLES * (1 + len(kinds) + by_fold)


def compared(
    a: Scored,
    b: Scored,
    *,
    kinds: Mapping[str, tuple[Scored, Scored]],
    fold: NDArray[np.int64] | None,
    seen: Seen = "",
    after: After,
) -> Compared:
    """`kinds`: other scores of both, by the names of KINDS. `fold` (n,): of each image, where both sides have
    the same folds. `seen`: the one side whose folds divide patients, so that its models have seen other
    images of the patients whom they score out of fold.
    """
    unit = "images" if a.table.patient is None else "patients"
    sample = a.sample()
    by_kind = {"": differences(sample, b.sample(), ["auc"], after=after)}
    by_kind |= {
        kind: differences(one.sample(), other.sample(), ["auc"], after=after)
        for kind, (one, other) in kinds.items()
    }
    counts = {"": sample.clusters} | {kind: one.sample().clusters for kind, (one, _) in kinds.items()}
    defined = {kind: {of: one for (_, of), one in found.items()} for kind, found in by_kind.items()}
    rare = [name for name in a.findings if name in defined[""] and _without_interval(defined[""][name])]
    out_of_fold = partial(_means, unit=unit, seen=seen)
    rows = out_of_fold(defined[""], (), "", rare, counts[""])
    rows += _findings(a.findings, defined[""], counts[""], unit, seen=seen)
    for kind, found in defined.items():
        if kind:
            too_few = [name for name in a.findings if name in found and _without_interval(found[name])]
            means = partial(_means, unit=unit) if kind == HELD_OUT else out_of_fold
            rows += means(found, (kind,), KINDS[kind], too_few, counts[kind])
    if fold is not None:
        rows += _fold_rows(sample, b.sample(), fold, unit, after=after)
    rests_on = f"{sample.clusters:,} {unit}" + (f" ({len(sample):,} images)" if unit == "patients" else "")
    return Compared(rows, [*_notes(rows, rests_on, unit), *_left_out(rare, unit)])


def _means(
    found: Mapping[str, Difference],
    key: tuple[str, ...],
    kind: str,
    rare: Sequence[str],
    patients: int,
    *,
    unit: str,
    seen: Seen = "",
) -> list[Row]:
    """macro_auc and, where some finding is too rare for an interval, the mean over the others."""
    what = f"macro-AUC, {kind}" if kind else "macro-AUC"
    why = f"too few {unit} show {', '.join(rare)}, or do not"
    rows = []
    if MACRO in found and not np.isnan(found[MACRO].difference.value):
        rows.append(_row((*key, "macro_auc"), what, found[MACRO], patients, unit, why=why, seen=seen))
    if SHOWN in found:
        what += WITHOUT
        rows.append(_row((*key, "macro_auc_shown"), what, found[SHOWN], patients, unit, seen=seen))
    return rows


def _findings(
    findings: Sequence[str], found: Mapping[str, Difference], patients: int, unit: str, *, seen: Seen
) -> list[Row]:
    """One family: with more findings, more intervals leave out 0 by chance."""
    names = [name for name in findings if name in found and not np.isnan(found[name].difference.value)]
    family = [found[name].difference for name in names]
    size = sum(not _without_interval(found[name]) for name in names)
    rows = []
    for name, told in zip(names, verdicts(family, patients=patients), strict=True):
        one, verdict = found[name], told.unless(seen)
        words = sentence(name, one.difference, verdict, unit=unit, family=size, why=one.difference.why)
        rows.append(Row(("auc", name), name, one, verdict, words))
    return rows


def _row(
    key: tuple[str, ...],
    what: str,
    found: Difference,
    patients: int,
    unit: str,
    *,
    why: str = "",
    seen: Seen = "",
) -> Row:
    (told,) = verdicts([found.difference], patients=patients)
    verdict = told.unless(seen)
    return Row(key, what, found, verdict, sentence(what, found.difference, verdict, unit=unit, why=why))


def _fold_rows(a: Sample, b: Sample, fold: NDArray[np.int64], unit: str, *, after: After) -> list[Row]:
    """The mean over folds of each fold's mean over findings, as `ablate` compares heads. Folds are scored by
    different models, whose scores need not be on one scale; here no image is ranked among those of another
    fold.
    """
    folds = [np.flatnonzero(fold == one) for one in np.unique(fold)]
    truth = [Truth(a.y[rows], a.mask[rows], a.cluster[rows]) for rows in folds]
    enough = shown_by_fold(truth)
    key, what = ("folds", "mean", "macro_auc"), "macro-AUC, mean of folds"
    if all(shown[there].all() for shown, there in zip(enough, map(_defined, truth), strict=True)):
        return [_row(key, what, fold_means(a, b, folds, truth, after=after), a.clusters, unit)]
    one, other = (_mean_of_folds(side, folds, truth) for side in (a, b))
    why = f"in a fold or in all, too few {unit} show some finding, or do not"
    all_of_them = Difference(one, other, Estimate(other - one))
    rows = [_row(key, what, all_of_them, a.clusters, unit, why=why)]
    if all(shown.any() for shown in enough):
        masked = [Truth(t.y, t.mask & shown, t.patient) for t, shown in zip(truth, enough, strict=True)]
        found = fold_means(a, b, folds, masked, after=after)
        rows.append(_row((*key[:2], "macro_auc_shown"), f"{what}{WITHOUT}", found, a.clusters, unit))
    return rows


def fold_means(
    a: Sample, b: Sample, folds: Sequence[NDArray[np.int64]], truth: Sequence[Truth], *, after: After
) -> Difference:
    """`folds`: the rows of each; `truth` says which of their labels count."""
    ways = {name: [[side.scores[rows] for rows in folds]] for name, side in (("a", a), ("b", b))}
    generator = np.random.default_rng(SEED)
    drawn = resampled_areas(truth, ways, generator=generator, resamples=RESAMPLES, after=after)
    one, other = (_mean_of_folds(side, folds, truth) for side in (a, b))
    whole = together(truth)
    apart = drawn["b"].findings - drawn["a"].findings
    freedom = pooled_freedom(freedoms(whole.y, whole.mask, whole.patient), apart)
    ends = interval(other - one, drawn["b"].macro - drawn["a"].macro, freedom=freedom)
    return Difference(one, other, Estimate(other - one, *ends, degrees=freedom.degrees))


def _mean_of_folds(side: Sample, folds: Sequence[NDArray[np.int64]], truth: Sequence[Truth]) -> float:
    areas = [
        macro(auc_by_finding(one.y, one.mask, side.scores[rows]))
        for rows, one in zip(folds, truth, strict=True)
    ]
    return float(np.nanmean(areas)) if not np.isnan(areas).all() else float("nan")


def _defined(truth: Truth) -> NDArray[np.bool_]:
    """(L,) whether an image of either class is there."""
    zero, one = ((truth.mask & (truth.y == value)).any(0) for value in (0, 1))
    found: NDArray[np.bool_] = zero & one
    return found


def _without_interval(found: Difference) -> bool:
    return bool(np.isnan(found.difference.low)) and not np.isnan(found.difference.value)


def _left_out(rare: Sequence[str], unit: str) -> list[str]:
    names = ", ".join(rare)
    return [f"rare findings, of which too few {unit} show one, or do not, for an interval: {names}"] * bool(
        rare
    )


def _notes(rows: Sequence[Row], rests_on: str, unit: str) -> list[str]:
    family = [row for row in rows if row.key[0] == "auc" and not _without_interval(row.found)]
    leave_out = sum(row.found.difference.low > 0 or row.found.difference.high < 0 for row in family)
    notes = [
        f"difference: B less A, with a 95 % interval (low, high) from {RESAMPLES:,} resamples of {rests_on}, "
        "the same for both",
        f"the intervals cover which {unit} were sampled, not the randomness of training: another seed moves "
        "the figures, too; they hold for this data alone",
    ]
    if len(family) > 1:
        notes.append(
            f"{leave_out} of the {len(family)} intervals by finding leave out 0; where nothing differs, "
            f"{0.05 * len(family):.2g} of {len(family)} do so by chance on average. The verdicts by finding "
            "are therefore adjusted for their number (Holm 1979): where nothing differs, the chance that any "
            "says better or worse stays near 5 %"
        )
    if sum(row.key[0] != "auc" for row in rows) > 1:
        notes.append("the rows of means overlap and are not adjusted: choose one before you look at them")
    if any(row.verdict.more for row in rows):
        notes.append(
            f"{unit} needed: for a chance of {POWER:.0%} to tell a difference of the size that was found, "
            "which itself is uncertain; the models stay as they are"
        )
    if unit == "images":
        notes.append(
            "no patients are known, and each image counts as one: where patients have several images, "
            "intervals are too narrow"
        )
    return notes
