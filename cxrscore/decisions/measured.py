"""Calibrated probabilities, thresholds and limits against truth: how well they do on images that did not
choose them.

In    Sample of probabilities before and after calibration; thresholds and limits.
Out   rows of tables, and headline numbers: means over the findings that have them.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cxrscore.decisions.abstention import Limits, kept_by_limits
from cxrscore.decisions.probability_errors import brier, calibration_error, log_loss
from cxrscore.decisions.thresholds import calls_of
from cxrscore.statistics.bootstrap import replicates
from cxrscore.statistics.intervals import FEWEST, freedom_of, interval
from cxrscore.statistics.roc_area import quotient, roc_auc
from cxrscore.statistics.sample import Sample

Floats = NDArray[np.float64]
ERRORS = {"calibration_error": calibration_error, "brier": brier, "log_loss": log_loss}
AREA = {"auc": roc_auc}
RESAMPLES = 1000
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
    """scores, rule, finding, threshold, positives, negatives, sensitivity, specificity. `calls` (n, L) by
    rule; NaN where a rule has no threshold.
    """
    for rule, thresholds in chosen.items():
        for j, finding in enumerate(sample.findings):
            made, y = calls[rule][:, j], sample.y[:, j]
            known = sample.mask[:, j] & ~np.isnan(made)
            present, absent = known & (y == 1), known & (y == 0)
            right = [made[present] == 1, made[absent] == 0]
            shares = [float(one.mean()) if len(one) else np.nan for one in right]
            counts = [int(present.sum()), int(absent.sum())]
            yield [source, rule, finding, number(thresholds[j], 9), *counts, *map(number, shares)]


@dataclass(frozen=True)
class Share:
    """Which of some rows have something, each with its weight; as bootstrap.Prepared."""

    rows: NDArray[np.int64]
    has: NDArray[np.bool_]
    weight: Floats

    def values(self, weights: Floats) -> Floats:
        mine = weights[self.rows] * self.weight[:, None]
        return quotient((mine * self.has[:, None]).sum(0), mine.sum(0))


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
    shares: dict[tuple[int, int], Share] = {}
    for j in range(len(sample.findings)):
        for truth in (1, 0):
            known = sample.mask[:, j] & (sample.y[:, j] == truth) & ~np.isnan(ruled_out[:, j])
            rows = np.flatnonzero(known)
            if len(rows):
                _, own, images = np.unique(sample.cluster[rows], return_inverse=True, return_counts=True)
                shares[j, truth] = Share(rows, ruled_out[rows, j] == 0, 1 / images[own])
    drawn = (
        replicates(shares, sample.cluster, resamples=RESAMPLES, generator=np.random.default_rng(0))
        if shares
        else {}
    )
    found = []
    for (j, truth), share in shares.items():
        value = float(share.values(np.ones((len(sample), 1)))[0])
        patients = len(np.unique(sample.cluster[share.rows]))
        ends = (np.nan, np.nan)
        if patients >= FEWEST:  # each weighs as much as another, so they are worth their number
            freedom = freedom_of(patients)
            ends = interval(value, drawn[j, truth], scale="unit", freedom=freedom)
        word = "present" if truth else "absent"
        left = float(kept[share.rows, j].mean())
        found.append(Coverage(sample.findings[j], word, patients, len(share.rows), value, *ends, left))
    return found


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
    """scores, by, finding, kept, accuracy, balanced_accuracy: of the calls with the least doubt, 5 % to
    all."""
    known = sample.mask & ~np.isnan(calls) & ~np.isnan(doubt)
    columns: dict[str, Any] = {ALL: slice(None)} | {name: j for j, name in enumerate(sample.findings)}
    for finding, j in columns.items():
        rows = known[:, j]
        y, made, order = sample.y[:, j][rows], calls[:, j][rows], np.argsort(doubt[:, j][rows], kind="stable")
        for step in range(1, STEPS + 1 if len(order) else 1):
            first = order[: max(1, round(len(order) * step / STEPS))]
            right, truth = made[first] == y[first], y[first] == 1
            both = [float(right[part].mean()) for part in (truth, ~truth) if part.any()]
            balanced = float(np.mean(both)) if len(both) == 2 else np.nan
            yield [source, by, finding, number(step / STEPS), number(float(right.mean())), number(balanced)]


def spread_of(calibrated: Floats) -> Floats:
    """(F, n, L) -> (n, L): the standard deviation over models."""
    found: Floats = calibrated.std(axis=0)
    return found


def kept_calls(probs: NDArray[np.floating], thresholds: Floats, limits: Limits) -> NDArray[np.bool_]:
    return kept_by_limits(probs, calls_of(probs, thresholds), limits)


def headlines(errors: Sequence[Row], found: Sequence[Coverage], fitted: Sequence[str]) -> dict[str, object]:
    """Means over the findings in `fitted`, and of the coverages over those that have a limit."""
    numbers: dict[str, object] = {}
    mine = [row for row in errors if row[1] in fitted]
    for i, name in enumerate((*ERRORS, *AREA)):
        pairs = [(row[4 + 2 * i], row[5 + 2 * i]) for row in mine]
        values = np.array([[float(str(cell)) for cell in pair] for pair in pairs if "" not in pair])
        if len(values):
            before, after = values.mean(0)
            numbers[name] = {"before": round(float(before), 5), "after": round(float(after), 5)}
    coverage = {}
    for truth in ("present", "absent"):
        shares = [one.coverage for one in found if one.truth == truth]
        if shares:
            coverage[truth] = round(float(np.mean(shares)), 5)
    if coverage:
        images = sum(one.images for one in found)
        kept = sum(one.kept * one.images for one in found) / images
        numbers |= {"coverage": coverage, "calls_kept": round(kept, 5)}
    return numbers


def number(value: float, digits: int = 5) -> str:
    """A cell; blank where it is undefined."""
    return "" if np.isnan(value) else f"{value:.{digits}f}"


def with_scores(sample: Sample, scores: Floats) -> Sample:
    return replace(sample, scores=scores)
