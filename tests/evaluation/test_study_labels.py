"""Score tables with one row per study are measured against the labels of the studies' images."""

from itertools import product
from pathlib import Path

import numpy as np
import pytest

from cxrscore.core.errors import UserError
from cxrscore.evaluate import Measured, evaluate_table
from cxrscore.evaluation.study_labels import studies_named
from cxrscore.project.params import LabelParams
from cxrscore.tables.label_table import LabelTable
from cxrscore.tables.score_file import read_score_file

LABELS = """Image_name,Patient_ID,Study,Edema,Fracture
a.png,1,1,1,0
b.png,1,1,0,0
c.png,1,2,0,1
d.png,2,1,0,-1
e.png,2,1,0,0
"""
NAMED = ["1_1_1.png", "1_1_2.png", "1_2_1.png", "2_1_1.png", "2_1_2.png"]


def settings(**changes: object) -> LabelParams:
    plain = dict.fromkeys(("patient_pattern",), None)
    return LabelParams(
        format="table",
        id="Image_name",
        patient="Patient_ID",
        study="Study",
        patient_ids="text",
        findings=["Edema", "Fracture"],
        blank="error",
        uncertain="ignore",
        readers="error",
        **plain,
    ).model_copy(update=changes)


def measured(root: Path, scores: str, *, labels: LabelParams | None, text: str = LABELS) -> Measured:
    (root / "labels.csv").write_text(text)
    (root / "sub.csv").write_text(scores)
    return evaluate_table(read_score_file(root / "sub.csv"), root / "labels.csv", labels=labels)


def test_a_study_shows_what_any_image_shows_and_lacks_what_all_lack() -> None:
    """Of all ways to label two images: shown, not shown, not known."""
    cells = list(product((1, 0, None), repeat=2))
    flat = [cell for pair in cells for cell in pair]
    table = LabelTable(
        path=Path("labels.csv"),
        ids=[f"{i}_1_{j}.png" for i in range(9) for j in (1, 2)],
        findings=("Edema",),
        y=np.array([[cell or 0] for cell in flat], dtype=np.int8),
        mask=np.array([[cell is not None] for cell in flat]),
    )
    found = studies_named([f"{i}_1" for i in range(9)], table)
    assert found is not None
    for pair, y, known in zip(cells, found.table.y[:, 0], found.table.mask[:, 0], strict=True):
        expected = 1 if 1 in pair else 0 if None not in pair else None
        assert (int(y) if known else None) == expected, pair
    assert "2 studies have images that disagree on a finding (Edema 2)" in found.notes[1]


@pytest.mark.parametrize(
    "scores",
    [
        "Study,Edema,Fracture\n1/1,0.9,0.2\n1/2,0.4,0.9\n2/1,0.3,0.1\n",
        "Image_name,Edema,Fracture\n1/1,0.9,0.2\n1/2,0.4,0.9\n2/1,0.3,0.1\n",
    ],
    ids=["as score names the column", "as a template names it"],
)
def test_studies_are_measured_with_their_patients(tmp_path: Path, scores: str) -> None:
    metrics, notes, scored, _ = measured(tmp_path, scores, labels=settings())
    assert (metrics["images"], metrics["patients"]) == (3, 2)
    assert metrics["auc"] == {"Edema": 1.0, "Fracture": 1.0}
    assert "study" not in metrics
    assert scored.table.mask.tolist() == [[True, True], [True, True], [True, False]]
    assert scored.images == [("a.png", "b.png"), ("c.png",), ("d.png", "e.png")]
    assert any("rows are studies: 3 studies of 5 labelled images" in note for note in notes)
    assert any("1 study has images that disagree on a finding (Edema 1)" in note for note in notes)


def test_studies_of_a_column_are_found_without_a_project(tmp_path: Path) -> None:
    text = LABELS.replace("-1", "1")
    scores = "Study,Edema,Fracture\n2/1,0.3,0.1\n1/1,0.9,0.2\n"
    metrics, notes, _, *_ = measured(tmp_path, scores, labels=None, text=text)
    assert (metrics["images"], metrics["auc"]["Edema"]) == (2, 1.0)
    assert "1 of 3 labelled studies without a score" in notes


def test_studies_are_read_from_the_names_of_files_as_score_reads_them(tmp_path: Path) -> None:
    rows = "".join(f"{name},{i % 2}\n" for i, name in enumerate(NAMED))
    scores = "Study,Edema\n1_1,0.9\n1_2,0.1\n2_1,0.8\n"
    metrics, *_ = measured(tmp_path, scores, labels=None, text=f"Image_name,Edema\n{rows}")
    assert metrics["auc"] == {"Edema": 1.0}


def test_one_number_of_two_patients_studies_is_no_name(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"sub.csv: rows are studies such as '1', and not all of them are in"):
        measured(tmp_path, "Study,Edema,Fracture\n1,0.9,0.2\n2,0.4,0.9\n", labels=settings())


def test_a_study_without_labels_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="rows are studies such as '1/1', and not all of them are in"):
        measured(tmp_path, "Study,Edema,Fracture\n1/1,0.9,0.2\n9/9,0.4,0.9\n", labels=settings())


def test_rows_of_images_stay_images_where_studies_are_known(tmp_path: Path) -> None:
    scores = "Image_name,Edema,Fracture\na.png,0.9,0.2\nc.png,0.4,0.9\n"
    metrics, *_ = measured(tmp_path, scores, labels=settings())
    assert (metrics["images"], "study" in metrics) == (2, True)
