"""Score tables and truth -> metrics. No model, no GPU: out-of-fold and competition tables have one shape.

In    out/oof/fold{k}.csv and .views.csv, out/learned, data/labels.csv, and out/folds.csv and out/models, by
      which the tables are whole and of one training; or any score table and any labels.
Out   out/metrics.json (nested dicts of numbers only: DVC drops lists and nulls), out/plots: auc.csv, curves
      (roc.csv, pr.csv), every figure with its interval (statistics.csv), how predictions lie
      (prediction_tables.py), and what the heads learned, one table per picture (learned_tables.py).
A finding with a single class has no area: it is absent, counted, and left out of the mean.
"""

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from cxrscore.core.errors import counted, promise
from cxrscore.core.files import write_text
from cxrscore.core.paths import Layout
from cxrscore.core.progress import Progress, Silent
from cxrscore.evaluation.fold_trainings import check_tables, notes_on_patients
from cxrscore.evaluation.head_pictures import TABLES
from cxrscore.evaluation.joined_scores import Scored, join, join_file, pool, unknown_patients
from cxrscore.evaluation.learned_tables import learned_tables
from cxrscore.evaluation.prediction_tables import prediction_tables
from cxrscore.evaluation.statistics_table import Statistics, headlines, statistics_of, write_statistics
from cxrscore.statistics.curves import pr_rows, roc_rows
from cxrscore.statistics.estimates import RESAMPLES
from cxrscore.statistics.group_means import group_means
from cxrscore.statistics.roc_area import macro
from cxrscore.tables.csv_table import write_table
from cxrscore.tables.labels import read_labels
from cxrscore.tables.score_table import ScoreTable, read_scores

if TYPE_CHECKING:
    from cxrscore.project.params import LabelParams

DIGITS = 5
SILENT = Silent()


class Measured(NamedTuple):
    """Metrics as they are written, notes on what was measured, the scores and truth behind them, and every
    figure with its interval.
    """

    metrics: dict[str, Any]
    notes: list[str]
    scored: Scored
    statistics: Statistics


def evaluate(
    labels_csv: Path,
    layout: Layout,
    *,
    labels: "LabelParams",
    folds: Sequence[int],
    resamples: int = RESAMPLES,
    progress: Progress = SILENT,
    check: Callable[[Scored], None] = lambda scored: None,
) -> Measured:
    """The stage: out-of-fold metrics of the trained folds, as validated (one view), with all views, and
    with all views and images of a study. `resamples` of the patients make the intervals; 0: none.
    `check` may refuse what is to be measured before anything is written.
    """
    table = read_labels(labels_csv, **labels.model_dump())
    plain, averaged = (
        [join(read_scores(layout.scores(fold, views=views)), table) for fold in folds]
        for views in (False, True)
    )
    rows = {(fold, False): part.table.ids for fold, part in zip(folds, plain, strict=True)}
    rows |= {(fold, True): part.table.ids for fold, part in zip(folds, averaged, strict=True)}
    notes = check_tables(layout, rows)
    learned = learned_tables(layout, dict(zip(folds, plain, strict=True)))
    pooled, pooled_views = pool(plain), pool(averaged)
    check(pooled)
    metrics = summarise(pooled)
    metrics["views"] = _macro(pooled_views)
    metrics |= by_study(averaged)
    metrics["folds"] = {str(fold): _macro(part) for fold, part in zip(folds, plain, strict=True)}
    metrics["folds"]["mean"] = _mean(metrics["folds"].values())
    statistics = statistics_of(pooled, resamples=resamples, progress=progress)
    write_text(layout.metrics, json.dumps(metrics, indent=1) + "\n")
    parts = [("all", "one", pooled), ("all", "views", pooled_views)]
    parts += [(str(fold), "one", part) for fold, part in zip(folds, plain, strict=True)]
    promise(learned.keys() <= TABLES, f"tables without a name: {sorted(learned.keys() - TABLES)}")
    for name in TABLES:  # by another head, whose pictures the report would show
        (layout.plots / f"{name}.csv").unlink(missing_ok=True)
    _write_areas(layout.plots / "auc.csv", parts)
    _write_pooled(layout.plots / "auc_pooled.csv", pooled)
    _write_curves(layout.plots, pooled)
    write_statistics(layout.plots / "statistics.csv", statistics)
    for name, (columns, cells) in prediction_tables(pooled).items():
        write_table(layout.plots / f"{name}.csv", columns, cells)
    for name, (columns, cells) in learned.items():
        if cells:  # of one finding alone there are no pairs
            write_table(layout.plots / f"{name}.csv", columns, cells)
    others = ", ".join(map(str, sorted(layout.of_other_folds(folds))))
    stale = [f"files of fold {others} are left out, as folds.train does not list them"] if others else []
    fold = np.repeat(folds, [len(part.table.ids) for part in plain])
    notes += [*notes_on_patients(pooled.table, fold), *unknown_patients(pooled, resamples=resamples)]
    notes += [*undefined(pooled), *_pooling(len(folds)), *stale]
    return Measured(metrics, notes, pooled, statistics)


