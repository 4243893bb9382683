"""Metrics are scikit-learn's, of the right rows; what is undefined is absent and counted."""

import csv
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from conftest import Project
from sklearn.metrics import roc_auc_score

from cxrscore.core.errors import UserError
from cxrscore.core.paths import Layout
from cxrscore.evaluate import Measured, evaluate, evaluate_table, summarise
from cxrscore.evaluation.head_pictures import Picture, write_learned
from cxrscore.project.params import LabelParams
from cxrscore.report import write_report
from cxrscore.tables.score_file import read_score_file
from cxrscore.tables.score_table import read_scores

LABELS = LabelParams(
    format="table",
    id="Image_name",
    patient="Patient_ID",
    patient_pattern=None,
    study=None,
    patient_ids="text",
    findings=["Edema", "Fracture"],
    blank="zero",
    uncertain="ignore",
    readers="error",
)
TRUTH = """Image_name,Patient_ID,Edema,Fracture
a,1,1,0
b,1,0,0
c,2,1,0
d,3,0,0
e,3,-1,0
"""
SCORES = {
    "fold0": "Image_name,Edema,Fracture\na,0.9,0.5\nd,0.6,0.5\nc,0.4,0.5\n",
    "fold0.views": "Image_name,Edema,Fracture\na,0.9,0.5\nd,0.6,0.5\nc,0.7,0.5\n",
    "fold1": "Image_name,Edema,Fracture\nb,0.5,0.1\ne,0.99,0.2\n",
    "fold1.views": "Image_name,Edema,Fracture\nb,0.5,0.1\ne,0.01,0.2\n",
}


OF_SCORES = ("auc.csv", "auc_pooled.csv", "correlations.csv", "histograms.csv", "pr.csv", "roc.csv")
OF_SCORES += ("statistics.csv", "worst_images.csv")
HEAD = {"kind": "coupling", "alpha": 0.3}


def a_project(
    root: Path,
    learned: tuple[dict[str, Picture], ...] = ({}, {}),
    heads: tuple[dict[str, Any], ...] = (HEAD, HEAD),
    **other: str,
) -> tuple[Path, Layout]:
    """labels.csv, out-of-fold tables, what both folds' heads learned; `other` replaces a table."""
    (root / "labels.csv").write_text(TRUTH)
    (root / "out" / "oof").mkdir(parents=True)
    for name, text in (SCORES | other).items():
        (root / "out" / "oof" / f"{name}.csv").write_text(text)
        findings = text.splitlines()[0].split(",")[1:]
        fold = int(name[4])
        write_learned(Layout(root / "out").learned(fold), findings, learned[fold], head=heads[fold])
    return root / "labels.csv", Layout(root / "out")


def measure(root: Path, **other: str) -> dict[str, Any]:
    labels_csv, layout = a_project(root, **other)
    return evaluate(labels_csv, layout, labels=LABELS, folds=[0, 1])[0]


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def areas_of(labels_csv: Path, *tables: Path) -> dict[str, float]:
    """By scikit-learn: finding -> area over the rows of all tables, where both classes are there."""
    y_of = {row["Image_name"]: row for row in rows_of(labels_csv)}
    rows = [row for table in tables for row in rows_of(table)]
    areas = {}
    for finding in list(rows[0])[1:]:
        y = [int(y_of[row["Image_name"]][finding]) for row in rows]
        if len(set(y)) == 2:
            areas[finding] = roc_auc_score(y, [float(row[finding]) for row in rows])
    return areas


def numbers(metrics: dict[str, Any]) -> list[float]:
    """The leaves of nested dicts; anything else fails."""
    found = []
    for name, value in metrics.items():
        assert isinstance(name, str)
        if isinstance(value, dict):
            found += numbers(value)
        else:
            assert type(value) in (int, float), (name, value)
            found.append(value)
    return found


def test_metrics_are_scikit_learns_pooled_by_fold_mean_and_views(project: Project) -> None:
    metrics = json.loads(project.layout.metrics.read_text())
    plain = [project.layout.scores(fold, views=False) for fold in (0, 1)]
    averaged = [project.layout.scores(fold, views=True) for fold in (0, 1)]
    pooled = areas_of(project.labels, *plain)
    assert metrics["auc"] == pytest.approx(pooled, abs=1e-5)
    assert list(metrics["auc"]) == list(pooled)
    assert metrics["findings_defined"] == len(pooled) < len(project.params.labels.findings)
    assert metrics["macro_auc"] == pytest.approx(np.mean([*pooled.values()]), abs=1e-5)
    both = np.mean([*areas_of(project.labels, *averaged).values()])
    assert metrics["views"]["macro_auc"] == pytest.approx(both, abs=1e-5)
    folds = [np.mean([*areas_of(project.labels, table).values()]) for table in plain]
    for fold in (0, 1):
        assert metrics["folds"][str(fold)]["macro_auc"] == pytest.approx(folds[fold], abs=1e-5)
    assert metrics["folds"]["mean"]["macro_auc"] == pytest.approx(np.mean(folds), abs=1e-5)


