"""The figures that score tables are measured by, each with its name, its range and how it is made.

In    a name in MEASURES.
Out   Measure. `prepare` takes one finding's y, mask and scores, (n,) each, or those of all findings, (n, L).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from cxrscore.statistics import calibration, multilabel, operating_points
from cxrscore.statistics.average_precision import average_precision
from cxrscore.statistics.bootstrap import Prepared
from cxrscore.statistics.intervals import FEWEST
from cxrscore.statistics.roc_area import ranked
from cxrscore.statistics.weighted_ratio import prevalence

Prepare = Callable[[np.ndarray, np.ndarray, np.ndarray], Prepared]


@dataclass(frozen=True)
class Measure:
    """`of` says what it is a figure of; `better`: whether more of it is better, or neither; `scale`: its
    values lie in 0 to 1 (unit) or anywhere (plain). `fewest`: of how many patients of either class its
    interval holds the truth (tests/programs/coverage.py); None: it has no interval, and `why` says why.
    """

    name: str
    title: str
    of: Literal["finding", "table"]
    better: Literal["higher", "lower", "neither"]
    scale: Literal["unit", "plain"]
    prepare: Prepare
    fewest: int | None = FEWEST
    why: str = ""


# calibrated scores of 100 patients: 0.12 where the truth is 0, in resamples 0.19, since they have the
# sample's noise and their own; of 300 intervals none held the truth
UPWARDS = "noise counts as error, so it is too high, and in each resample higher still"
OF_COUNTS: dict[str, multilabel.Figure] = {
    "CP": multilabel.class_precision,
    "CR": multilabel.class_recall,
    "CF1": multilabel.class_f1,
    "OP": multilabel.overall_precision,
    "OR": multilabel.overall_recall,
    "OF1": multilabel.overall_f1,
}


def _of_finding(name: str, title: str, better: Literal["higher", "lower"], prepare: Prepare) -> Measure:
    return Measure(name, title, "finding", better, "unit", prepare)


def _of_table(name: str, title: str, prepare: Prepare) -> Measure:
    return Measure(name, title, "table", "higher", "unit", prepare)


ALL = (
    _of_finding("auc", "AUC", "higher", ranked),
    _of_finding("average_precision", "average precision", "higher", average_precision),
    _of_finding("brier", "Brier score", "lower", calibration.brier),
    Measure(
        "calibration_error",
        "calibration error",
        "finding",
        "lower",
        "unit",
        calibration.calibration_error,
        fewest=None,
        why=UPWARDS,
    ),
    Measure(
        "calibration_intercept",
        "calibration intercept",
        "finding",
        "neither",
        "plain",
        calibration.calibration_intercept,
    ),
    Measure(
        "calibration_slope", "calibration slope", "finding", "neither", "plain", calibration.calibration_slope
    ),
    _of_finding(
        "sensitivity_at_specificity_90",
        "sensitivity at 90 % specificity",
        "higher",
        operating_points.sensitivity_at_specificity,
    ),
    _of_finding(
        "specificity_at_sensitivity_90",
        "specificity at 90 % sensitivity",
        "higher",
        operating_points.specificity_at_sensitivity,
    ),
    Measure("prevalence", "prevalence", "finding", "neither", "unit", prevalence),
    _of_table("ap_all", "AP_all", average_precision),
    *(_of_table(title.lower(), title, multilabel.counts(figure)) for title, figure in OF_COUNTS.items()),
    *(
        _of_table(f"{title.lower()}_top3", f"{title}, top 3", multilabel.counts(figure, top=multilabel.TOP))
        for title, figure in OF_COUNTS.items()
    ),
    _of_table("subset_accuracy", "subset accuracy", multilabel.subset_accuracy),
    Measure("hamming_loss", "Hamming loss", "table", "lower", "unit", multilabel.hamming_loss),
    _of_table("example_f1", "example-based F1", multilabel.example_f1),
    _of_table("micro_f1", "micro-averaged F1", multilabel.counts(multilabel.overall_f1)),
    _of_table("macro_f1", "macro-averaged F1", multilabel.counts(multilabel.macro_f1)),
)
MEASURES = {measure.name: measure for measure in ALL}
