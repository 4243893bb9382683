"""The folds stage covers exactly the prepared images, keeps patients whole, and reports what is not even."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cxrscore.core.errors import UserError
from cxrscore.core.paths import Layout
from cxrscore.folds import make_folds, remove_stale
from cxrscore.project.params import FoldParams, LabelParams
from cxrscore.tables.csv_table import write_table
from cxrscore.tables.fold_table import Folds, read_folds

FINDINGS = ["Edema", "Mass", "No Finding"]


class Project:
    """A label table of 40 patients with 3 images each, of studies 1, 1, 2, and its index."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        rng = np.random.default_rng(0)
        self.rows = []
        for patient in range(40):
            for view, study in enumerate((1, 1, 2)):
                edema, mass = rng.random(2) < (0.4, 0.3)
                labels = [int(edema), int(mass), int(not edema and not mass)]
                self.rows.append([f"p{patient:02}/{view}.png", f"{patient:02}", study, *labels])
        self.quarantined: list[str] = []
        self.index = [[row[0], f"sha-of-{row[0]}", 64, 64, 0, i] for i, row in enumerate(self.rows)]
        self.labels: dict[str, Any] = {
            "format": "table",
            "id": "Image_name",
            "patient": "Patient_ID",
            "study": "Study",
        }
        self.labels |= {
            "patient_ids": "text",
            "patient_pattern": None,
            "readers": "error",
            "findings": FINDINGS,
            "blank": "zero",
            "uncertain": "error",
        }

    def run(
        self, *, method: str = "patient", k: int = 3, seed: int = 0
    ) -> tuple[Folds, dict[str, Any], tuple[str, ...]]:
        """-> the fold table, the report, the notes."""
        folder = self.folder
        write_table(folder / "labels.csv", ["Image_name", "Patient_ID", "Study", *FINDINGS], self.rows)
        write_table(
            folder / "index.csv", ["Image_name", "sha256", "width", "height", "shard", "row"], self.index
        )
        rows = [(name, "EMPTY_FILE", "the file has no bytes") for name in self.quarantined]
        write_table(folder / "quarantine.csv", ["Image_name", "kind", "message"], rows)
        notes = make_folds(
            folder / "labels.csv",
            folder / "index.csv",
            folder / "out" / "folds.csv",
            folder / "out" / "balance.json",
            labels=LabelParams(**self.labels),
            params=FoldParams(method=method, k=k, seed=seed, train=[0]),  # type: ignore[arg-type]
        )
        return (
            read_folds(folder / "out/folds.csv"),
            json.loads((folder / "out/balance.json").read_text()),
            notes,
        )


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


def test_folds_cover_the_prepared_images_in_their_order(project: Project) -> None:
    project.quarantined = [row[0] for row in project.index[:31]]
    project.index = project.index[:30:-1]  # another order than the labels'
    folds, report, _ = project.run()
    assert folds.ids == [row[0] for row in project.index]
    assert folds.patient == [name[1:3] for name in folds.ids]
    assert report["images"] == {
        "total": 89,
        "folds": {str(f): int((folds.fold == f).sum()) for f in range(3)},
    }


def test_labels_that_came_after_the_preparation_are_noticed(project: Project) -> None:
    project.index = project.index[1:]
    with pytest.raises(UserError, match=r"1 labelled image not prepared, the first is 'p00/0\.png'"):
        project.run()


def test_no_patient_is_validated_and_trained_on_in_one_fold(project: Project) -> None:
    folds, report, notes = project.run(k=4)
    for f in range(4):
        validated = {patient for patient, g in zip(folds.patient or [], folds.fold, strict=True) if g == f}
        trained = {patient for patient, g in zip(folds.patient or [], folds.fold, strict=True) if g != f}
        assert validated and not validated & trained
    assert (report["patients"]["split"], report["studies"]["split"]) == (0, 0)
    assert notes == ()