def test_every_labelled_image_and_patient_is_counted(project: Project) -> None:
    metrics, rows = json.loads(project.layout.metrics.read_text()), rows_of(project.labels)
    assert metrics["images"] == len(rows)
    assert metrics["patients"] == len({row["Patient_ID"] for row in rows})


def test_metrics_hold_nested_numbers_only(project: Project) -> None:
    def refuse(word: str) -> float:
        raise AssertionError(f"{word} is not a number for DVC")

    metrics = json.loads(project.layout.metrics.read_text(), parse_constant=refuse)
    assert all(math.isfinite(number) for number in numbers(metrics))


def test_a_finding_of_one_class_is_absent_and_a_masked_label_counts_nowhere(tmp_path: Path) -> None:
    assert measure(tmp_path) == {
        "macro_auc": 0.5,  # a 0.9 over d 0.6 and b 0.5; c 0.4 under both; e is uncertain
        "ap_all": 0.64286,  # two positives, first and seventh of nine known pairs: (1 + 2 / 7) / 2
        "map": 0.75,  # of Edema: first, then last of four: (1 + 2 / 4) / 2
        "brier": 0.2025,  # Edema: 0.1, 0.6, 0.6, 0.5 squared: 0.245; Fracture: 0.5, 0.5, 0.5, 0.1, 0.2: 0.16
        "calibration_error": 0.405,  # Edema (0.1 + 0.6 + 0.6 + 0.5) / 4; Fracture (1.5 + 0.1 + 0.2) / 5
        "images": 5,
        "findings_defined": 1,
        "patients": 3,
        "auc": {"Edema": 0.5},
        "views": {"macro_auc": 1.0},
        "folds": {"0": {"macro_auc": 0.5}, "1": {}, "mean": {"macro_auc": 0.5}},
    }


def figures_of(path: Path) -> dict[tuple[str, str], dict[str, str]]:
    return {(row["measure"], row["finding"]): row for row in rows_of(path)}


def test_every_figure_stands_in_a_table_and_what_is_undefined_does_not(tmp_path: Path) -> None:
    measure(tmp_path)
    rows = figures_of(tmp_path / "out" / "plots" / "statistics.csv")
    assert {key: row["value"] for key, row in rows.items() if "Edema" in key} == {
        ("auc", "Edema"): "0.50000",
        ("average_precision", "Edema"): "0.75000",
        ("brier", "Edema"): "0.24500",
        ("calibration_error", "Edema"): "0.45000",
        ("calibration_intercept", "Edema"): rows["calibration_intercept", "Edema"]["value"],
        ("calibration_slope", "Edema"): rows["calibration_slope", "Edema"]["value"],
        ("sensitivity_at_specificity_90", "Edema"): "0.50000",
        ("specificity_at_sensitivity_90", "Edema"): "0.00000",
        ("prevalence", "Edema"): "0.50000",
        ("patients_with", "Edema"): "2",
        ("patients_without", "Edema"): "2",
    }
    assert ("auc", "Fracture") not in rows and rows["prevalence", "Fracture"]["value"] == "0.00000"
    assert rows["or", "all findings"]["value"] == "0.50000"
    assert rows["labels_per_image_mean", "all findings"]["value"] == "0.40000"
    assert {row["low"] for row in rows.values()} == {""}  # of three patients nothing can be said
    assert "fewer than" in rows["auc", "Edema"]["why"] and rows["patients_with", "Edema"]["why"] == ""


def test_figures_in_the_table_lie_within_their_intervals_and_the_headlines_are_among_them(
    tmp_path: Path,
) -> None:
    draw = np.random.default_rng(0)
    y = draw.integers(0, 2, (90, 2))
    scores = np.clip(0.25 + 0.3 * y + 0.2 * draw.random(y.shape), 0, 1)
    truth = "".join(f"i{i},{i % 45},{a},{b}\n" for i, (a, b) in enumerate(y))
    lines = [f"i{i},{a:.4f},{b:.4f}\n" for i, (a, b) in enumerate(scores)]
    tables = {
        f"fold{fold}{views}": "Image_name,Edema,Fracture\n" + "".join(lines[fold::2])
        for fold in (0, 1)
        for views in ("", ".views")
    }
    labels_csv, layout = a_project(tmp_path, **tables)
    labels_csv.write_text("Image_name,Patient_ID,Edema,Fracture\n" + truth)
    found = evaluate(labels_csv, layout, labels=LABELS, folds=[0, 1], resamples=200)
    rows = figures_of(layout.plots / "statistics.csv")
    assert all(
        float(row["low"]) <= float(row["value"]) <= float(row["high"]) for row in rows.values() if row["low"]
    )
    assert rows["brier", "macro"]["low"] < rows["brier", "macro"]["high"]
    for name, key in (("map", "average_precision"), ("brier", "brier"), ("macro_auc", "auc")):
        assert found.metrics[name] == float(rows[key, "macro"]["value"])
    assert any("scores of 2 models are pooled" in note for note in found.notes)
    without = evaluate(labels_csv, layout, labels=LABELS, folds=[0, 1], resamples=0)
    assert without.metrics == found.metrics
    bare = figures_of(layout.plots / "statistics.csv")
    assert {key: row["value"] for key, row in bare.items()} == {
        key: row["value"] for key, row in rows.items()
    }
    assert {row["low"] for row in bare.values()} == {""}


