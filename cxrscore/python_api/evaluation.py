"""Scores against labels, as `cxrscore evaluate`, and average precision.

In    a score table as a file, a record or a frame, and labels; or a project's out-of-fold tables.
Out   Evaluation.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from cxrscore.python_api.arguments import LABELS, OUT, PARAMS, PathLike
from cxrscore.python_api.records import Evaluation, Scores

if TYPE_CHECKING:
    import polars as pl

    from cxrscore.evaluate import Measured


def evaluate(
    scores: "PathLike | Scores | pl.DataFrame | None" = None,
    labels: PathLike = LABELS,
    *,
    out: PathLike = OUT,
    params: PathLike = PARAMS,
) -> Evaluation:
    """Scores against labels: areas under the ROC curve and average precision, by finding and their means.

    `scores` is a table that `score` wrote or returned, or a frame with ids in its first column and one column
    of probabilities per finding. `labels` is read as the section `labels` of `params` says; where there is
    no such file, as a plain table of 0 and 1. Without `scores` the out-of-fold tables of a project are
    measured, and its metrics.json and plots are written, as the stage of the pipeline does. Raises UserError.

    Examples:
        >>> from cxrscore.api import evaluate, score
        >>> scores = score("data/test", device="cpu", workers=1)
        >>> found = evaluate(scores, "data/test_labels.csv")
        >>> found.findings.columns
        ['finding', 'images', 'positives', 'auc', 'average_precision']
        >>> 0 <= found.macro_auc <= 1
        True
    """
    from cxrscore.core.paths import Layout
    from cxrscore.evaluate import evaluate as story
    from cxrscore.evaluate import evaluate_table
    from cxrscore.project.params_file import read_params
    from cxrscore.python_api.frames import scores_in

    if scores is None:
        settings = read_params(Path(params))
        done = story(Path(labels), Layout(Path(out)), labels=settings.labels, folds=settings.folds.train)
    else:
        declared = read_params(Path(params)).labels if Path(params).exists() else None
        done = evaluate_table(scores_in(scores), Path(labels), labels=declared)
    return _evaluation_of(done)


def _evaluation_of(measured: "Measured") -> Evaluation:
    """`folds` is a frame where the folds were measured."""
    import polars as pl

    from cxrscore.evaluation.average_precision import average_precision_by_finding
    from cxrscore.evaluation.metrics import macro

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
