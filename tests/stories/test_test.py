"""The held-out test: scored by all folds and views, measured as any table is, never on trained patients."""

import csv
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Project
from sklearn.metrics import roc_auc_score

from cxrscore.core.device import Machine
from cxrscore.core.errors import UserError
from cxrscore.core.progress import Silent
from cxrscore.evaluate import Measured
from cxrscore.evaluation.held_out import read_test_labels
from cxrscore.score import score
from cxrscore.scoring.options import Options
from cxrscore.tables.labels import read_labels
from cxrscore.test import test as held_out_test  # pytest would take it for a test


@pytest.fixture
def mine(project: Project, phantoms: Path, tmp_path: Path) -> Project:
    """A trained project with a test of its own beside it."""
    copy = project.copy_to(tmp_path / "mine")
    return replace(copy, data=Path(shutil.copytree(phantoms, tmp_path / "data")))


def measure(project: Project, cpu: Machine, **labels: Any) -> Measured:
    data = project.labels.parent
    return held_out_test(
        data / "test_labels.csv",
        data / "test",
        labels_csv=project.labels,
        layout=project.layout,
        params=project.with_settings(labels=labels or None),
        machine=cpu,
        progress=Silent(),
        workers=0,
    )


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def edit(path: Path, change: Any) -> None:
    rows = [dict(row) for row in rows_of(path)]
    columns = list(rows[0])
    rows = change(rows)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(rows)


def test_the_areas_are_scikit_learns_of_what_score_writes(
    mine: Project, cpu: Machine, tmp_path: Path
) -> None:
    found = measure(mine, cpu)
    data = mine.labels.parent
    params = mine.with_settings()
    sub = tmp_path / "sub.csv"
    score(
        str(data / "test"),
        sub,
        Options(folds=tuple(params.folds.train), workers=0),
        models=mine.layout.models,
        machine=cpu,
        progress=Silent(),
    )
    scores = {row["Image_name"]: row for row in rows_of(sub)}
    truth = rows_of(data / "test_labels.csv")
    areas = []
    for finding in params.labels.findings:
        y = np.array([int(row[finding]) for row in truth])
        if 0 < y.sum() < len(y):
            areas.append(roc_auc_score(y, [float(scores[row["Image_name"]][finding]) for row in truth]))
            assert found.metrics["auc"][finding] == pytest.approx(areas[-1], abs=1e-5)
    written = json.loads(mine.layout.test_metrics.read_text())
    assert written == {"test": found.metrics}
    assert written["test"]["macro_auc"] == pytest.approx(float(np.mean(areas)), abs=1e-5)
    assert written["test"]["images"] == len(truth)
    assert written["test"]["identical_files"] == 0
    assert 0 <= written["test"]["study"]["macro_auc"] <= 1


def test_its_files_are_the_same_bytes_each_time(mine: Project, cpu: Machine) -> None:
    def files() -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in mine.layout.test.iterdir()}

    measure(mine, cpu)
    first = files()
    assert set(first) == {"scores.csv", "scores.csv.manifest.csv", "scores.csv.folds.csv"}
    measure(mine, cpu)
    assert files() == first


def test_a_patient_of_training_is_refused_before_anything_is_scored(mine: Project, cpu: Machine) -> None:
    trained = rows_of(mine.labels)[3]["Patient_ID"]

    def change(rows: list[dict[str, str]]) -> list[dict[str, str]]:
        rows[1]["Patient_ID"] = trained
        return rows

    edit(mine.labels.parent / "test_labels.csv", change)
    with pytest.raises(
        UserError, match=rf"1 patient is in .*labels.csv, too \('{trained}'\).*remove their rows"
    ):
        measure(mine, cpu)
    assert not mine.layout.test.exists() and not mine.layout.test_metrics.exists()


