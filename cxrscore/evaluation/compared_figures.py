"""Scores of the same images by two sides, A and B -> how far B's figures are from A's, with intervals over
patients, and what may be said of it.

In    two Sides, their rows in one order (paired_scores.py).
Out   Row of each figure of metrics.json that both have; a summary of what to read; notes on what the rows
      rest on, and on what they do not say.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cxrscore.evaluation.fold_means import defined, fold_means, mean_of_folds
from cxrscore.evaluation.joined_scores import Scored
from cxrscore.evaluation.statistics_table import HEADLINES
from cxrscore.evaluation.verdict_sentences import sentence
from cxrscore.statistics.bootstrap import Truth, shown_by_fold
from cxrscore.statistics.estimates import (
    MACRO,
    RESAMPLES,
    SHOWN,
    Difference,
    Estimate,
    Key,
    differences,
)
from cxrscore.statistics.interval_rules import TABLE
from cxrscore.statistics.intervals import FEWEST
from cxrscore.statistics.measures import MEASURES
from cxrscore.statistics.sample import Sample
from cxrscore.statistics.verdicts import POWER, Better, Seen, Verdict, verdicts

KINDS = {  # of scores beside the plain ones -> what a row calls them
    "views": "all views",
    "study": "study means",
    "test": "held-out test",
}
HELD_OUT = "test"  # of patients of whom no model has seen an image
FIRST = "out of fold, one view"  # what the plain scores are called beside these
WITH_HEADLINES = ("", HELD_OUT)  # of which metrics files have the figures that follow
TITLES = {
    "macro_auc": "macro-AUC",
    "map": "mean average precision",
    "ap_all": "AP_all",
    "brier": "Brier score (lower is better)",
    "calibration_error": "calibration error (lower is better)",
}
MEASURED = {"macro_auc": "auc", "ap_all": "ap_all"} | HEADLINES  # key of metrics.json -> measure
NO_INTERVAL = {"calibration_error": "noise in its bins counts as error, and in resamples there is more of it"}
WITHOUT = ", rare findings left out"  # those of which no interval is shown
SAME = "A and B hold the same scores, so each figure of A is that of B."
MANY = 3  # findings that a sentence names
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
    """`same`: all scores of the one are those of the other. `summary`: what to know before reading rows."""

    rows: Sequence[Row]
    notes: Sequence[str]
    summary: Sequence[str]
    same: bool


@dataclass(frozen=True)
class Kind:
    """Scores of one kind, and both sides' figures of them. `name`: of KINDS, or "" for the plain ones.
    `rare`: of `areas` findings that have one, those without an interval. `seen`: as of compared.
    """

    name: str
    found: Mapping[Key, Difference]
    rare: Sequence[str]
    areas: int
    patients: int
    unit: str
    seen: Seen


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
    first, *others = (
        _kind(name, *pair, unit, "" if name == HELD_OUT else seen, after=after)
        for name, pair in ({"": (a, b)} | dict(kinds)).items()
    )
    rows = [*_means(first), *_findings(a.findings, first)]
    for kind in others:
        rows += _means(kind)
    if fold is not None:
        rows += _fold_rows(sample, b.sample(), fold, unit, after=after)
    rests_on = f"{sample.clusters:,} {unit}" + (f" ({len(sample):,} images)" if unit == "patients" else "")
    alike = {FIRST: (a, b)} | {KINDS[name]: pair for name, pair in kinds.items()}
    same = [words for words, (one, other) in alike.items() if np.array_equal(one.scores, other.scores)]
    all_same = len(same) == len(alike)
    which = [line for kind in (first, *others) if kind.name in WITH_HEADLINES for line in _which_mean(kind)]
    summary = [SAME] if all_same else [*_some_same(same), *which]
    notes = [*_notes(rows, rests_on, unit), *_left_out(first.rare, unit)]
    return Compared(rows, notes, summary, all_same)


def _kind(name: str, a: Scored, b: Scored, unit: str, seen: Seen, *, after: After) -> Kind:
    one, other = a.sample(), b.sample()
    measures = list(MEASURED.values()) if name in WITH_HEADLINES else ["auc"]
    drawn = [measure for measure in measures if measure not in NO_INTERVAL]
    found = differences(one, other, drawn, after=after)
    found |= differences(one, other, [m for m in measures if m in NO_INTERVAL], resamples=0)
    areas = [of for of in a.findings if ("auc", of) in found and _defined_both(found["auc", of])]
    rare = [of for of in areas if _without_interval(found["auc", of])]
    return Kind(name, found, rare, len(areas), one.clusters, unit, seen)


def _means(kind: Kind) -> list[Row]:
    """The figures of all findings and, where some finding is too rare for an interval, the means over the
    others.
    """
    rows = []
    few = ", ".join(kind.rare) if len(kind.rare) <= MANY else f"{len(kind.rare)} of {kind.areas} findings"
    for key, measure in MEASURED.items():
        of_table = MEASURES[measure].of == "table"
        why = "" if of_table else f"too few {kind.unit} show {few}, or do not"
        for of, ending, words in ((TABLE if of_table else MACRO, "", ""), (SHOWN, "_shown", WITHOUT)):
            one = kind.found.get((measure, of))
            if one is None or not _defined_both(one) or (of == SHOWN and measure in NO_INTERVAL):
                continue
            place = (kind.name, f"{key}{ending}") if kind.name else (f"{key}{ending}",)
            what = f"{_titled(key, kind.name)}{words}"
            told = NO_INTERVAL.get(measure) or why or one.difference.why
            better: Better = "lower" if MEASURES[measure].better == "lower" else "higher"
            rows.append(
                _row(place, what, one, kind.patients, kind.unit, why=told, seen=kind.seen, better=better)
            )
    return rows


def _findings(findings: Sequence[str], kind: Kind) -> list[Row]:
    """One family: with more findings, more intervals leave out 0 by chance."""
    found = {of: kind.found["auc", of] for of in findings if ("auc", of) in kind.found}
    found = {name: one for name, one in found.items() if _defined_both(one)}
    family = [one.difference for one in found.values()]
    size = len(family) - len(kind.rare)
    rows = []
    for (name, one), told in zip(found.items(), verdicts(family, patients=kind.patients), strict=True):
        verdict = told.unless(kind.seen)
        words = sentence(name, one.difference, verdict, unit=kind.unit, family=size, why=one.difference.why)
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
    better: Better = "higher",
) -> Row:
    (told,) = verdicts([found.difference], patients=patients, better=better)
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
    if all(shown[there].all() for shown, there in zip(enough, map(defined, truth), strict=True)):
        return [_row(key, what, fold_means(a, b, folds, truth, after=after), a.clusters, unit)]
    one, other = (mean_of_folds(side, folds, truth) for side in (a, b))
    why = f"in a fold or in all, too few {unit} show some finding, or do not"
    all_of_them = Difference(one, other, Estimate(other - one))
    rows = [_row(key, what, all_of_them, a.clusters, unit, why=why)]
    if all(shown.any() for shown in enough):
        masked = [Truth(t.y, t.mask & shown, t.patient) for t, shown in zip(truth, enough, strict=True)]
        found = fold_means(a, b, folds, masked, after=after)
        rows.append(_row((*key[:2], "macro_auc_shown"), f"{what}{WITHOUT}", found, a.clusters, unit))
    return rows


def _defined_both(found: Difference) -> bool:
    return not np.isnan(found.difference.value)


def _without_interval(found: Difference) -> bool:
    return bool(np.isnan(found.difference.low)) and _defined_both(found)


def _some_same(same: Sequence[str]) -> list[str]:
    return [f"A and B hold the same scores: {', '.join(same)}."] * bool(same)


def _which_mean(kind: Kind) -> list[str]:
    """Which of the rows of macro-AUC to read, where the first has no interval."""
    if not kind.rare:
        return []
    few = f"shown, or not shown, by fewer than {FEWEST} {kind.unit}"
    left = kind.areas - len(kind.rare)
    what = _titled("macro_auc", kind.name)
    if not left:
        return [f"{what} has no interval here: each finding is {few}."]
    verb = "is" if len(kind.rare) == 1 else "are"
    return [
        f"{what} has no interval here: {len(kind.rare)} of {kind.areas} findings {verb} {few}; read the row "
        f"of the other {left} ({what}{WITHOUT})."
    ]


def _titled(key: str, kind: str) -> str:
    return f"{TITLES[key]}, {KINDS[kind]}" if kind else TITLES[key]


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
            "says better or worse is about 5 %, or less"
        )
    if sum(row.key[0] != "auc" for row in rows) > 1:
        notes.append(
            "the rows of all findings together overlap and are not adjusted: choose one before you look at "
            "them"
        )
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
