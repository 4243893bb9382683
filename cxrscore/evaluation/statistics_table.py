"""Scores with their truth -> every figure with its interval, as a table, as JSON, and the few that lead.

In    Scored; how many resamples.
Out   Statistics; statistics.csv, nested dicts, headline numbers. What is undefined is in none of them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cxrscore.core.progress import Progress
from cxrscore.evaluation.joined_scores import Scored
from cxrscore.statistics.estimates import MACRO, RESAMPLES, Estimate, Key, estimates
from cxrscore.statistics.interval_rules import TABLE
from cxrscore.statistics.label_counts import images_per_label, labels_per_image
from cxrscore.tables.csv_table import write_table

COLUMNS = ("measure", "finding", "value", "low", "high", "why")
HEADLINES = {"map": "average_precision", "brier": "brier", "calibration_error": "calibration_error"}
DIGITS = 5


@dataclass(frozen=True)
class Statistics:
    """`figures` by measure and finding (or MACRO, SHOWN, TABLE); `counts`: of each finding the patients, or
    images where those are unknown, with it and without; `spreads`: labels per image and images per label.
    """

    figures: Mapping[Key, Estimate]
    counts: Mapping[str, Mapping[str, int]]
    spreads: Mapping[str, Mapping[str, float]]


def statistics_of(scored: Scored, *, progress: Progress, resamples: int = RESAMPLES) -> Statistics:
    """Every measure; `resamples` 0: without intervals."""
    sample = scored.sample()
    if resamples:
        progress.start("resamples", resamples)
    figures = estimates(sample, resamples=resamples, after=progress.advance)
    unit = "images" if scored.patients() is None else "patients"
    of_findings = zip(sample.findings, *sample.shown(), strict=True)
    counts = {
        finding: {f"{unit}_with": int(shown), f"{unit}_without": int(others)}
        for finding, shown, others in of_findings
    }
    spreads = {
        "labels_per_image": labels_per_image(sample.y, sample.mask)._asdict(),
        "images_per_label": images_per_label(sample.y, sample.mask)._asdict(),
    }
    return Statistics(figures, counts, spreads)


def headlines(scored: Scored) -> dict[str, float]:
    """For metrics files, which `dvc metrics diff` compares: AP_all and means over findings."""
    found = estimates(scored.sample(), ("ap_all", *HEADLINES.values()), resamples=0)
    values = {"ap_all": found["ap_all", TABLE].value}
    values |= {name: found[measure, MACRO].value for name, measure in HEADLINES.items()}
    return {name: round(value, DIGITS) for name, value in values.items() if not np.isnan(value)}


def write_statistics(path: Path, statistics: Statistics) -> None:
    """One row for each figure that is defined, and for each count."""
    rows = [
        [*key, _cell(one.value), _cell(one.low), _cell(one.high), one.why]
        for key, one in statistics.figures.items()
        if not np.isnan(one.value)
    ]
    rows += [
        [name, finding, str(number), "", "", ""]
        for finding, numbers in statistics.counts.items()
        for name, number in numbers.items()
    ]
    rows += [
        [f"{name}_{kind}", TABLE, _cell(value), "", "", ""]
        for name, kinds in statistics.spreads.items()
        for kind, value in kinds.items()
    ]
    write_table(path, COLUMNS, rows)


def as_facts(statistics: Statistics) -> dict[str, Any]:
    """For JSON: `statistics` by measure and finding, each with value, low, high and why there is no interval;
    `counts` by finding; labels_per_image and images_per_label.
    """
    nested: dict[str, dict[str, dict[str, Any]]] = {}
    for (measure, finding), one in statistics.figures.items():
        if not np.isnan(one.value):
            why = {"why": one.why} if one.why else {}
            ends = {"low": _number(one.low), "high": _number(one.high)}
            nested.setdefault(measure, {})[finding] = {"value": _number(one.value)} | ends | why
    spreads = {
        name: {kind: round(value, DIGITS) for kind, value in kinds.items()}
        for name, kinds in statistics.spreads.items()
    }
    return {"counts": {name: dict(of) for name, of in statistics.counts.items()}, **spreads} | {
        "statistics": nested
    }


def _cell(value: float) -> str:
    return "" if np.isnan(value) else f"{value:.{DIGITS}f}"


def _number(value: float) -> float | None:
    return None if np.isnan(value) else round(value, DIGITS)