def test_the_report_counts_findings_pairs_patients_and_studies_by_fold(project: Project) -> None:
    folds, report, _ = project.run()
    edema = np.array([row[3] for row in project.rows])
    by_hand = {str(f): int(edema[folds.fold == f].sum()) for f in range(3)}
    found = report["findings"]["by_name"]["Edema"]
    assert (found["folds"], found["total"]) == (by_hand, edema.sum())
    worst = max(abs(count / (edema.sum() / 3) - 1) for count in by_hand.values())
    assert found["deviation"] == pytest.approx(worst, abs=1e-6)
    assert report["findings"]["deviation"] == max(
        row["deviation"] for row in report["findings"]["by_name"].values()
    )
    assert (report["patients"]["total"], report["studies"]["total"]) == (40, 80)
    assert sum(report["patients"]["folds"].values()) == 40
    assert sum(report["studies"]["folds"].values()) == 80


def test_only_pairs_with_fifty_images_are_held_to_a_share(project: Project) -> None:
    for i, row in enumerate(project.rows):
        row[3:] = [1, int(i < 50), int(50 <= i < 99)]
    _, report, _ = project.run()
    assert list(report["pairs"]["by_name"]) == ["Edema + Mass"]
    assert report["pairs"]["by_name"]["Edema + Mass"]["total"] == 50


def test_a_finding_that_a_fold_lacks_is_named_in_notes_and_report(project: Project) -> None:
    for row in project.rows:
        row[4] = int(row[1] in ("03", "17"))
    folds, report, notes = project.run()
    without = ({0, 1, 2} - {int(f) for f, row in zip(folds.fold, project.rows, strict=True) if row[4]}).pop()
    assert report["absent"] == {"Mass": {"patients": 2, "folds": [without]}}
    assert (
        f"Mass: no positives in fold {without}, and 2 patients have it overall; no AUC is defined there."
        in notes
    )


def test_a_finding_that_nobody_has_is_named_and_has_no_share(project: Project) -> None:
    for row in project.rows:
        row[4] = 0
    _, report, notes = project.run()
    assert report["absent"] == {"Mass": {"patients": 0, "folds": [0, 1, 2]}}
    assert "Mass" not in report["findings"]["by_name"]
    assert any("Mass: no positives in fold 0, 1, 2, and 0 patients have it" in note for note in notes)


def test_identical_files_in_two_folds_are_counted_and_the_first_named(project: Project) -> None:
    folds, _, _ = project.run()
    other = int(np.flatnonzero(folds.fold != folds.fold[0])[0])
    project.index[other][1] = project.index[0][1]
    project.index[1][1] = project.index[2][1]  # of one patient, so in one fold: no leak
    _, report, notes = project.run()
    assert report["identical_files"] == {"across_folds": 2, "first": [folds.ids[0], folds.ids[other]]}
    assert "2 images have an identical file in another fold; the report lists the first." in notes


def test_images_one_by_one_split_patients_and_the_report_says_how_many(project: Project) -> None:
    folds, report, notes = project.run(method="image")
    split = sum(len(set(folds.fold[i : i + 3].tolist())) > 1 for i in range(0, 120, 3))
    assert report["patients"]["split"] == split > 0
    assert report["method"] == "image"
    assert f"{split} patients are in more than one fold, so validation scores are too high." in notes


def test_without_a_patient_column_the_two_ways_out_are_named(project: Project) -> None:
    project.labels["patient"] = None
    with pytest.raises(
        UserError, match=r"labels\.patient is null; name a column there, or set folds\.method to image"
    ):
        project.run()
    assert not (project.folder / "out").exists()


def test_without_a_patient_column_images_can_still_be_split(project: Project) -> None:
    project.labels |= {"patient": None, "study": None}
    folds, report, _ = project.run(method="image")
    assert folds.patient is None
    assert (report["patients"], report["studies"]) == ({}, {})


def test_a_prepared_image_without_labels_is_refused_and_nothing_is_written(project: Project) -> None:
    project.index.append(["stray.png", "abc", 64, 64, 0, 120])
    with pytest.raises(
        UserError,
        match=r"index\.csv: 1 image without a row in .*, the first is 'stray\.png'; run `dvc repro prepare`",
    ):
        project.run()
    assert not (project.folder / "out").exists()


def test_more_folds_than_patients_are_refused(project: Project) -> None:
    with pytest.raises(UserError, match=r"folds\.k: 41 folds of 40 patients"):
        project.run(k=41)


def test_a_table_of_one_finding_is_split_by_either_method(project: Project) -> None:
    project.labels["findings"] = ["Edema"]
    for method in ("patient", "image"):
        _, report, _ = project.run(method=method)
        assert (list(report["findings"]["by_name"]), report["pairs"]["by_name"]) == (["Edema"], {})