def test_the_study_metric_is_of_scores_replaced_by_the_mean_over_their_study(project: Project) -> None:
    truth = {row["Image_name"]: row for row in rows_of(project.labels)}
    scores = {
        row["Image_name"]: row for fold in (0, 1) for row in rows_of(project.layout.scores(fold, views=True))
    }
    areas = []
    for finding in project.params.labels.findings:
        y, means = [], []
        for name, row in truth.items():
            study = [
                float(scores[other][finding])
                for other in truth
                if (truth[other]["Patient_ID"], truth[other]["Study"]) == (row["Patient_ID"], row["Study"])
            ]
            y.append(int(truth[name][finding]))
            means.append(round(float(np.mean(study)), 12))  # a study's images tie, whatever the order of sums
        if len(set(y)) == 2:
            areas.append(roc_auc_score(y, means))
    metrics = json.loads(project.layout.metrics.read_text())
    assert metrics["study"] == {"macro_auc": pytest.approx(np.mean(areas), abs=1e-5)}
    assert metrics["study"] != metrics["views"]


STUDIES = "Image_name,Study,Edema\na,s,1\nb,s,1\nc,t,0\nd,u,0\n"  # s is in both folds


def test_a_study_in_two_folds_is_averaged_in_each_for_itself(tmp_path: Path) -> None:
    tables = {"fold0": "Image_name,Edema\na,0.9\nc,0.5\n", "fold1": "Image_name,Edema\nb,0.1\nd,0.4\n"}
    views = {f"{name}.views": text for name, text in tables.items()}
    labels_csv, layout = a_project(tmp_path, **tables, **views)
    labels_csv.write_text(STUDIES)
    labels = LABELS.model_copy(update={"patient": None, "study": "Study", "findings": ["Edema"]})
    metrics, *_ = evaluate(labels_csv, layout, labels=labels, folds=[0, 1])
    assert metrics["study"] == metrics["views"] == {"macro_auc": 0.5}  # b stays under c and d


