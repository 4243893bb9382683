"""The figures that score tables are measured by, each with its name, its range and how it is made.

In    a name in MEASURES.
Out   Measure. `prepare` takes one finding's y, mask and scores, (n,) each, or those of all findings, (n, L).
      Measures of one `base` have it in common, so that its sums are made once for all of them.
"""

from collections.abc import Callable
from dataclasses import dataclass
from operator import itemgetter
from typing import Any, Literal

import numpy as np

from cxrscore.statistics import calibration, multilabel, operating_points
from cxrscore.statistics.average_precision import average_precision
from cxrscore.statistics.bootstrap import Prepared
from cxrscore.statistics.intervals import FEWEST
from cxrscore.statistics.roc_area import Floats, ranked
from cxrscore.statistics.weighted_ratio import prevalence

Prepare = Callable[[np.ndarray, np.ndarray, np.ndarray], Prepared]
Kind = Literal["shown", "unshown", "known", "called"]  # of label: of an image and a finding
CLASSES: tuple[Kind, ...] = ("shown", "unshown")
CALLED: tuple[Kind, ...] = (*CLASSES, "called")


@dataclass(frozen=True)
class Measure:
    """`of` says what it is a figure of; `better`: whether more of it is better, or neither; `scale`: its
    values lie in 0 to 1 (unit) or anywhere (plain). `fewest`: of how many patients of either class its
    interval holds the truth (tests/programs/coverage.py); None: it has no interval, and `why` says why.
    Its interval rests on labels of the kinds `rests_on`; it is a share of those of `share_of`; `mean_over`:
    and a mean over the findings that have any of these. `top`: of an image, so many can be called.
    """

    name: str
    title: str
    of: Literal["finding", "table"]
    better: Literal["higher", "lower", "neither"]
    scale: Literal["unit", "plain"]
    base: Prepare
    fewest: int | None = FEWEST
    why: str = ""
    rests_on: tuple[Kind, ...] = CLASSES
    share_of: tuple[Kind, ...] = CLASSES
    mean_over: tuple[Kind, ...] = ()
    top: int | None = None
    figure: Callable[[Floats], Floats] | None = None

    def prepare(self, y: np.ndarray, mask: np.ndarray, scores: np.ndarray) -> Prepared:
        return Derived(self.base(y, mask, scores), self.figured)

    def figured(self, values: Floats) -> Floats:
        """What the base has in R resamples -> (R,)."""
        return values if self.figure is None else self.figure(values)


@dataclass(frozen=True)
class Derived:
    base: Prepared
    figured: Callable[[Floats], Floats]

    def values(self, weights: Floats) -> Floats:
        """(n, R) -> (R,)."""
        return self.figured(self.base.values(weights))


# calibrated scores of 100 patients: 0.12 where the truth is 0, in resamples 0.19, since they have the
# sample's noise and their own; of 300 intervals none held the truth
UPWARDS = "noise counts as error, so it is too high, and in each resample higher still"
# with 20 patients of either class intervals of average precision held the truth 92 to 93 times of 100, those
# of the slope and of sensitivity at a specificity 96 to 99; of AP_all, with 87 who show any finding, 92 to 93
SOME, MANY = 50, 150
BOTH: tuple[Kind, ...] = ("shown", "called")
OF_COUNTS: dict[str, tuple[multilabel.Figure, dict[str, tuple[Kind, ...]]]] = {
    "CP": (multilabel.class_precision, {"share_of": ("called",), "mean_over": ("shown",)}),
    "CR": (multilabel.class_recall, {"share_of": ("shown",), "mean_over": ("shown",)}),
    "CF1": (multilabel.class_f1, {"share_of": BOTH, "mean_over": ("shown",)}),
    "OP": (multilabel.overall_precision, {"share_of": ("called",)}),
    "OR": (multilabel.overall_recall, {"share_of": ("shown",)}),
    "OF1": (multilabel.overall_f1, {"share_of": BOTH}),
}


def _of_finding(
    name: str, title: str, better: Literal["higher", "lower"], prepare: Prepare, **rules: Any
) -> Measure:
    return Measure(name, title, "finding", better, "unit", prepare, **rules)


def _of_table(name: str, title: str, prepare: Prepare, **rules: Any) -> Measure:
    return Measure(name, title, "table", "higher", "unit", prepare, **rules)


def _of_counts(top: int | None) -> tuple[Measure, ...]:
    suffix, words = ("", "") if top is None else (f"_top{top}", f", top {top}")
    return tuple(
        _of_table(
            f"{title.lower()}{suffix}",
            f"{title}{words}",
            multilabel.counts_of_top if top else multilabel.counts,
            rests_on=CALLED,
            top=top,
            figure=figure,
            **rules,
        )
        for title, (figure, rules) in OF_COUNTS.items()
    )


ALL = (
    _of_finding("auc", "AUC", "higher", ranked),
    _of_finding("average_precision", "average precision", "higher", average_precision, fewest=SOME),
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
        calibration.recalibration,
        figure=itemgetter(0),
    ),
    Measure(
        "calibration_slope",
        "calibration slope",
        "finding",
        "neither",
        "plain",
        calibration.recalibration,
        fewest=SOME,
        figure=itemgetter(1),
    ),
    _of_finding(
        "sensitivity_at_specificity_90",
        "sensitivity at 90 % specificity",
        "higher",
        operating_points.sensitivity_at_specificity,
        fewest=SOME,
        share_of=("shown",),
    ),
    _of_finding(
        "specificity_at_sensitivity_90",
        "specificity at 90 % sensitivity",
        "higher",
        operating_points.specificity_at_sensitivity,
        fewest=SOME,
        share_of=("unshown",),
    ),
    Measure("prevalence", "prevalence", "finding", "neither", "unit", prevalence),
    _of_table("ap_all", "AP_all", average_precision, fewest=MANY),
    *_of_counts(None),
    *_of_counts(multilabel.TOP),
    _of_table("subset_accuracy", "subset accuracy", multilabel.subset_accuracy, share_of=("known",)),
    Measure(
        "hamming_loss",
        "Hamming loss",
        "table",
        "lower",
        "unit",
        multilabel.hamming_loss,
        share_of=("known",),
    ),
    _of_table("example_f1", "example-based F1", multilabel.example_f1, rests_on=CALLED, share_of=BOTH),
    _of_table(
        "micro_f1",
        "micro-averaged F1",
        multilabel.counts,
        figure=multilabel.overall_f1,
        rests_on=CALLED,
        share_of=BOTH,
    ),
    _of_table(
        "macro_f1",
        "macro-averaged F1",
        multilabel.counts,
        figure=multilabel.macro_f1,
        rests_on=CALLED,
        share_of=BOTH,
        mean_over=BOTH,
    ),
)
MEASURES = {measure.name: measure for measure in ALL}
