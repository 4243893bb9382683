"""Each format turns its dataset's table into the same columns; real tables give their published counts."""

from pathlib import Path
from typing import Any

import pytest

from cxrscore.core.errors import UserError
from cxrscore.tables.labels import LabelTable, read_labels

TABLES = Path(__file__).parents[3] / "shared" / "tables"
real_table = pytest.mark.skipif(not TABLES.is_dir(), reason="the real label tables are not on this machine")

CHEXPERT: dict[str, Any] = {"format": "chexpert", "id": "Path", "patient": "Patient_ID", "study": "Study"}
NIH: dict[str, Any] = {"format": "nih", "id": "Image Index", "patient": "Patient ID", "study": "Follow-up #"}
POLICY: dict[str, Any] = {
    "patient_ids": "text",
    "patient_pattern": None,
    "readers": "error",
    "findings": [],
    "blank": "zero",
    "uncertain": "zero",
}
CHEXPERT_CSV = """\
Path,Sex,Age,Frontal/Lateral,AP/PA,Edema,No Finding
train/patient00001/study1/view1_frontal.jpg,Female,68,Frontal,AP,1.0,
train/patient00002/study1/view1_frontal.jpg,Male,87,Frontal,,-1.0,0.0
train/patient00002/study1/view2_lateral.jpg,Male,87,Lateral,,0,1
"""
NIH_CSV = """\
Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position
00000001_000.png,Cardiomegaly,0,1,57,M,PA
00000001_001.png,Emphysema|Cardiomegaly,1,1,58,M,AP
00000002_000.png,No Finding,0,2,80,F,PA
"""


def read(tmp_path: Path, text: str, settings: dict[str, Any], **more: Any) -> LabelTable:
    path = tmp_path / "labels.csv"
    path.write_text(text)
    return read_labels(path, **{**POLICY, **settings, **more})


def test_chexpert_has_patient_and_study_in_the_path_and_labels_with_a_point(tmp_path: Path) -> None:
    table = read(
        tmp_path, CHEXPERT_CSV, CHEXPERT, findings=["No Finding", "Edema"], uncertain="ignore", blank="ignore"
    )
    assert table.patient == ["patient00001", "patient00002", "patient00002"]
    assert table.study == ["patient00001/study1", "patient00002/study1", "patient00002/study1"]
    assert table.view == ["AP", "Frontal", "Lateral"]
    assert (table.sex, table.age) == (["Female", "Male", "Male"], ["68", "87", "87"])
    assert table.y.tolist() == [[0, 1], [0, 0], [1, 0]]
    assert table.mask.tolist() == [[False, True], [True, False], [True, True]]


def test_chexpert_without_patient_or_study_leaves_them_out(tmp_path: Path) -> None:
    table = read(tmp_path, CHEXPERT_CSV, CHEXPERT, findings=["Edema"], patient=None, study=None)
    assert (table.patient, table.study) == (None, None)


def test_chexpert_paths_without_a_patient_are_refused(tmp_path: Path) -> None:
    text = CHEXPERT_CSV.replace("train/patient00002/study1/view1", "train/view1")
    with pytest.raises(
        UserError,
        match=r"labels\.csv:3: no \.\.\./patient00001/study1/\.\.\. in .*; for .* use `format: table`",
    ):
        read(tmp_path, text, CHEXPERT, findings=["Edema"])


def test_chexpert_labels_are_labels(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"labels\.csv:2: 'Edema': a label is .*, not '1\.01'"):
        read(tmp_path, CHEXPERT_CSV.replace("AP,1.0", "AP,1.01"), CHEXPERT, findings=["Edema"])


def test_chexperts_own_list_must_be_there_whole(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"labels\.csv:1: no column 'Atelectasis'"):
        read(tmp_path, CHEXPERT_CSV, CHEXPERT)


def test_nih_findings_are_taken_out_of_their_one_cell(tmp_path: Path) -> None:
    table = read(
        tmp_path, NIH_CSV, NIH, findings=["Emphysema", "Cardiomegaly", "No Finding"], uncertain="error"
    )
    assert table.y.tolist() == [[0, 1, 0], [1, 1, 0], [0, 0, 1]]
    assert table.mask.all()
    assert table.patient == ["1", "1", "2"]
    assert table.study == ["1/0", "1/1", "2/0"]
    assert (table.view, table.sex, table.age) == (["PA", "AP", "PA"], ["M", "M", "F"], ["57", "58", "80"])


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        ("Emphisema", r"labels\.csv:3: 'Finding Labels' holds 'Emphisema'; the nearest is 'Emphysema'"),
        ("Mass|", r"labels\.csv:3: 'Finding Labels' holds ''; there are 'Atelectasis'"),
        ("", r"labels\.csv:3: 'Finding Labels' holds ''"),
        ("Mass;Nodule", r"labels\.csv:3: 'Finding Labels' holds 'Mass;Nodule'"),
    ],
)
def test_a_finding_that_nih_does_not_know_is_refused(tmp_path: Path, cell: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        read(tmp_path, NIH_CSV.replace("Emphysema|Cardiomegaly", cell), NIH, findings=["Cardiomegaly"])


def test_asking_nih_for_a_finding_it_does_not_know_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"labels\.findings: 'Pleural Thickening' is not a finding .* 'Pleural_Thickening'"
    ):
        read(tmp_path, NIH_CSV, NIH, findings=["Pleural Thickening"])


@real_table
def test_the_real_chexpert_table_has_its_published_counts() -> None:
    table = read_labels(TABLES / "chexpert_train.csv.gz", **{**POLICY, **CHEXPERT})
    counts = dict(zip(table.findings, table.y.sum(0).tolist(), strict=True))
    assert (len(table), len(set(table.patient or [])), len(table.findings)) == (223_414, 64_540, 14)
    assert (counts["No Finding"], counts["Support Devices"], counts["Pleural Other"]) == (
        22_381,
        116_001,
        3_523,
    )
    assert set(table.view or []) == {"AP", "PA", "LL", "RL", "Lateral"}
    assert not any("pathology" in note for note in table.notes)


@real_table
def test_the_real_nih_table_has_its_published_counts() -> None:
    table = read_labels(TABLES / "nih_data_entry_2017.csv.gz", **{**POLICY, **NIH})
    counts = dict(zip(table.findings, table.y.sum(0).tolist(), strict=True))
    assert (len(table), len(set(table.patient or [])), len(table.findings)) == (112_120, 30_805, 15)
    assert (counts["Hernia"], counts["Infiltration"], counts["No Finding"]) == (227, 19_894, 60_361)
    assert table.notes == ()
