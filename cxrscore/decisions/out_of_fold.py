"""Out-of-fold scores -> thresholds and limits, and how well they do on images that did not choose them.

In    Sample of all folds, its scores as they are and calibrated by maps that have not seen the patient.
Out   what is chosen from all of them; rows of tables and headline numbers. Calls and limits of each fold are
      those of the other folds, whose maps have not seen it either; of one fold alone, those of each part of
      its patients are of the other parts.
"""

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cxrscore.decisions.abstention import CONFORMAL, Limits, conformal_limits, doubt
from cxrscore.decisions.decision_file import Decisions
from cxrscore.decisions.fold_maps import NONE, POOLED, cross_calibrated, fit_sources, parts_of
from cxrscore.decisions.measured import (
    Row,
    coverage_rows,
    coverages,
    curve_rows,
    error_rows,
    headlines,
    kept_calls,
    kept_headlines,
    predictive_rows,
    ruled_out,
    some_findings,
    threshold_rows,
    with_scores,
)
from cxrscore.decisions.thresholds import RULES, calls_of, choose_thresholds
from cxrscore.statistics.sample import Sample

if TYPE_CHECKING:
    from cxrscore.project.params import DecideParams

OUT_OF_FOLD = "out of fold"
ALL_CALLS = "all calls"
RULE = "youden"  # whose calls the coverage and the curve are of
Floats = NDArray[np.float64]


class Measured(NamedTuple):
    """Rows of each table in decide.COLUMNS, and headline numbers."""

    rows: dict[str, list[Row]]
    metrics: dict[str, Any]


def choose(crossed: Sample, params: "DecideParams") -> tuple[dict[str, Floats], Limits]:
    thresholds = choose_thresholds(crossed, sensitivity=params.sensitivity, specificity=params.specificity)
    return thresholds, conformal_limits(crossed, coverage=params.coverage)


def measure_out_of_fold(
    whole: Sample, crossed: Sample, fold: NDArray[np.int64], decisions: Decisions, params: "DecideParams"
) -> Measured:
    """`fold` (n,). Calls and limits of each fold are those of the other folds; of one fold alone, those of
    each part of its patients are of the other parts.
    """
    held_out = fold if len(np.unique(fold)) > 1 else parts_of(whole)
    made = {rule: np.empty(whole.scores.shape) for rule in RULES}
    wrong, kept, doubts = (np.empty(whole.scores.shape) for _ in range(3))
    for one in np.unique(held_out):
        mine = held_out == one
        others, probs = _without(whole, crossed, fold, mine), crossed.scores[mine]
        thresholds, limits = choose(others, params)
        for rule in RULES:
            made[rule][mine] = calls_of(probs, thresholds[rule])
        wrong[mine] = ruled_out(crossed.rows(mine), probs, limits)
        kept[mine] = kept_calls(probs, thresholds[RULE], limits)
        doubts[mine] = doubt(others, probs, made[RULE][mine])
    calls, left = made[RULE], kept == 1
    errors = list(error_rows(OUT_OF_FOLD, whole, crossed.scores, areas=False))
    found = coverages(whole, wrong, left)
    several = {rule: np.full(len(whole.findings), np.nan) for rule in RULES}  # each fold's were others
    ways = {ALL_CALLS: ~np.isnan(calls), CONFORMAL: left}
    rows = {
        "calibration": errors,
        "thresholds": list(threshold_rows(OUT_OF_FOLD, whole, several, made)),
        "coverage": list(coverage_rows(OUT_OF_FOLD, found)),
        "predictive": list(predictive_rows(OUT_OF_FOLD, whole, calls, ways)),
        "curve": list(curve_rows(OUT_OF_FOLD, CONFORMAL, whole, calls, doubts)),
    }
    numbers = headlines(errors, found, fitted(decisions)) | kept_headlines(whole, calls, left)
    return Measured(rows, numbers)


def _without(whole: Sample, crossed: Sample, fold: NDArray[np.int64], mine: NDArray[np.bool_]) -> Sample:
    """The other rows of `crossed`. A map of all folds is fitted again without `mine`."""
    folds = [whole.rows(~mine & (fold == one)) for one in np.unique(fold[~mine])]
    others = crossed.rows(~mine)
    sources = fit_sources([whole.rows(fold == one) for one in np.unique(fold)])
    pooled = np.flatnonzero([source == POOLED for source in sources])
    if not len(pooled):
        return others
    again = cross_calibrated([some_findings(one, pooled) for one in folds])
    scores = others.scores.copy()
    scores[:, pooled] = np.concatenate(again)
    return with_scores(others, scores)


def fitted(decisions: Decisions) -> list[str]:
    """Findings that are calibrated."""
    pairs = zip(decisions.findings, decisions.maps.source, strict=True)
    return [name for name, source in pairs if source != NONE]
