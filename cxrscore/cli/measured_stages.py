"""The pipeline's commands that measure scores: evaluate, test and decide, one per DVC stage.

In    labels, score tables, out/ as the stages before have left it, params.yaml.
Out   what the stage writes in out/; figures on stdout, notes on stderr.
"""

from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from cxrscore.cli.evaluate_options import AgeBands, By, ByMeasures, ByOut, Readers
from cxrscore.cli.evaluation_text import metrics_blocks
from cxrscore.cli.messages import decision_blocks, on_terminal, resumable, show, tell
from cxrscore.cli.options import (
    CORES,
    INPUT,
    LABELS,
    OUT,
    PARAMS,
    TEST_IMAGES,
    TEST_LABELS,
    AsJson,
    Device,
    LabelsCsv,
    Out,
    Overwrite,
    ParamsFile,
    Resamples,
    TrainingDtype,
    Workers,
    age_list,
    name_list,
)


def evaluate(
    scores: Annotated[
        Path | None,
        typer.Option(
            "--scores",
            metavar="TABLE",
            help="Score table, CSV or Parquet, of images or studies (default: the out-of-fold scores).",
            rich_help_panel=INPUT,
        ),
    ] = None,
    labels: LabelsCsv = LABELS,
    readers: Readers = None,
    by: By = None,
    age_bands: AgeBands = None,
    by_measures: ByMeasures = None,
    by_out: ByOut = None,
    overwrite: Overwrite = False,
    out: Out = OUT,
    params: ParamsFile = PARAMS,
    resamples: Resamples = 1000,
    as_json: AsJson = False,
) -> None:
    """Measure scores against labels, with intervals.

    Per finding: area under the ROC curve, average precision, Brier score, calibration, sensitivity at 90 %
    specificity and the reverse; of all findings together: CP to OF1, F1, subset accuracy, Hamming loss.
    Intervals are over patients. Out-of-fold metrics are written to out/metrics.json, all figures to
    out/plots/statistics.csv. With --by, groups of images are measured as well, and how far apart they are.

    Example: cxrscore evaluate --scores sub.csv --labels data/test_labels.csv

    Example: cxrscore evaluate --by Sex,AgeBand,ViewPosition
    """
    from cxrscore.core.paths import Layout
    from cxrscore.evaluate import evaluate, evaluate_table
    from cxrscore.evaluation.statistics_table import as_facts
    from cxrscore.project.evaluate_rules import check_readers, group_options
    from cxrscore.project.params_file import read_params
    from cxrscore.tables.score_file import read_score_file

    options = group_options(
        None if by is None else name_list(by),
        bands=age_list(age_bands) if age_bands is not None else None,
        measures=name_list(by_measures) if by_measures is not None else None,
        table=by_out,
        overwrite=overwrite,
        read=[labels, params, scores],
        out=out,
    )
    check_readers(readers, out_of_fold=scores is None)
    with on_terminal() as progress:
        how: Any = {"resamples": resamples, "progress": progress}
        if scores is None:
            settings = read_params(params)
            read_as: dict[str, Any] = {"id_column": settings.labels.id, "labels": settings.labels}
            check = partial(options.check, labels_csv=labels, **read_as)
            folds = settings.folds.train
            found = evaluate(labels, Layout(out), labels=settings.labels, folds=folds, check=check, **how)
        else:
            declared = read_params(params).labels if params.exists() else None
            table = read_score_file(scores)
            read_as = {"id_column": table.id_column, "labels": declared}
            check = partial(options.check, labels_csv=labels, **read_as)
            found = evaluate_table(table, labels, labels=declared, readers=readers, check=check, **how)
    tell(found.notes)
    facts = found.metrics | as_facts(found.statistics)
    if not options.by:
        show(facts, metrics_blocks, as_json=as_json)
        return

    from cxrscore.evaluation.subgroup_files import write_groups
    from cxrscore.evaluation.subgroup_tables import as_json as groups_json
    from cxrscore.evaluation.subgroup_tables import blocks
    from cxrscore.evaluation.subgroups import subgroups_of

    with on_terminal() as progress:
        how = {"resamples": resamples, "progress": progress, "measures": options.measures}
        how |= {"bands": options.bands} if options.bands else {}
        measured, notes = subgroups_of(found.scored, labels, options.by, **read_as, **how)
    tell(notes)
    if by_out is not None:
        write_groups(by_out, measured)
    facts |= {"by": groups_json(measured)}
    show(facts, lambda facts: [*metrics_blocks(facts), *blocks(measured)], as_json=as_json)


TestLabels = Annotated[
    Path,
    typer.Option("--test-labels", help="Label table of the held-out images.", rich_help_panel=INPUT),
]
TestImages = Annotated[
    Path,
    typer.Option("--test-images", help="Folder of the held-out images.", rich_help_panel=INPUT),
]


def test(
    test_labels: TestLabels = TEST_LABELS,
    test_images: TestImages = TEST_IMAGES,
    labels: LabelsCsv = LABELS,
    out: Out = OUT,
    params: ParamsFile = PARAMS,
    workers: Workers = CORES,
    device: Device = "auto",
    dtype: TrainingDtype = "auto",
    resamples: Resamples = 1000,
    as_json: AsJson = False,
) -> None:
    """Score and measure held-out images with all folds.

    The scores are means over all trained folds and the views of train.views. Patients who are in the training
    table are refused. Metrics are written to out/test_metrics.json, all figures to out/test/statistics.csv.

    Example: cxrscore test
    """
    from cxrscore.core.paths import Layout
    from cxrscore.project.params_file import read_params

    settings = read_params(params)

    from cxrscore.core.device import choose_machine
    from cxrscore.evaluation.statistics_table import as_facts
    from cxrscore.test import test

    with resumable(), on_terminal() as progress:
        found = test(
            test_labels,
            test_images,
            labels_csv=labels,
            layout=Layout(out),
            params=settings,
            machine=choose_machine(device, dtype),
            progress=progress,
            workers=workers,
            resamples=resamples,
        )
    tell(found.notes)
    show(found.metrics | as_facts(found.statistics), metrics_blocks, as_json=as_json)


def decide(
    labels: LabelsCsv = LABELS,
    test_labels: TestLabels = TEST_LABELS,
    out: Out = OUT,
    params: ParamsFile = PARAMS,
    as_json: AsJson = False,
) -> None:
    """Calibrate scores and choose thresholds, out of fold.

    Writes out/decisions.json for `score --calibrated`, `--binary` and `--abstain`. Where `test` has scored
    held-out images, everything is also measured on them, with the means that `score` gives.

    Example: cxrscore decide
    """
    from cxrscore.core.paths import Layout
    from cxrscore.decide import decide
    from cxrscore.project.params_file import read_params

    settings = read_params(params)
    found = decide(
        labels,
        Layout(out),
        labels=settings.labels,
        folds=settings.folds.train,
        params=settings.decide,
        test_labels_csv=test_labels,
    )
    tell(found.notes)
    show(found.metrics, decision_blocks, as_json=as_json)
