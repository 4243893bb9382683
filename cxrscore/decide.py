"""Out-of-fold scores -> what is decided by scores: calibration maps, thresholds, limits of abstention; and
how well they do where they were not chosen.

In    out/oof/fold{k}.views.csv, data/labels.csv, the checkpoints in out/models; where there is a held-out
      test, each fold's scores of it (out/test/scores.csv.folds.csv) and its labels.
Out   out/decisions.json, sealed, which `score --calibrated`, `--binary` and `--abstain` read; out/decisions,
      tables for the report; out/decision_metrics.json.

An image out of fold is scored by one model (decisions/out_of_fold.py). `score` writes the mean of all models,
which is another score: on the held-out test everything is therefore measured with that mean.
"""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cxrscore.core.errors import UserError
from cxrscore.core.files import sha256_file, write_text
from cxrscore.core.paths import Layout
from cxrscore.decisions.abstention import (
    CONFORMAL,
    DISAGREEMENT,
    doubt,
    kept_by_all,
)
from cxrscore.decisions.decision_file import Decisions, write_decisions
from cxrscore.decisions.fold_maps import FEWEST as FEWEST_OF_A_FOLD
from cxrscore.decisions.fold_maps import (
    FEWEST_POOLED,
    NONE,
    POOLED,
    cross_calibrated,
    fit_fold_maps,
)
from cxrscore.decisions.measured import (
    AREA,
    ERRORS,
    coverage_rows,
    coverages,
    curve_rows,
    error_rows,
    headlines,
    kept_calls,
    kept_headlines,
    predictive_rows,
    ruled_out,
    spread_of,
    threshold_rows,
    with_scores,
)
from cxrscore.decisions.out_of_fold import (
    ALL_CALLS,
    OUT_OF_FOLD,
    RULE,
    Measured,
    choose,
    fitted,
    measure_out_of_fold,
)
from cxrscore.decisions.thresholds import calls_of
from cxrscore.evaluation.fold_trainings import check_tables, notes_on_patients
from cxrscore.evaluation.held_out import read_test_labels
from cxrscore.evaluation.joined_scores import join, pool
from cxrscore.model.checkpoint import read_card
from cxrscore.statistics.intervals import FEWEST
from cxrscore.statistics.sample import Sample
from cxrscore.tables.csv_table import write_table
from cxrscore.tables.fold_scores import read_fold_scores
from cxrscore.tables.label_table import LabelTable
from cxrscore.tables.labels import read_labels
from cxrscore.tables.score_table import ScoreTable, read_scores

if TYPE_CHECKING:
    from cxrscore.project.params import DecideParams, LabelParams

TEST = "test"
Floats = NDArray[np.float64]
ERROR_COLUMNS = [f"{name}_{when}" for name in (*ERRORS, *AREA) for when in ("before", "after")]
COLUMNS = {
    "calibration": ["scores", "finding", "images", "positives", *ERROR_COLUMNS],
    "thresholds": [
        *("scores", "rule", "finding", "threshold"),
        *("positives", "negatives", "sensitivity", "specificity", "reached"),
    ],
    "coverage": ["scores", "finding", "truth", "patients", "images", "coverage", "low", "high", "kept"],
    "predictive": ["scores", "kept_by", "finding", "call", "patients", "calls", "right", "low", "high"],
    "curve": ["scores", "by", "finding", "kept", "accuracy", "ppv", "npv"],
}


class Decided(NamedTuple):
    """Numbers as they are written, and notes on what was decided from too little."""

    metrics: dict[str, Any]
    notes: list[str]


def decide(
    labels_csv: Path,
    layout: Layout,
    *,
    labels: "LabelParams",
    folds: Sequence[int],
    params: "DecideParams",
    test_labels_csv: Path,
) -> Decided:
    """The stage. Without a file of test labels there is no held-out test. Raises UserError."""
    folds = sorted(folds)  # as `score` orders models
    table = read_labels(labels_csv, **labels.model_dump())
    parts = [join(read_scores(layout.scores(fold, views=True)), table) for fold in folds]
    checked = check_tables(
        layout, {(fold, True): part.table.ids for fold, part in zip(folds, parts, strict=True)}
    )
    checked += notes_on_patients(pool(parts).table, np.repeat(folds, [len(part.scores) for part in parts]))
    models, views = _models(layout, folds, parts[0].findings)
    whole, fold = pool(parts).sample(), np.repeat(folds, [len(part.scores) for part in parts])
    samples = [whole.rows(fold == one) for one in folds]
    crossed = with_scores(whole, np.concatenate(cross_calibrated(samples)))
    chosen = choose(crossed, params)
    decisions = Decisions(
        findings=tuple(parts[0].findings),
        models=models,
        views=views,
        settings=params.model_dump(),
        maps=fit_fold_maps(samples),
        thresholds=chosen[0],
        limits=chosen[1],
    )
    measured = {OUT_OF_FOLD: measure_out_of_fold(whole, crossed, fold, decisions, params)}
    test = _test(test_labels_csv, table, labels, layout, decisions)
    if test is not None:
        measured[TEST] = _measure_test(*test, decisions, crossed)
    write_decisions(layout.decisions, decisions)
    for name, columns in COLUMNS.items():
        rows = (row for found in measured.values() for row in found.rows[name])
        write_table(layout.decision_tables / f"{name}.csv", columns, rows)
    metrics = dict(measured[OUT_OF_FOLD].metrics)
    if test is not None:
        metrics["test"] = measured[TEST].metrics
    write_text(layout.decision_metrics, json.dumps(metrics, indent=1) + "\n")
    return Decided(
        metrics,
        [*checked, *_notes(decisions, whole), *_notes_on_test(layout, test_labels_csv, test)],
    )