def test_notes_about_the_labels_are_passed_on(project: Project) -> None:
    project.rows.append(project.rows[0])
    assert any("of an earlier row" in note for note in project.run()[2])


def test_a_second_run_writes_the_same_bytes(project: Project) -> None:
    project.run()
    first = [(project.folder / "out" / name).read_bytes() for name in ("folds.csv", "balance.json")]
    project.run()
    assert [(project.folder / "out" / name).read_bytes() for name in ("folds.csv", "balance.json")] == first


SPELLINGS = ("{}", "{:08}", " {:08}", "{}.0")


def spell_in_several_ways(project: Project) -> None:
    """As tables that went through a spreadsheet: each patient's images under three ids of four kinds."""
    for i, row in enumerate(project.rows):
        row[1] = SPELLINGS[i % 4].format(int(row[1]))


def test_one_patient_under_several_ids_is_refused_where_folds_keep_patients_whole(project: Project) -> None:
    spell_in_several_ways(project)
    message = (
        r"labels\.csv: \d+ ids of 'Patient_ID' spell 40 numbers in several ways, such as '0' and "
        r"'00000000'; folds\.method: patient .* labels\.patient_ids .* to number .* or distinct"
    )
    with pytest.raises(UserError, match=message):
        project.run()
    assert not (project.folder / "out").exists()


def test_declared_one_patient_its_images_lie_in_one_fold(project: Project) -> None:
    spell_in_several_ways(project)
    project.labels["patient_ids"] = "number"
    folds, report, notes = project.run(k=4)
    person = [name.partition("/")[0] for name in folds.ids]
    assert len(set(zip(person, folds.fold.tolist(), strict=True))) == len(set(person)) == 40
    assert report["patients"]["total"] == 40
    assert any("each number counts as one patient" in note for note in notes)


def test_declared_different_patients_may_lie_in_two_folds(project: Project) -> None:
    spell_in_several_ways(project)
    project.labels["patient_ids"] = "distinct"
    _, report, _ = project.run()
    assert report["patients"]["total"] > 40


def test_images_one_by_one_are_split_whatever_their_patients_are_called(project: Project) -> None:
    spell_in_several_ways(project)
    _, _, notes = project.run(method="image")
    assert any("spell 40 numbers in several ways" in note for note in notes)


def test_blanks_around_an_id_make_no_second_patient(project: Project) -> None:
    for row in project.rows[::2]:
        row[1] = f" {row[1]}\u00a0"
    folds, report, _ = project.run()
    assert (report["patients"]["total"], report["patients"]["split"]) == (40, 0)
    assert set(folds.patient or []) == {f"{patient:02}" for patient in range(40)}


def test_case_alone_is_noted_and_refuses_nothing(project: Project) -> None:
    for row in project.rows:
        row[1] = f"p{row[1]}"
    project.rows[0][1] = "P00"
    assert any("differ from another only in case or Unicode form" in note for note in project.run()[2])


def test_what_folds_of_a_larger_k_had_left_goes_and_what_is_not_asked_for_stays(tmp_path: Path) -> None:
    layout = Layout(tmp_path / "out")
    for fold in range(5):
        for path in (
            layout.checkpoint(fold),
            layout.scores(fold, views=False),
            layout.scores(fold, views=True),
            layout.history(fold),
            layout.learned(fold),
            layout.summary(fold),
        ):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
    mine = layout.models / "fold4.best.safetensors"
    mine.touch()
    notes = remove_stale(layout, params=FoldParams(method="image", k=3, seed=0, train=[0, 1]))
    left = sorted(path.name for path in (tmp_path / "out").rglob("fold*") if path != mine)
    assert {name.partition(".")[0] for name in left} == {"fold0", "fold1", "fold2"}
    assert len(left) == 18 and mine.exists()
    assert notes[0].startswith("folds.train lists [0, 1] of 3 folds: [2] get no model")
    assert notes[1].endswith("fold 2 is not in folds.train; the file is kept, but not used in any metric")
    assert [note.partition(":")[0] for note in notes[2:]] == [
        "removed fold 3 of an earlier split",
        "removed fold 4 of an earlier split",
    ]
