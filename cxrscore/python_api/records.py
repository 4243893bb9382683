"""What the functions of the Python API return: counts, notes and polars frames, together.

A frame's columns are said here, beside the record that holds it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import polars as pl


class QuarantineWarning(UserWarning):
    """Files could not be scored. They are in `Scores.errors`."""


@dataclass(frozen=True)
class Scores:
    """What `score` has done. listed = scored + quarantined, always.

    table   the id column, then one Float32 column per finding, as in the file that was written
    errors  path, stage, kind and message of each file that could not be scored; no row where all could
    std     the spread over folds, in the shape of `table`, where it was asked for
    path    the table's file; None where `out` was not given
    """

    table: "pl.DataFrame" = field(repr=False)
    errors: "pl.DataFrame" = field(repr=False)
    listed: int
    scored: int
    quarantined: int
    notes: tuple[str, ...] = ()
    std: "pl.DataFrame | None" = field(default=None, repr=False)
    path: Path | None = None


@dataclass(frozen=True)
class Evaluation:
    """How well scores agree with labels. What is undefined, as only one class is present, is NaN or null.

    findings    finding, images (labelled ones), positives, auc (under the ROC curve), average_precision
    statistics  all that `cxrscore evaluate` measures: measure, finding ("macro": the mean; "all findings": a
                figure of all together), value, low and high, the ends of its 95 % interval, why there is none
    folds       fold and macro_auc of each fold's own images; only of out-of-fold scores
    metrics     the numbers of metrics.json, rounded to five digits
    subgroups   one row per column, group, measure and finding: value, low, high, the gap to the reference
                group and its interval, or why there is none; only where `by` names columns
    """

    findings: "pl.DataFrame"
    macro_auc: float
    macro_average_precision: float
    statistics: "pl.DataFrame" = field(repr=False)
    folds: "pl.DataFrame | None" = None
    metrics: Mapping[str, Any] = field(default_factory=dict, repr=False)
    notes: tuple[str, ...] = ()
    subgroups: "pl.DataFrame | None" = field(default=None, repr=False)


@dataclass(frozen=True)
class Comparison:
    """How `b` differs from `a`: figures of `b` less those of `a`.

    findings   finding, a, b, difference, low, high (null where there is no interval), verdict (better, worse,
               same, cannot tell or no interval), more (patients needed to tell, at least), sentence
    macro_auc  the same of the mean over findings, by name
    figures    what `cxrscore compare --json` prints, rounded to five digits
    """

    findings: "pl.DataFrame"
    macro_auc: Mapping[str, Any]
    figures: Mapping[str, Any] = field(default_factory=dict, repr=False)
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Prepared:
    """What `prepare` has done. `index`: one row per stored image; `quarantine`: one per image left out."""

    index: "pl.DataFrame" = field(repr=False)
    quarantine: "pl.DataFrame" = field(repr=False)
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class FoldTable:
    """What `folds` has done: `table` holds the id, the patient where one is known, and the fold."""

    table: "pl.DataFrame" = field(repr=False)
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Decided:
    """What `decide` has done. `path`: the file that `score` reads. Every frame has a column `scores`: out of
    fold, or test.

    calibration  errors of each finding before and after calibration
    thresholds   of each rule and finding, with the sensitivity and specificity there
    coverage     of each finding and truth, with its interval, and the share of calls kept
    metrics      the numbers that `cxrscore decide --json` prints
    """

    path: Path
    calibration: "pl.DataFrame" = field(repr=False)
    thresholds: "pl.DataFrame" = field(repr=False)
    coverage: "pl.DataFrame" = field(repr=False)
    metrics: Mapping[str, Any] = field(default_factory=dict, repr=False)
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Checked:
    """What `check` has found. `errors` as in `Scores`; `shapes`: width, height, images of that shape."""

    listed: int
    readable: int
    errors: "pl.DataFrame" = field(repr=False)
    shapes: "pl.DataFrame" = field(repr=False)
    turned_upright: int
    turned_gray: int = 0
    notes: tuple[str, ...] = ()