def _models(
    layout: Layout, folds: Sequence[int], findings: Sequence[str]
) -> tuple[tuple[tuple[int, str], ...], tuple[str, ...]]:
    """Fold and sha256 of each checkpoint, in fold order as `score` has them, and the views that they
    average."""
    views = set()
    for fold in folds:
        path = layout.checkpoint(fold)
        card = read_card(path)
        if card.fold != fold or list(card.findings) != list(findings):
            raise UserError(
                f"{path}: of another fold or other findings than {layout.scores(fold, views=True)}; run "
                "`dvc repro`."
            )
        views.add(tuple(card.views))
    if len(views) > 1:
        raise UserError(f"{path}: averages other views than the other folds; train them again with the same.")
    return tuple((fold, sha256_file(layout.checkpoint(fold))) for fold in folds), views.pop()


def _measure_test(
    sample: Sample, by_fold: NDArray[np.float32], decisions: Decisions, chosen_on: Sample
) -> Measured:
    """`by_fold` (F, n, L): each model's scores of the images of `sample`, whose scores are their plain
    mean."""
    calibrated = decisions.maps.calibrated(by_fold)
    probs = calibrated.mean(0)
    made = {rule: calls_of(probs, thresholds) for rule, thresholds in decisions.thresholds.items()}
    errors = list(error_rows(TEST, sample, probs, areas=True))
    kept = kept_calls(probs, decisions.thresholds[RULE], decisions.limits)
    found = coverages(sample, ruled_out(sample, probs, decisions.limits), kept)
    calls = made[RULE]
    agreed = kept_by_all(calibrated, calls, decisions.thresholds[RULE])
    ways = {ALL_CALLS: ~np.isnan(calls), CONFORMAL: kept, DISAGREEMENT: agreed}
    rows = {
        "calibration": errors,
        "thresholds": list(threshold_rows(TEST, sample, decisions.thresholds, made)),
        "coverage": list(coverage_rows(TEST, found)),
        "predictive": list(predictive_rows(TEST, sample, calls, ways)),
        "curve": [
            *curve_rows(TEST, CONFORMAL, sample, calls, doubt(chosen_on, probs, calls)),
            *curve_rows(TEST, DISAGREEMENT, sample, calls, spread_of(calibrated)),
        ],
    }
    numbers = headlines(errors, found, fitted(decisions)) | kept_headlines(sample, calls, kept)
    return Measured(rows, numbers)


def _test(
    test_labels_csv: Path, training: LabelTable, labels: "LabelParams", layout: Layout, decisions: Decisions
) -> tuple[Sample, NDArray[np.float32]] | None:
    """The held-out test's sample, with each fold's scores (F, n, L); None where there is none, or was not
    scored."""
    path = layout.test_fold_scores
    if not (test_labels_csv.is_file() and path.is_file()):
        return None
    table, _ = read_test_labels(test_labels_csv, training, labels=labels)
    found = read_fold_scores(path)
    if tuple(found.models) != decisions.models or tuple(found.findings) != decisions.findings:
        raise UserError(
            f"{path}: scores of other checkpoints than those in {layout.models}; run `cxrscore test`."
        )
    mean = found.by_fold.mean(0, dtype=np.float64)
    scores = ScoreTable(found.id_column, found.ids, found.findings, mean, (), str(path))
    return join(scores, table).sample(), found.by_fold


def _notes(decisions: Decisions, whole: Sample) -> Iterator[str]:
    """`whole`: of all folds; said of a finding that lacks something are its patients with and without it."""
    patients = [f"{with_it:,} and {without:,}" for with_it, without in zip(*whole.shown(), strict=True)]
    told = [f"{name} ({both})" for name, both in zip(decisions.findings, patients, strict=True)]
    show = "show it, or do not"
    few_of_a_fold = f"fewer than {FEWEST_OF_A_FOLD} patients of a fold {show}"
    one_for_all = f"calibrated by one map for all folds, as {few_of_a_fold}"
    as_it_is = f"not calibrated, as fewer than {FEWEST_POOLED} patients {show}"
    for source, words in ((POOLED, one_for_all), (NONE, as_it_is)):
        if names := [
            name for name, found in zip(told, decisions.maps.source, strict=True) if found == source
        ]:
            yield f"{words}: {', '.join(names)}"
    without = np.isnan(decisions.thresholds[RULE])
    if names := [name for name, none in zip(told, without, strict=True) if none]:
        yield f"no threshold, as fewer than {FEWEST} patients {show}: {', '.join(names)}"


def _notes_on_test(layout: Layout, test_labels_csv: Path, test: object) -> Iterator[str]:
    if test is None and test_labels_csv.is_file():
        yield (
            f"{layout.test_fold_scores}: not there, so nothing is measured on the held-out test; run "
            "`cxrscore test`"
        )
