"""Calibrated probabilities, thresholds and limits against truth: how well they do on images that did not
choose them.

In    Sample of probabilities before and after calibration; thresholds and limits.
Out   rows of tables, and headline numbers: means over the findings that have them.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cxrscore.decisions.abstention import Limits, kept_by_limits
from cxrscore.decisions.probability_errors import brier, calibration_error, log_loss
from cxrscore.decisions.shares import Counted, shares
from cxrscore.decisions.thresholds import calls_of, table_figure
from cxrscore.statistics.roc_area import roc_auc
from cxrscore.statistics.sample import Sample

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
ERRORS = {"calibration_error": calibration_error, "brier": brier, "log_loss": log_loss}
AREA = {"auc": roc_auc}
NAMES = {"auc": "macro_auc"}  # of a mean over findings
REACHED: dict[
    str, Callable[[float, float, int, int], float]
] = {  # of sensitivity, specificity, how many have
    "youden": lambda hit, spared, p, n: hit + spared - 1,  # the finding, and how many have not
    "f1": lambda hit, spared, p, n: 2 * hit * p / (hit * p + (1 - spared) * n + p) if p else math.nan,
    "accuracy": lambda hit, spared, p, n: (hit * p + spared * n) / (p + n) if p and n else math.nan,
    "sensitivity": lambda hit, spared, p, n: hit,
    "specificity": lambda hit, spared, p, n: spared,
}
STEPS = 20  # of a curve: 5 % of the calls, 10 %, ...
ALL = "all findings"
Row = Sequence[object]


def error_rows(source: str, before: Sample, after: NDArray[np.floating], *, areas: bool) -> Iterator[Row]:
    """scores, finding, images, positives, then each of ERRORS before and after; and, with `areas`, the area
    under the ROC curve, which calibration leaves to each model, and moves a little for a mean of models.
    """
    measures = [*ERRORS.values(), *(AREA.values() if areas else ())]
    for j, finding in enumerate(before.findings):
        known = before.mask[:, j]
        y = before.y[known, j]
        both = (before.scores[known, j].astype(np.float64), after[known, j])
        if len(y):
            values = [number(measure(y, probs)) for measure in measures for probs in both]
            values += [""] * (0 if areas else 2 * len(AREA))
            yield [source, finding, len(y), int((y == 1).sum()), *values]


def threshold_rows(
    source: str, sample: Sample, chosen: Mapping[str, Floats], calls: Mapping[str, Floats]
) -> Iterator[Row]:
    """scores, rule, finding, threshold, positives, negatives, sensitivity, specificity, reached. `calls`
    (n, L) by rule; NaN where a rule has no threshold. `reached`: what the rule makes as large as it can. A
    rule of one threshold for all findings has it in a row of its own.
    """
    for rule, thresholds in chosen.items():
        for j, finding in enumerate(sample.findings):
            made, y = calls[rule][:, j], sample.y[:, j]
            known = sample.mask[:, j] & ~np.isnan(made)
            present, absent = known & (y == 1), known & (y == 0)
            right = [made[present] == 1, made[absent] == 0]
            hit, spared = (float(one.mean()) if len(one) else np.nan for one in right)
            counts = [int(present.sum()), int(absent.sum())]
            reached = REACHED[rule](hit, spared, *counts) if rule in REACHED else np.nan
            shown = map(number, (hit, spared, reached))
            yield [source, rule, finding, number(thresholds[j], 9), *counts, *shown]
        if rule not in REACHED:
            known = sample.mask & ~np.isnan(calls[rule])
            reached = table_figure(rule, sample.y, known, np.nan_to_num(calls[rule]))
            counts = [int((known & (sample.y == value)).sum()) for value in (1, 0)]
            yield [source, rule, ALL, "", *counts, "", "", number(reached)]


@dataclass(frozen=True)
class Coverage:
    """Of one finding and truth, present or absent: the share of images that are not ruled out wrongly, a
    patient's images weighing one together, with the ends of its 95 % interval, NaN where too few patients;
    the share of calls that are kept.
    """

    finding: str
    truth: str
    patients: int
    images: int
    coverage: float
    low: float
    high: float
    kept: float


def coverages(sample: Sample, ruled_out: Floats, kept: NDArray[np.bool_]) -> list[Coverage]:
    """`sample.scores` is not read. `ruled_out` (n, L): 1 where the label that is true is ruled out, 0 where
    not, NaN where there is no limit.
    """
    counted = {}
    for j in range(len(sample.findings)):
        for truth in (1, 0):
            known = sample.mask[:, j] & (sample.y[:, j] == truth) & ~np.isnan(ruled_out[:, j])
            if known.any():
                counted[j, truth] = Counted(known, known & (ruled_out[:, j] == 0), one_together=True)
    found = []
    for (j, truth), (value, low, high, patients) in shares(counted, sample.cluster).items():
        word, rows = "present" if truth else "absent", counted[j, truth].cells
        left, images = float(kept[rows > 0, j].mean()), int(rows.sum())
        found.append(Coverage(sample.findings[j], word, patients, images, value, low, high, left))
    return found


def predictive_rows(source: str, sample: Sample, calls: Floats, kept: Mapping[str, Bools]) -> Iterator[Row]:
    """scores, kept by, finding, call, patients, calls, right, low, high: of those calls of 1, and of those of
    0, that are kept in each way, the share that is right (positive and negative predictive value). It is as
    high as the finding is common among these images.
    """
    columns: dict[str, Any] = {ALL: slice(None)} | {name: [j] for j, name in enumerate(sample.findings)}
    right = calls == sample.y
    for by, mine in kept.items():
        counted = {}
        for finding, j in columns.items():
            for call in (1, 0):
                cells = (sample.mask & mine & (calls == call))[:, j]
                if cells.any():
                    counted[finding, call] = Counted(cells.sum(1), (cells & right[:, j]).sum(1))
        for (finding, call), share in shares(counted, sample.cluster).items():
            shown = map(number, (share.value, share.low, share.high))
            yield [source, by, finding, call, share.patients, int(counted[finding, call].cells.sum()), *shown]


def ruled_out(sample: Sample, probs: NDArray[np.floating], limits: Limits) -> Floats:
    """(n, L): 1 where the limits rule out the label that is true, 0 where not, NaN where there is no
    limit."""
    wrong = np.where(sample.y == 1, probs < limits.present_below, probs > limits.absent_above)
    limit = np.where(sample.y == 1, limits.present_below, limits.absent_above)
    return np.where(np.isnan(limit), np.nan, wrong.astype(np.float64))


def coverage_rows(source: str, found: Sequence[Coverage]) -> Iterator[Row]:
    """scores, finding, truth, patients, images, coverage, low, high, kept."""
    for one in found:
        shares = map(number, (one.coverage, one.low, one.high, one.kept))
        yield [source, one.finding, one.truth, one.patients, one.images, *shares]


def curve_rows(source: str, by: str, sample: Sample, calls: Floats, doubt: Floats) -> Iterator[Row]:
    """scores, by, finding, kept, accuracy, ppv, npv: of the calls with the least doubt, 5 % to all, the
    shares that are right: of all, of those of 1, of those of 0.
    """
    known = sample.mask & ~np.isnan(calls) & ~np.isnan(doubt)
    columns: dict[str, Any] = {ALL: slice(None)} | {name: j for j, name in enumerate(sample.findings)}
    for finding, j in columns.items():
        rows = known[:, j]
        y, made, order = sample.y[:, j][rows], calls[:, j][rows], np.argsort(doubt[:, j][rows], kind="stable")
        for step in range(1, STEPS + 1 if len(order) else 1):
            first = order[: max(1, round(len(order) * step / STEPS))]
            right, of_1 = made[first] == y[first], made[first] == 1
            parts = (right, right[of_1], right[~of_1])
            shown = [float(part.mean()) if len(part) else np.nan for part in parts]
            yield [source, by, finding, number(step / STEPS), *map(number, shown)]


def spread_of(calibrated: Floats) -> Floats:
    """(F, n, L) -> (n, L): the standard deviation over models."""
    found: Floats = calibrated.std(axis=0)
    return found


def kept_calls(probs: NDArray[np.floating], thresholds: Floats, limits: Limits) -> NDArray[np.bool_]:
    return kept_by_limits(probs, calls_of(probs, thresholds), limits)


def headlines(errors: Sequence[Row], found: Sequence[Coverage], fitted: Sequence[str]) -> dict[str, object]:
    """Means over the findings in `fitted`, and of the coverages over those that have an interval."""
    numbers: dict[str, object] = {}
    mine = [row for row in errors if row[1] in fitted]
    for i, name in enumerate((*ERRORS, *AREA)):
        pairs = [(row[4 + 2 * i], row[5 + 2 * i]) for row in mine]
        values = np.array([[float(str(cell)) for cell in pair] for pair in pairs if "" not in pair])
        if len(values):
            before, after = values.mean(0)
            numbers[NAMES.get(name, name)] = {
                "before": round(float(before), 5),
                "after": round(float(after), 5),
            }
    coverage = {}
    for truth in ("present", "absent"):
        known = [one.coverage for one in found if one.truth == truth and not np.isnan(one.low)]
        if known:
            coverage[truth] = round(float(np.mean(known)), 5)
    return numbers | ({"coverage": coverage} if coverage else {})


def kept_headlines(sample: Sample, calls: Floats, kept: NDArray[np.bool_]) -> dict[str, object]:
    """The share of all calls that is kept, and the shares of right ones among those of 1 and those of 0,
    before and after. Without a call there is nothing to keep.
    """
    made = sample.mask & ~np.isnan(calls)
    if not made.any():
        return {}
    numbers: dict[str, object] = {"calls_kept": round(float(kept[made].mean()), 5)}
    for name, call in (("ppv", 1), ("npv", 0)):
        mine, right = made & (calls == call), sample.y == call
        if (mine & kept).any():
            before, after = right[mine].mean(), right[mine & kept].mean()
            numbers[name] = {"all": round(float(before), 5), "kept": round(float(after), 5)}
    return numbers


def number(value: float, digits: int = 5) -> str:
    """A cell; blank where it is undefined."""
    return "" if np.isnan(value) else f"{value:.{digits}f}"


def with_scores(sample: Sample, scores: NDArray[np.floating]) -> Sample:
    return replace(sample, scores=scores)


def some_findings(sample: Sample, columns: NDArray[np.int64]) -> Sample:
    return Sample(
        tuple(sample.findings[j] for j in columns),
        sample.y[:, columns],
        sample.mask[:, columns],
        sample.scores[:, columns],
        sample.cluster,
    )
