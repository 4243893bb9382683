"""Scores against labels, as `cxrscore evaluate` and `cxrscore test`, and average precision.

In    a score table as a file, a record or a frame, and labels; or a project's out-of-fold tables.
Out   Evaluation.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cxrscore.project.option_rules import resamples as enough_resamples
from cxrscore.python_api.arguments import (
    LABELS,
    OUT,
    PARAMS,
    TEST_IMAGES,
    TEST_LABELS,
    PathLike,
    Readers,
    flag,
    one_of,
    path_or_none,
    processes,
    texts,
    whole_numbers,
)
from cxrscore.python_api.progress import shown_progress
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
    readers: Readers | None = None,
    by: Sequence[str] | None = None,
    age_bands: Sequence[int] | None = None,
    by_measures: Sequence[str] | None = None,
    by_out: PathLike | None = None,
    overwrite: bool = False,
    resamples: int = 1000,
) -> Evaluation:
    """Scores against labels: areas under the ROC curve, average precision and the other figures of `cxrscore
    evaluate`, by finding and their means, with intervals from `resamples` of the patients (at least 100; 0:
    no intervals).

    `scores` is a table that `score` wrote or returned, or a frame with ids in its first column and one column
    of probabilities per finding; its rows are images or studies. `labels` is read as the section `labels` of
    `params` says; where there is no such file, as a plain table of 0 and 1. Without `scores` the out-of-fold
    tables of a project are measured, and its metrics.json and plots are written, as the stage of the pipeline
    does. Raises UserError.

    `readers`, with `scores` alone, says what several rows of an image give, in place of the settings. `by`
    names columns of the labels, such as Sex, AgeBand (made of the ages; `age_bands`, where bands begin, is by
    default [18, 40, 60, 80]) or ViewPosition: the figures `by_measures` (by default ["auc"]; ["all"]) of each
    group and the gaps between groups are `Evaluation.subgroups`, with 95 % intervals from so many `resamples`
    of the patients (0: no intervals). They are also written to `by_out`, a .csv or .parquet file outside
    `out`, which `overwrite` may replace.

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
    from cxrscore.core.progress import Silent
    from cxrscore.evaluate import evaluate as story
    from cxrscore.evaluate import evaluate_table
    from cxrscore.evaluation.group_columns import BANDS
    from cxrscore.evaluation.subgroup_files import long_frame, write_groups
    from cxrscore.evaluation.subgroups import subgroups_of
    from cxrscore.project.evaluate_rules import check_readers, group_options
    from cxrscore.project.params_file import read_params
    from cxrscore.python_api.frames import scores_in

    if readers is not None:
        one_of("readers", readers, Readers)
    drawn = enough_resamples(resamples, called="resamples")
    named = scores.path if isinstance(scores, Scores) else scores
    options = group_options(
        texts("by", by) if by else None,
        bands=None if age_bands is None else whole_numbers("age_bands", age_bands),
        measures=None if by_measures is None else texts("by_measures", by_measures),
        table=path_or_none(by_out),
        overwrite=flag("overwrite", overwrite),
        read=[Path(labels), Path(params), *([Path(named)] if isinstance(named, str | Path) else [])],
        out=Path(out),
    )
    check_readers(readers, out_of_fold=scores is None)
    if scores is None:
        settings = read_params(Path(params))
        layout, own = Layout(Path(out)), settings.labels
        read_as: dict[str, Any] = {"id_column": own.id, "labels": own}
        how: dict[str, Any] = {"check": partial(options.check, labels_csv=Path(labels), **read_as)}
        how |= {"labels": own, "resamples": drawn}
        done = story(Path(labels), layout, folds=settings.folds.train, **how)
    else:
        declared = read_params(Path(params)).labels if Path(params).exists() else None
        table = scores_in(scores)
        read_as = {"id_column": table.id_column, "labels": declared}
        how = {"check": partial(options.check, labels_csv=Path(labels), **read_as)}
        how |= {"labels": declared, "readers": readers, "resamples": drawn}
        done = evaluate_table(table, Path(labels), **how)
    found = _evaluation_of(done)
    if not options.by:
        return found
    groups: dict[str, Any] = {"bands": options.bands or BANDS, "measures": options.measures}
    groups |= {"resamples": drawn, "progress": Silent()}
    measured, notes = subgroups_of(done.scored, Path(labels), options.by, **groups, **read_as)
    if by_out is not None:
        write_groups(Path(by_out), measured)
    return replace(found, subgroups=long_frame(measured), notes=(*found.notes, *notes))


def test(
    test_labels: PathLike = TEST_LABELS,
    test_images: PathLike = TEST_IMAGES,
    *,
    labels: PathLike = LABELS,
    out: PathLike = OUT,
    params: PathLike = PARAMS,
    workers: int | None = None,
    device: str = "auto",
    dtype: str = "auto",
    resamples: int = 1000,
    progress: bool = False,
) -> Evaluation:
    """Score and measure the held-out images with all folds and views, as the stage of the pipeline does, and
    write OUT/test_metrics.json and OUT/test. Raises UserError, also where a patient of the test is in
    `labels`; Busy, and Stopped, and then the next call resumes the run.

    Examples:
        >>> from cxrscore.api import test
        >>> found = test(device="cpu", workers=1)
        >>> found.metrics["identical_files"]
        0
    """
    from cxrscore.core.paths import Layout
    from cxrscore.project.params_file import read_params

    decoders, drawn = processes(workers), enough_resamples(resamples, called="resamples")
    settings = read_params(Path(params))

    from cxrscore.core.device import choose_machine
    from cxrscore.test import test as story

    with shown_progress(progress) as shown:
        done = story(
            Path(test_labels),
            Path(test_images),
            labels_csv=Path(labels),
            layout=Layout(Path(out)),
            params=settings,
            machine=choose_machine(device, dtype),
            progress=shown,
            workers=decoders,
            resamples=drawn,
        )
    return _evaluation_of(done)


def _evaluation_of(measured: "Measured") -> Evaluation:
    """`folds` is a frame where the folds were measured."""
    import polars as pl

    from cxrscore.evaluation.statistics_table import COLUMNS
    from cxrscore.statistics.estimates import MACRO

    metrics, notes, scored, statistics = measured
    table, figures = scored.table, statistics.figures
    columns = {
        "finding": list(scored.findings),
        "images": table.mask.sum(0),
        "positives": ((table.y == 1) & table.mask).sum(0),
        "auc": [figures["auc", name].value for name in scored.findings],
        "average_precision": [figures["average_precision", name].value for name in scored.findings],
    }
    rows = [(*key, one.value, one.low, one.high, one.why) for key, one in figures.items()]
    schema_of_figures = dict.fromkeys(COLUMNS, pl.String) | dict.fromkeys(
        ("value", "low", "high"), pl.Float64
    )
    by_fold = [
        (int(fold), area.get("macro_auc"))
        for fold, area in metrics.get("folds", {}).items()
        if fold != "mean"
    ]
    schema = {"fold": pl.Int64, "macro_auc": pl.Float64}
    return Evaluation(
        findings=pl.DataFrame(columns).with_columns(pl.col("auc", "average_precision").fill_nan(None)),
        macro_auc=figures["auc", MACRO].value,
        macro_average_precision=figures["average_precision", MACRO].value,
        statistics=pl.DataFrame(rows, schema_of_figures, orient="row").with_columns(
            pl.col(pl.Float64).fill_nan(None)
        ),
        folds=pl.DataFrame(by_fold, schema, orient="row") if by_fold else None,
        metrics=metrics,
        notes=tuple(notes),
    )