def evaluate_table(
    scores: ScoreTable,
    labels_csv: Path,
    *,
    labels: "LabelParams | None",
    readers: str | None = None,
    resamples: int = RESAMPLES,
    progress: Progress = SILENT,
    check: Callable[[Scored], None] = lambda scored: None,
) -> Measured:
    """Any score table against any label table.

    The findings are the score table's columns. Without a project's `labels`, a plain table is expected, and a
    blank or -1 is an error: nobody has said what they mean. Patients and studies are optional. `readers`: as
    in read_labels, in place of the settings' own. `check` may refuse what is to be measured.
    """
    joined, notes = join_file(scores, labels_csv, labels=labels, readers=readers)
    check(joined)
    notes += [*undefined(joined), *unknown_patients(joined, resamples=resamples)]
    if joined.unscored:
        total = joined.unscored + len(joined.scores)
        rows = ("labelled image",) if joined.images is None else ("labelled study", "labelled studies")
        notes.append(f"{joined.unscored} of {counted(total, *rows)} without a score")
    statistics = statistics_of(joined, resamples=resamples, progress=progress)
    return Measured(summarise(joined) | by_study([joined]), notes, joined, statistics)


def undefined(scored: Scored) -> list[str]:
    """A note that names the findings without an area: one class alone is present."""
    names = [name for name, area in zip(scored.findings, scored.areas(), strict=True) if np.isnan(area)]
    return [f"AUC undefined (only one class present): {', '.join(names)}"] if names else []


def summarise(scored: Scored) -> dict[str, Any]:
    """Numbers by name: macro_auc, those of HEADLINES, auc.<finding>, and the counts they rest on."""
    areas = scored.areas()
    counts = {"images": len(scored.scores), "findings_defined": int((~np.isnan(areas)).sum())}
    patients = scored.patients()
    defined = {
        name: _round(area) for name, area in zip(scored.findings, areas, strict=True) if not np.isnan(area)
    }
    metrics: dict[str, Any] = {"macro_auc": _round(macro(areas))} if defined else {}
    metrics |= headlines(scored)
    return metrics | counts | ({"patients": patients} if patients is not None else {}) | {"auc": defined}


def by_study(parts: Sequence[Scored]) -> dict[str, dict[str, float]]:
    """`study`, measured on the same images and labels with each score replaced by the mean over the study's
    images in the same table; nothing where the labels tell no study.
    """
    means = [
        replace(part, scores=group_means(part.scores, part.table.study))
        for part in parts
        if part.table.study is not None
    ]
    return {"study": _macro(pool(means))} if means else {}


def _pooling(folds: int) -> list[str]:
    several = (
        f"out-of-fold scores of {folds} models are pooled: where their scales differ, pooled AUC, average "
        "precision and calibration are worse than those of each model; folds.mean is the mean over folds"
    )
    return [several] if folds > 1 else []


def _macro(scored: Scored) -> dict[str, float]:
    area = macro(scored.areas())
    return {} if np.isnan(area) else {"macro_auc": _round(area)}


def _mean(folds: Iterable[dict[str, float]]) -> dict[str, float]:
    found = [fold["macro_auc"] for fold in folds if fold]
    return {"macro_auc": _round(float(np.mean(found)))} if found else {}


def _write_areas(path: Path, parts: Sequence[tuple[str, str, Scored]]) -> None:
    """One row for each fold (or all), view and finding; a blank auc is undefined."""
    rows = []
    for fold, view, scored in parts:
        positives = ((scored.table.y == 1) & scored.table.mask).sum(0)
        for finding, area, count in zip(scored.findings, scored.areas(), positives, strict=True):
            cell = "" if np.isnan(area) else f"{area:.{DIGITS}f}"
            rows.append([fold, view, finding, cell, int(count)])
    write_table(path, ["fold", "view", "finding", "auc", "positives"], rows)


def _write_pooled(path: Path, pooled: Scored) -> None:
    """For a plot: the defined areas over all folds, finding by finding."""
    areas = zip(pooled.findings, pooled.areas(), strict=True)
    write_table(path, ["finding", "auc"], [[name, f"{a:.{DIGITS}f}"] for name, a in areas if not np.isnan(a)])


def _write_curves(plots: Path, pooled: Scored) -> None:
    """For plots of lines: the points of each finding's ROC and precision-recall curve over all folds."""
    truth = pooled.findings, pooled.table.y, pooled.table.mask, pooled.scores
    write_table(plots / "roc.csv", ["finding", "fpr", "tpr"], roc_rows(*truth))
    write_table(plots / "pr.csv", ["finding", "recall", "precision"], pr_rows(*truth))


def _round(value: float) -> float:
    return round(value, DIGITS)