def test_a_score_table_is_measured_by_study_where_the_labels_tell_it(tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_text(STUDIES)
    (tmp_path / "sub.csv").write_text("Image_name,Edema\na,0.9\nb,0.1\nc,0.4\nd,0.2\n")
    labels = LABELS.model_copy(update={"patient": None, "study": "Study"})
    metrics, *_ = evaluate_table(read_scores(tmp_path / "sub.csv"), tmp_path / "labels.csv", labels=labels)
    assert (metrics["macro_auc"], metrics["study"]) == (0.5, {"macro_auc": 1.0})
    unknown, *_ = evaluate_table(read_scores(tmp_path / "sub.csv"), tmp_path / "labels.csv", labels=None)
    assert "study" not in unknown


def test_the_file_holds_what_is_returned(tmp_path: Path) -> None:
    metrics = measure(tmp_path)
    assert json.loads((tmp_path / "out" / "metrics.json").read_text()) == metrics


def test_the_table_of_areas_has_a_row_for_each_fold_view_and_finding(tmp_path: Path) -> None:
    measure(tmp_path)
    assert (tmp_path / "out/plots/auc.csv").read_text() == (
        "fold,view,finding,auc,positives\n"
        "all,one,Edema,0.50000,2\n"
        "all,one,Fracture,,0\n"
        "all,views,Edema,1.00000,2\n"
        "all,views,Fracture,,0\n"
        "0,one,Edema,0.50000,2\n"
        "0,one,Fracture,,0\n"
        "1,one,Edema,,0\n"
        "1,one,Fracture,,0\n"
    )


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"fold1": SCORES["fold1"].replace("\nb", "\na")}, "an image was validated in two folds"),
        ({"fold1": SCORES["fold1"].replace("\nb", "\nx")}, r"fold1.csv: 1 row is not in .*labels.csv: 'x'"),
        (
            {"fold1": SCORES["fold1"].replace("Edema", "Oedema")},
            "fold1.csv: scores Oedema, Fracture; the labels",
        ),
        (
            {"fold0.views": "Image_name,Fracture,Edema\na,0.1,0.2\n"},
            "scores Fracture, Edema; the labels hold Edema, Fracture",
        ),
        ({"fold1": SCORES["fold1"].replace("0.99", "nan")}, r"fold1.csv:3: Edema: a number from 0 to 1"),
    ],
    ids=["overlap", "unknown image", "other findings", "other order", "not a number"],
)
def test_tables_of_another_split_or_model_are_refused(
    tmp_path: Path, other: dict[str, str], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        measure(tmp_path, **other)
    assert not (tmp_path / "out" / "metrics.json").exists()


def test_a_fold_without_its_table_is_named(tmp_path: Path) -> None:
    labels_csv, layout = a_project(tmp_path)
    with pytest.raises(UserError, match=r"fold2.csv: No such file"):
        evaluate(labels_csv, layout, labels=LABELS, folds=[0, 1, 2])


def test_files_of_folds_that_are_not_trained_are_noted(tmp_path: Path) -> None:
    labels_csv, layout = a_project(tmp_path)
    assert not any(
        "are left out" in note for note in evaluate(labels_csv, layout, labels=LABELS, folds=[0, 1]).notes
    )
    (layout.oof / "fold2.csv").write_text(SCORES["fold0"])
    notes = evaluate(labels_csv, layout, labels=LABELS, folds=[0, 1]).notes
    assert "files of fold 2 are left out, as folds.train does not list them" in notes


def test_patients_in_two_folds_are_said_as_their_figures_are_too_high(tmp_path: Path) -> None:
    labels_csv, layout = a_project(tmp_path)  # 1 and 3 are in both folds, 2 is not
    seen = "2 patients are in more than one fold: models have seen other images of patients whom they score"
    notes = evaluate(labels_csv, layout, labels=LABELS, folds=[0, 1]).notes
    assert sum(note.startswith(seen) for note in notes) == 1
    without = LABELS.model_copy(update={"patient": None})
    for labels, folds in ((without, [0, 1]), (LABELS, [0])):
        notes = evaluate(labels_csv, layout, labels=labels, folds=folds).notes
        assert not any("more than one fold" in note for note in notes)


def test_what_was_measured_is_handed_on(tmp_path: Path) -> None:
    labels_csv, layout = a_project(tmp_path)
    found = evaluate(labels_csv, layout, labels=LABELS, folds=[0, 1])
    assert list(found.scored.table.ids) == ["a", "d", "c", "b", "e"]
    assert summarise(found.scored).items() <= found.metrics.items()


def test_a_score_table_is_measured_on_its_rows_and_the_others_are_counted(tmp_path: Path) -> None:
    labels_csv, layout = a_project(tmp_path)
    metrics, notes, *_ = evaluate_table(read_scores(layout.scores(0, views=False)), labels_csv, labels=LABELS)
    assert (metrics["images"], metrics["auc"]) == (3, {"Edema": 0.5})
    assert "2 of 5 labelled images without a score" in notes
    assert any(note.startswith("AUC undefined (only one class present): ") for note in notes)


def test_a_score_table_brings_its_own_findings_in_its_own_order(tmp_path: Path) -> None:
    labels_csv, _ = a_project(tmp_path)
    (tmp_path / "sub.csv").write_text("Image_name,Fracture,Edema\na,0.5,0.9\nb,0.5,0.1\n")
    metrics, *_ = evaluate_table(read_scores(tmp_path / "sub.csv"), labels_csv, labels=LABELS)
    assert metrics["auc"] == {"Edema": 1.0}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("Image_name,Edema\na,0.5\nx,0.5\n", r"sub.csv: 1 row is not in .*labels.csv: 'x'"),
        ("Image_name,Oedema\na,0.5\n", r"labels.csv:1: no column 'Oedema'"),
        ("Image_name\na\n", "no finding beside 'Image_name'"),
        ("Image_name,Edema\na,0.5\na,0.6\n", "id 'a' is also on line 2"),
    ],
    ids=["unknown image", "unknown finding", "no finding", "an image twice"],
)
def test_a_score_table_that_does_not_fit_the_labels_is_refused(
    tmp_path: Path, text: str, message: str
) -> None:
    labels_csv, _ = a_project(tmp_path)
    (tmp_path / "sub.csv").write_text(text)
    with pytest.raises(UserError, match=message):
        evaluate_table(read_scores(tmp_path / "sub.csv"), labels_csv, labels=LABELS)