@pytest.mark.parametrize(
    ("patient_ids", "refusal"),
    [
        (
            "text",
            r"1 patient spells the number of one in .*; write each id in one way, or set labels.patient_ids",
        ),
        ("number", r"1 patient is in .*, too, in another spelling \('.*'\), .*; remove their rows"),
        ("distinct", None),
    ],
)
def test_another_spelling_of_a_trained_patients_number_counts_as_within_one_table(
    mine: Project, patient_ids: str, refusal: str | None
) -> None:
    params = mine.with_settings(labels={"patient_ids": patient_ids}).labels
    trained = rows_of(mine.labels)[3]["Patient_ID"]

    def change(rows: list[dict[str, str]]) -> list[dict[str, str]]:
        rows[1]["Patient_ID"] = trained.lstrip("0")
        return rows

    table = mine.labels.parent / "test_labels.csv"
    edit(table, change)
    training = read_labels(mine.labels, **params.model_dump())
    if refusal is None:
        read_test_labels(table, training, labels=params)
    else:
        with pytest.raises(UserError, match=refusal):
            read_test_labels(table, training, labels=params)


def test_a_name_that_differs_in_case_alone_and_an_image_of_the_same_name_are_told(mine: Project) -> None:
    params = mine.with_settings().labels
    first = rows_of(mine.labels)[0]["Image_name"]

    def named(rows: list[dict[str, str]], name: str, image: str | None = None) -> list[dict[str, str]]:
        rows[0] |= {"Patient_ID": name} | ({"Image_name": image} if image else {})
        return rows

    edit(mine.labels, lambda rows: named(rows, "aB"))
    table = mine.labels.parent / "test_labels.csv"
    edit(table, lambda rows: named(rows, "Ab", first))
    training = read_labels(mine.labels, **params.model_dump())
    _, notes = read_test_labels(table, training, labels=params)
    assert any("1 patient differs from one of training only in case" in note for note in notes)
    assert any(f"1 image has the name of a training image, such as {first!r}" in note for note in notes)


def test_a_table_without_patients_is_measured_and_says_what_it_cannot_show(
    mine: Project, cpu: Machine
) -> None:
    table = mine.labels.parent / "test_labels.csv"
    rows = rows_of(table)
    columns = [name for name in rows[0] if name != "Patient_ID"]
    with table.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, columns, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)
    found = measure(mine, cpu)
    assert any("nothing shows that none of them was trained on" in note for note in found.notes)
    assert "patients" not in found.metrics


def test_an_image_that_is_a_training_file_by_another_name_is_counted(mine: Project, cpu: Machine) -> None:
    data = mine.labels.parent
    first = rows_of(data / "test_labels.csv")[0]["Image_name"]
    shutil.copy(data / "images" / rows_of(mine.labels)[0]["Image_name"], data / "test" / first)
    found = measure(mine, cpu)
    assert found.metrics["identical_files"] == 1
    assert any(first in note and "by another name" in note for note in found.notes)


def test_too_many_unreadable_images_stop_it_and_few_are_counted(mine: Project, cpu: Machine) -> None:
    data = mine.labels.parent
    first = rows_of(data / "test_labels.csv")[0]["Image_name"]
    (data / "test" / first).write_bytes(b"no image")
    with pytest.raises(
        UserError, match=r"1 of \d+ test images cannot be read, more than .*; .*errors.csv lists"
    ):
        measure(mine, cpu)
    assert not mine.layout.test_metrics.exists()


def test_what_it_lacks_is_refused_before_anything_is_scored(
    mine: Project, cpu: Machine, tmp_path: Path
) -> None:
    shutil.move(mine.layout.prepared, tmp_path / "moved")
    with pytest.raises(UserError, match="prepared: no prepared images here; run `dvc repro prepare`"):
        measure(mine, cpu)
    shutil.move(tmp_path / "moved", mine.layout.prepared)
    mine.layout.test.touch()
    with pytest.raises(UserError, match="test: a file is in the place of this folder; move it away"):
        measure(mine, cpu)
    mine.layout.test.unlink()
    shutil.rmtree(mine.labels.parent / "test")
    (mine.labels.parent / "test").mkdir()
    with pytest.raises(UserError):
        measure(mine, cpu)
    assert not mine.layout.test_metrics.exists()


def test_a_run_that_was_stopped_is_resumed_and_one_of_other_models_started_over(
    mine: Project, cpu: Machine
) -> None:
    measure(mine, cpu)
    whole = (mine.layout.test / "scores.csv").read_bytes()
    journal = mine.layout.test / "scores.csv.journal"
    journal.mkdir()
    (journal / "lock").touch()  # what a run that had hardly begun left
    measure(mine, cpu)
    assert (mine.layout.test / "scores.csv").read_bytes() == whole
    assert not journal.exists()
