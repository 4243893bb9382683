"""Calibrated probabilities and truth -> the thresholds from which a finding is called present.

In    y, mask and probabilities (n, L) of images that no map and no model has seen.
Out   thresholds (L,) of each rule in RULES; NaN where fewer than FEWEST patients show a finding, or do not.

A call is 1 where the probability is at or above the threshold, which lies halfway between two neighbours.
Rules by finding: `youden` (sensitivity + specificity), `f1` (also macro-F1), `accuracy` (also the Hamming
loss), `sensitivity` and `specificity` (at least the stated one, with as much of the other as it allows).
Rules of one threshold for all findings: `micro_f1` (also OF1), `cf1`, `example_f1`, `subset_accuracy`.
Sources: Youden, Cancer 3, 1950; Lipton, Elkan & Naryanaswamy, "Optimal thresholding of classifiers to
maximize F1 measure", 2014 (why micro-F1 needs one threshold for all).
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from cxrscore.statistics.intervals import FEWEST
from cxrscore.statistics.measures import MEASURES
from cxrscore.statistics.sample import Sample

Floats = NDArray[np.float64]
COMMON = np.arange(1, 200) / 200  # thresholds that are tried for all findings together


class Cuts(NamedTuple):
    """Of one finding: what each threshold calls. Row i calls the i highest groups of equal probabilities."""

    threshold: Floats
    hits: Floats
    false_alarms: Floats
    present: float
    absent: float


def cuts(y: NDArray[np.int8], probs: NDArray[np.floating]) -> Cuts:
    """(n,) 0/1 and (n,) probabilities -> every threshold that makes a difference, from the highest on."""
    values, group = np.unique(np.asarray(probs, np.float64), return_inverse=True)
    hits, all_of = np.bincount(group, weights=y == 1), np.bincount(group)
    hits, all_of = hits[::-1].cumsum(), all_of[::-1].cumsum()
    highest, lowest = values[-1], values[0]
    above = (highest + 1) / 2 if highest < 1 else 2.0  # calls none
    between = (values[1:] + values[:-1]) / 2
    between = np.where(between > values[:-1], between, values[1:])[::-1]  # neighbours in float64
    threshold = np.concatenate([[above], between, [lowest / 2]])
    none = np.zeros(1)
    return Cuts(
        threshold,
        np.concatenate([none, hits]),
        np.concatenate([none, all_of - hits]),
        float(hits[-1]),
        float(all_of[-1] - hits[-1]),
    )


def _youden(found: Cuts, _: float) -> int:
    return int(np.argmax(found.hits * found.absent - found.false_alarms * found.present))


def _f1(found: Cuts, _: float) -> int:
    return int(np.argmax(2 * found.hits / (found.hits + found.false_alarms + found.present)))


def _accuracy(found: Cuts, _: float) -> int:
    return int(np.argmax(found.hits - found.false_alarms))


def _sensitivity(found: Cuts, least: float) -> int:
    return int(np.argmax(found.hits >= least * found.present - 1e-9))


def _specificity(found: Cuts, least: float) -> int:
    kept = found.absent - found.false_alarms
    return int(np.flatnonzero(kept >= least * found.absent - 1e-9)[-1])


BY_FINDING: dict[str, Callable[[Cuts, float], int]] = {
    "youden": _youden,
    "f1": _f1,
    "accuracy": _accuracy,
    "sensitivity": _sensitivity,
    "specificity": _specificity,
}


TOGETHER = ("cf1", "example_f1", "subset_accuracy")  # figures of all findings, as `evaluate` measures them
RULES = (*BY_FINDING, "micro_f1", *TOGETHER)


def choose_thresholds(sample: Sample, *, sensitivity: float, specificity: float) -> dict[str, Floats]:
    """`sample.scores`: calibrated probabilities -> each rule's thresholds (L,)."""
    enough = np.minimum(*sample.shown()) >= FEWEST
    found = {rule: np.full(len(sample.findings), np.nan) for rule in RULES}
    for j in np.flatnonzero(enough):
        known = sample.mask[:, j]
        mine = cuts(sample.y[known, j], sample.scores[known, j])
        for rule, best in BY_FINDING.items():
            least = {"sensitivity": sensitivity, "specificity": specificity}.get(rule, 0.0)
            found[rule][j] = mine.threshold[best(mine, least)]
    if enough.any():
        found["micro_f1"][enough] = _micro_f1(sample, enough)
        for rule in TOGETHER:
            found[rule][enough] = _common(sample, enough, rule)
    return found


def calls_of(probs: NDArray[np.floating], thresholds: Floats) -> Floats:
    """(..., L) probabilities, (L,) thresholds -> 1 and 0; NaN where there is no threshold."""
    return np.where(np.isnan(thresholds), np.nan, (probs >= thresholds).astype(np.float64))


def _micro_f1(sample: Sample, enough: NDArray[np.bool_]) -> float:
    known = sample.mask[:, enough]
    mine = cuts(sample.y[:, enough][known], sample.scores[:, enough][known])
    return float(mine.threshold[_f1(mine, 0.0)])


def _common(sample: Sample, enough: NDArray[np.bool_], measure: str) -> float:
    """The first of COMMON at which the measure is highest."""
    y, known, probs = sample.y[:, enough], sample.mask[:, enough], sample.scores[:, enough]
    figures = [table_figure(measure, y, known, (probs >= t).astype(float)) for t in COMMON]
    return float(COMMON[int(np.nanargmax(figures))])  # a finding is shown, so each has a figure somewhere


def table_figure(measure: str, y: NDArray[np.int8], known: NDArray[np.bool_], calls: Floats) -> float:
    """Of all findings together, as `evaluate` has it for scores of 0 and 1."""
    return float(MEASURES[measure].prepare(y, known, calls).values(np.ones((len(y), 1)))[0])