def test_scores_of_the_held_out_test_are_measured_by_its_labels_which_are_named(tmp_path: Path) -> None:
    labels_csv, _ = a_project(tmp_path)
    tested = labels_csv.with_name("test_labels.csv")
    tested.write_text(labels_csv.read_text().strip().replace("\n", "\ntest_") + "\n")
    (tmp_path / "sub.csv").write_text("Image_name,Edema\ntest_a,0.5\ntest_b,0.4\n")
    told = (
        rf"none of its 2 rows is in {labels_csv}, and all are in {tested}; name that with --labels {tested}"
    )
    with pytest.raises(UserError, match=told):
        evaluate_table(read_scores(tmp_path / "sub.csv"), labels_csv, labels=LABELS)


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_calls_are_said_to_be_calls_and_undecided_ones_are_not_measured(tmp_path: Path, ending: str) -> None:
    labels_csv, _ = a_project(tmp_path)
    path = tmp_path / f"calls.{ending}"
    frame = pl.DataFrame({"Image_name": ["a", "b", "c"], "Edema": [1.0, 0.0, 1.0]})
    for edema, calls in (([1, 0, 1], True), ([1, 0, 0.5], False)):
        frame = frame.with_columns(pl.Series("Edema", edema, dtype=pl.Float64))
        frame.write_csv(path) if ending == "csv" else frame.write_parquet(path)
        notes = evaluate_table(read_score_file(path), labels_csv, labels=LABELS).notes
        assert any("holds only 0 and 1: calls, whose AUC and calibration" in note for note in notes) == calls
    for edema, message in (
        ([1, None, 0], r"undecided, as `cxrscore score --binary --abstain` leaves .* without --binary"),
        ([1, None, 0.5], r"a number from 0 to 1"),
    ):
        frame = frame.with_columns(pl.Series("Edema", edema, dtype=pl.Float64))
        frame.write_csv(path) if ending == "csv" else frame.write_parquet(path)
        with pytest.raises(UserError, match=rf"calls\.{ending}: ?.*{message}"):
            read_score_file(path)


def test_without_a_project_an_uncertain_label_is_an_error(tmp_path: Path) -> None:
    labels_csv, layout = a_project(tmp_path)
    with pytest.raises(UserError, match=r"labels.csv:6: 'Edema' is uncertain"):
        evaluate_table(read_scores(layout.scores(0, views=False)), labels_csv, labels=None)


SOURCES = ("source", "target")


def tables_of(root: Path, *learned: dict[str, Picture], truth: str = TRUTH) -> Path:
    """The folder of tables that a project with heads that learned this has."""
    labels_csv, layout = a_project(root, learned=learned)
    labels_csv.write_text(truth)
    evaluate(labels_csv, layout, labels=LABELS, folds=[0, 1])
    return layout.plots


def lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines()


def coupling(*entries: float) -> dict[str, Picture]:
    """Edema -> Fracture, Fracture -> Edema."""
    return {"coupling": Picture(SOURCES, np.array([[0, entries[0]], [entries[1], 0]]))}


def test_a_picture_is_a_table_of_all_folds_with_findings_by_name(tmp_path: Path) -> None:
    plots = tables_of(tmp_path, coupling(0.25, -5e-5), coupling(0, 0.003))
    assert lines(plots / "coupling.csv") == [
        "fold,source,target,value",
        "0,Edema,Edema,0",
        "0,Edema,Fracture,0.25",
        "0,Fracture,Edema,-5e-05",
        "0,Fracture,Fracture,0",
        "1,Edema,Edema,0",
        "1,Edema,Fracture,0",
        "1,Fracture,Edema,0.003",
        "1,Fracture,Fracture,0",
    ]


def test_couplings_have_their_sparsity_beside_them(tmp_path: Path) -> None:
    plots = tables_of(tmp_path, coupling(0.25, -5e-5), coupling(0, 0.003))
    shares = {(row["fold"], row["below"]): row["share"] for row in rows_of(plots / "coupling_sparsity.csv")}
    taus = ["0", "0.0001", "0.001", "0.01", "0.1"]
    assert [shares["0", tau] for tau in taus] == ["0", "0.5", "0.5", "0.5", "0.5"]
    assert [shares["1", tau] for tau in taus] == ["0.5", "0.5", "0.5", "1", "1"]


def salgl(images: int, order: list[int]) -> dict[str, Picture]:
    """Scene 0 has Edema and Fracture together, scene 1 apart; every image but the last is in scene 0."""
    counts = np.array([[[9.0, 9.0], [9.0, 9.0]], [[5.0, 0.0], [0.0, 5.0]]])
    shares = np.array([[0.75, 0.25]] * (images - 1) + [[0.25, 0.75]])
    attention = np.full((2, 1, 2), 0.5)
    attention[1] = np.nan  # no validated image shows a Fracture
    return {
        "scenes": Picture(("image", "scene"), shares[:, order]),
        "scene_counts": Picture(("scene", "given", "finding"), counts[order]),
        "scene_cooccurrence": Picture(("scene", "given", "finding"), (counts / counts[:, :1, :1])[order]),
        "attention": Picture(("finding", "row", "column"), attention),
    }


