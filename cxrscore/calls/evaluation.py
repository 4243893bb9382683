"""Scores against labels, as an Evaluation: what `cxrscore evaluate` measures, and average precision.

In    a score table and labels, or a project's out-of-fold tables.
Out   Evaluation.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from cxrscore.calls.records import Evaluation
from cxrscore.core.paths import Layout
from cxrscore.evaluate import evaluate, evaluate_table
from cxrscore.evaluation.average_precision import average_precision_by_finding
from cxrscore.evaluation.joined_scores import Scored, join, join_tables, pool
from cxrscore.evaluation.metrics import macro
from cxrscore.project.params import LabelParams
from cxrscore.project.params_file import read_params
from cxrscore.tables.labels import read_labels


def evaluate_folds(labels: Path, out: Path, params: Path) -> Evaluation:
    """A project's out-of-fold tables: the stage, which writes metrics and plots. Raises UserError."""
    settings, layout = read_params(params), Layout(out)
    wanted = settings.folds.train
    metrics, notes = evaluate(labels, layout, labels=settings.labels, folds=wanted)
    others = ", ".join(map(str, sorted(layout.of_other_folds(wanted))))
    notes += [f"files of fold {others} are left out; folds.train does not name them"] if others else []
    table = read_labels(labels, **settings.labels.model_dump())
    pooled = pool([join(layout.scores(fold, views=False), table) for fold in wanted])
    areas = [metrics["folds"][str(fold)].get("macro_auc") for fold in wanted]
    by_fold = pl.DataFrame({"fold": wanted, "macro_auc": areas}, {"fold": pl.Int64, "macro_auc": pl.Float64})
    return _evaluation(pooled, metrics, notes, folds=by_fold)


def evaluate_scores(scores: Path, labels: Path, declared: LabelParams | None) -> Evaluation:
    """Any score table. `declared`: a project's settings of labels. Raises UserError."""
    metrics, notes = evaluate_table(scores, labels, labels=declared)
    joined, _ = join_tables(scores, labels, labels=declared)
    return _evaluation(joined, metrics, notes)


def _evaluation(
    scored: Scored, metrics: Mapping[str, Any], notes: Sequence[str], folds: pl.DataFrame | None = None
) -> Evaluation:
    table, areas = scored.table, scored.areas()
    precisions = average_precision_by_finding(table.y, table.mask, scored.scores)
    columns = {
        "finding": list(scored.findings),
        "images": table.mask.sum(0),
        "positives": ((table.y == 1) & table.mask).sum(0),
        "auc": areas,
        "average_precision": precisions,
    }
    return Evaluation(
        findings=pl.DataFrame(columns).with_columns(pl.col("auc", "average_precision").fill_nan(None)),
        macro_auc=macro(areas),
        macro_average_precision=macro(precisions),
        folds=folds,
        metrics=metrics,
        notes=tuple(notes),
    )
