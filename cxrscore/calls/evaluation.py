"""Scores against labels, as an Evaluation: what `cxrscore evaluate` measures, and average precision.

In    what the stage `evaluate` or `evaluate_table` has measured.
Out   Evaluation.
"""

import polars as pl

from cxrscore.calls.records import Evaluation
from cxrscore.evaluate import Measured
from cxrscore.evaluation.average_precision import average_precision_by_finding
from cxrscore.evaluation.metrics import macro


def evaluation_of(measured: Measured) -> Evaluation:
    """`folds` is a frame where the folds were measured."""
    metrics, notes, scored = measured
    table, areas = scored.table, scored.areas()
    precisions = average_precision_by_finding(table.y, table.mask, scored.scores)
    columns = {
        "finding": list(scored.findings),
        "images": table.mask.sum(0),
        "positives": ((table.y == 1) & table.mask).sum(0),
        "auc": areas,
        "average_precision": precisions,
    }
    by_fold = [
        (int(fold), area.get("macro_auc"))
        for fold, area in metrics.get("folds", {}).items()
        if fold != "mean"
    ]
    schema = {"fold": pl.Int64, "macro_auc": pl.Float64}
    return Evaluation(
        findings=pl.DataFrame(columns).with_columns(pl.col("auc", "average_precision").fill_nan(None)),
        macro_auc=macro(areas),
        macro_average_precision=macro(precisions),
        folds=pl.DataFrame(by_fold, schema, orient="row") if by_fold else None,
        metrics=metrics,
        notes=tuple(notes),
    )