VIEWS = "\n".join(
    f"{line},{view}"
    for line, view in zip(TRUTH.splitlines(), ["ViewPosition", "PA", "PA", "", "Lateral", "PA"], strict=True)
)


def test_scenes_are_shares_and_counts_by_view_in_one_order_for_all_folds(tmp_path: Path) -> None:
    plots = tables_of(tmp_path, salgl(3, [1, 0]), salgl(2, [0, 1]), truth=VIEWS)
    assert lines(plots / "scenes_shares.csv") == [
        "fold,scene,mean,share",
        "0,0,0.416667,0.333333",
        "0,1,0.583333,0.666667",
        "1,0,0.5,0.5",
        "1,1,0.5,0.5",
    ]
    assert lines(plots / "scenes_by_view.csv") == [
        "fold,scene,view,images",  # of fold 0 a is PA, d Lateral and c not told; of fold 1 b and e are PA
        "0,0,,1",
        "0,0,Lateral,0",
        "0,0,PA,0",
        "0,1,,0",
        "0,1,Lateral,1",
        "0,1,PA,1",
        "1,0,PA,1",
        "1,1,PA,1",
    ]
    values = {tuple(row.values())[:-1]: row["value"] for row in rows_of(plots / "scene_cooccurrence.csv")}
    for fold in ("0", "1"):
        assert values[fold, "0", "Edema", "Fracture"] == "0"
        assert values[fold, "1", "Edema", "Fracture"] == "1"
    assert list(rows_of(plots / "scene_cooccurrence.csv")[0]) == [
        "fold",
        "scene",
        "given",
        "finding",
        "value",
    ]
    assert not (plots / "scenes.csv").exists()


def test_scenes_have_entropies_and_the_images_that_are_most_surely_of_them(tmp_path: Path) -> None:
    plots = tables_of(tmp_path, salgl(3, [1, 0]), salgl(2, [0, 1]))
    entropy = -0.25 * math.log(0.25) - 0.75 * math.log(0.75)
    of_fold = {row["fold"]: row for row in rows_of(plots / "scenes_entropy.csv")}
    assert list(of_fold) == ["0", "1"]
    assert list(of_fold["0"]) == ["fold", "per_image", "of_mean", "of_shares"]
    assert float(of_fold["0"]["per_image"]) == pytest.approx(entropy, abs=1e-6)
    assert float(of_fold["0"]["of_shares"]) == pytest.approx(math.log(3) - 2 / 3 * math.log(2), abs=1e-6)
    assert float(of_fold["1"]["of_mean"]) == pytest.approx(math.log(2), abs=1e-6)
    assert lines(plots / "scenes_images.csv") == [
        "scene,rank,fold,image,share",  # fold 0's scenes are those of the salgl of [1, 0]
        "0,1,0,c,0.75",
        "0,2,1,e,0.75",
        "1,1,0,a,0.75",
        "1,2,1,b,0.75",
        "1,3,0,d,0.75",
    ]


def test_labels_without_a_view_make_no_table_of_views(tmp_path: Path) -> None:
    plots = tables_of(tmp_path, salgl(3, [0, 1]), salgl(2, [0, 1]))
    assert (plots / "scenes_shares.csv").exists()
    assert not (plots / "scenes_by_view.csv").exists()


def test_a_finding_that_no_validated_image_shows_has_no_row(tmp_path: Path) -> None:
    plots = tables_of(tmp_path, salgl(3, [0, 1]), salgl(2, [0, 1]))
    assert {row["finding"] for row in rows_of(plots / "attention.csv")} == {"Edema"}


def test_gates_have_shares_and_their_terms_a_table(tmp_path: Path) -> None:
    def gated(images: int) -> dict[str, Picture]:
        terms = Picture(("gate", *SOURCES), np.ones((3, 2, 2)))
        return coupling(0, 0) | {
            "coupling_of_gate": terms,
            "gates": Picture(("image", "gate"), np.zeros((images, 3))),
        }

    plots = tables_of(tmp_path, gated(3), gated(2))
    assert lines(plots / "coupling_of_gate.csv")[:2] == ["fold,gate,source,target,value", "0,0,Edema,Edema,1"]
    assert lines(plots / "gates_shares.csv")[:2] == ["fold,gate,mean,share", "0,0,0,0"]


THREE = salgl(2, [0, 1]) | {"scenes": Picture(("image", "scene"), np.ones((2, 3)))}


@pytest.mark.parametrize(
    ("learned", "message"),
    [
        (
            (coupling(0, 0), {}),
            r"fold1.json: holds nothing, but fold 0 holds coupling \(2 source x 2 target\): a mixture",
        ),
        (({}, coupling(0, 0)), r"fold1.json: holds coupling .*, but fold 0 holds nothing: a mixture"),
        (
            (salgl(3, [0, 1]), THREE),
            r"scenes \(image x 3 scene\), but fold 0 holds .* scenes \(image x 2 scene\)",
        ),
        (
            (salgl(2, [0, 1]), salgl(2, [0, 1])),
            r"fold0.json: from another training than the scores beside it",
        ),
    ],
    ids=["none and a head", "a head and none", "numbers of scenes", "numbers of images"],
)
def test_heads_of_different_trainings_are_refused_before_anything_is_written(
    tmp_path: Path, learned: tuple[dict[str, Picture], ...], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        tables_of(tmp_path, *learned)
    assert not (tmp_path / "out" / "metrics.json").exists()
    assert not (tmp_path / "out" / "plots").exists()


def test_a_head_of_other_findings_is_refused(tmp_path: Path) -> None:
    labels_csv, layout = a_project(tmp_path)
    write_learned(layout.learned(1), ["Fracture", "Edema"], {}, head=HEAD)
    with pytest.raises(UserError, match=r"fold1.json: from another training"):
        evaluate(labels_csv, layout, labels=LABELS, folds=[0, 1])


def test_tables_of_an_earlier_head_do_not_stay(tmp_path: Path) -> None:
    plots = tables_of(tmp_path, coupling(0, 0), coupling(0, 0))
    for fold in (0, 1):
        write_learned(Layout(tmp_path / "out").learned(fold), LABELS.findings, {}, head=HEAD)
    evaluate(tmp_path / "labels.csv", Layout(tmp_path / "out"), labels=LABELS, folds=[0, 1])
    assert sorted(path.name for path in plots.iterdir()) == list(OF_SCORES)


def test_folds_of_heads_with_other_settings_are_refused(tmp_path: Path) -> None:
    labels_csv, layout = a_project(tmp_path, heads=(HEAD, HEAD | {"alpha": 0.2}))
    with pytest.raises(UserError, match=r"fold1.json: of the head .*0.2.*, but fold 0 is of .*0.3"):
        evaluate(labels_csv, layout, labels=LABELS, folds=[0, 1])
    assert not layout.metrics.exists()


def test_scores_of_an_earlier_version_which_told_nothing_of_its_heads_are_measured(tmp_path: Path) -> None:
    labels_csv, layout = a_project(tmp_path)
    for path in (layout.root / "learned").iterdir():
        path.unlink()
    metrics, *_ = evaluate(labels_csv, layout, labels=LABELS, folds=[0, 1])
    assert metrics["macro_auc"] > 0
    assert sorted(path.name for path in layout.plots.iterdir()) == list(OF_SCORES)


def test_plots_that_are_not_ours_stay_and_are_not_read(project: Project, tmp_path: Path) -> None:
    mine = project.copy_to(tmp_path)
    for name in ("mine.csv", "coupling2.csv", "thesis.csv"):
        (mine.layout.plots / name).write_text("a;b\n1;2;3\n")
    (mine.layout.plots / "scenes_shares.csv").write_text("fold,scene,mean,share\n0,0,1,1\n")
    evaluate(mine.labels, mine.layout, labels=mine.params.labels, folds=mine.params.folds.train)
    write_report(mine.layout, folds=mine.params.folds.train)
    assert {"mine.csv", "coupling2.csv", "thesis.csv"} <= {path.name for path in mine.layout.plots.iterdir()}
    assert not (mine.layout.plots / "scenes_shares.csv").exists()


@pytest.mark.parametrize(
    ("text", "note"),
    [
        (",Image_name,Edema\n0,a,0.9\n1,d,0.6\n2,c,0.7\n", "numbers the rows"),
        ("Image_name,Edema,Usage\na,0.9,Public\nd,0.6,Private\nc,0.7,Public\n", "'Usage' is Kaggle's"),
        ("Image_name;Edema\na;0,9\nd;0,6\nc;0,7\n", "separated by semicolons"),
        ("Image_name,Edema\na.png,0.9\nd.png,0.6\nc.png,0.7\n", "3 names match a file without its suffix"),
        ("Image_name,Edema\na,0.9\nd,0.6\nc,0.7\na,0.9\n", "1 exact repeat of an earlier row"),
        ('"Image_name","Edema"\na,"0,9"\nd,"0,6"\nc,"0,7"\n', None),
    ],
)
def test_scores_as_other_programs_write_them_are_measured_alike(
    tmp_path: Path, text: str, note: str | None
) -> None:
    labels_csv, _ = a_project(tmp_path)
    (tmp_path / "sub.csv").write_text(text)
    metrics, notes, *_ = evaluate_table(read_scores(tmp_path / "sub.csv"), labels_csv, labels=LABELS)
    (tmp_path / "plain.csv").write_text("Image_name,Edema\na,0.9\nd,0.6\nc,0.7\n")
    plain, *_ = evaluate_table(read_scores(tmp_path / "plain.csv"), labels_csv, labels=LABELS)
    assert metrics == plain
    assert note is None or any(note in said for said in notes)


def test_the_scores_of_a_folder_are_measured_with_labels_of_bare_names(tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_text("Image_name,Edema\na.png,1\nb.png,0\nc.png,0\n")
    (tmp_path / "sub.csv").write_text("Image_name,Edema\nx/b.png,0.2\ny/a.png,0.9\n")
    metrics, notes, *_ = evaluate_table(
        read_scores(tmp_path / "sub.csv"), tmp_path / "labels.csv", labels=None
    )
    assert metrics["auc"] == {"Edema": 1.0}
    assert any("2 names match a file in a folder (1 in 'y', 1 in 'x')" in note for note in notes)
    (tmp_path / "sub.csv").write_text("Image_name,Edema\nx/a.png,0.2\ny/a.png,0.9\n")
    with pytest.raises(UserError, match="2 rows are not in"):
        evaluate_table(read_scores(tmp_path / "sub.csv"), tmp_path / "labels.csv", labels=None)


def test_labels_without_the_projects_patients_and_id_column_are_measured_too(tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_text("image_id,Edema\na,1\nb,0\n")
    (tmp_path / "sub.csv").write_text("Image_name,Edema\na,0.9\nb,0.2\n")
    metrics, notes, *_ = evaluate_table(
        read_scores(tmp_path / "sub.csv"), tmp_path / "labels.csv", labels=LABELS
    )
    assert metrics["auc"] == {"Edema": 1.0} and "patients" not in metrics
    assert any("no column 'Patient_ID'; metrics are not grouped by patient" in note for note in notes)
    metrics, *_ = evaluate_table(read_scores(tmp_path / "sub.csv"), tmp_path / "labels.csv", labels=None)
    assert metrics["auc"] == {"Edema": 1.0}


def measured_patients(tmp_path: Path, cells: list[str], *, column: str = "Patient_ID") -> Measured:
    """Of a table outside a project, with an image per cell of the column of patients."""
    rows = "".join(f"i{i},{cell},{i % 2}\n" for i, cell in enumerate(cells))
    (tmp_path / "labels.csv").write_text(f"Image_name,{column},Edema\n{rows}")
    scores = "".join(f"i{i},{i / len(cells)}\n" for i in range(len(cells)))
    (tmp_path / "sub.csv").write_text(f"Image_name,Edema\n{scores}")
    table = read_scores(tmp_path / "sub.csv")
    return evaluate_table(table, tmp_path / "labels.csv", labels=None, resamples=100)


@pytest.mark.parametrize("blank", ["", "  ", "nan", "NA"])
@pytest.mark.parametrize("column", ["Patient_ID", "subject"])
def test_a_column_of_patients_with_a_blank_cell_is_refused(tmp_path: Path, blank: str, column: str) -> None:
    words = rf"labels.csv:3: '{column}' is blank, the first of 2 such rows; fill it in, or delete the row"
    with pytest.raises(UserError, match=words):
        measured_patients(tmp_path, ["1", blank, "2", blank], column=column)


UNKNOWN = "no patients are known, and each image counts as one: where patients have several images, intervals"


def test_intervals_without_patients_are_said_to_be_too_narrow(tmp_path: Path) -> None:
    def told(found: Measured) -> bool:
        return any(note.startswith(UNKNOWN) for note in found.notes)

    assert told(measured_patients(tmp_path, ["", "", "", ""]))
    assert told(measured_patients(tmp_path, ["1", "", "2", "2"], column="Who"))
    assert not told(measured_patients(tmp_path, ["1", "1", "2", "2"]))
    labels_csv, layout = a_project(tmp_path)
    without = LABELS.model_copy(update={"patient": None})
    assert told(evaluate(labels_csv, layout, labels=without, folds=[0, 1], resamples=100))
    assert not told(evaluate(labels_csv, layout, labels=without, folds=[0, 1], resamples=0))
    assert not told(evaluate(labels_csv, layout, labels=LABELS, folds=[0, 1], resamples=100))


def test_studies_without_patients_are_said_to_count_as_one_each(tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_text("Image_name,Edema\n1_1_1.png,1\n1_1_2.png,1\n2_1_1.png,0\n")
    (tmp_path / "sub.csv").write_text("Study,Edema\n2_1,0.3\n1_1,0.2\n")
    notes = evaluate_table(read_scores(tmp_path / "sub.csv"), tmp_path / "labels.csv", labels=None).notes
    assert any("each study counts as one: where patients have several studies" in note for note in notes)
