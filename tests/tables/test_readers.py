"""Several readers of one image: nothing is guessed, and each declared rule is what its name says."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cxrscore.core.errors import UserError
from cxrscore.tables.label_table import LabelTable
from cxrscore.tables.labels import read_labels

SETTINGS: dict[str, Any] = {
    "format": "table",
    "id": "image_id",
    "patient": None,
    "patient_pattern": None,
    "study": None,
    "patient_ids": "text",
    "findings": ["Edema", "Mass"],
    "blank": "ignore",
    "uncertain": "ignore",
}
THREE = """image_id,rad_id,Edema,Mass
a,R1,1,0
b,R1,1,
a,R2,1,1
b,R2,0,-1
a,R3,0,0
b,R4,,
"""


def read(tmp_path: Path, text: str, **settings: Any) -> LabelTable:
    (tmp_path / "labels.csv").write_text(text)
    return read_labels(tmp_path / "labels.csv", **{**SETTINGS, **settings})


def test_without_a_rule_several_readers_are_refused_and_the_rules_named(tmp_path: Path) -> None:
    message = r"labels\.csv:4: 'a' is also on line 2, with another 'rad_id', 'Mass'; .* majority, any or mean"
    with pytest.raises(UserError, match=message):
        read(tmp_path, THREE, readers="error")


@pytest.mark.parametrize(
    ("rule", "y", "mask"),
    [
        ("majority", [[1, 0], [0, 0]], [[1, 1], [0, 0]]),  # of b's two readers one says Edema: a tie
        ("any", [[1, 1], [1, 0]], [[1, 1], [1, 0]]),
        ("mean", [[1, 0], [1, 0]], [[1, 1], [1, 0]]),
    ],
)
def test_each_rule_is_what_its_name_says(
    tmp_path: Path, rule: str, y: list[list[int]], mask: list[list[int]]
) -> None:
    table = read(tmp_path, THREE, readers=rule)
    assert table.ids == ["a", "b"]
    assert table.y.tolist() == y
    assert table.mask.astype(int).tolist() == mask
    assert f"6 rows of 2 images, from several readers: {rule}" in table.notes[0]
    assert ("1 label tied and not used" in table.notes[0]) == (rule == "majority")
    assert ("1 label tied and not measured" in table.notes[0]) == (rule == "mean")


def test_the_mean_is_trained_on_and_half_of_the_readers_is_not_measured(tmp_path: Path) -> None:
    table = read(tmp_path, THREE, readers="mean")
    np.testing.assert_allclose(table.targets, [[2 / 3, 1 / 3], [1 / 2, 0]], rtol=1e-6)
    assert table.targets.dtype == np.float32
    assert table.rows([1]).targets.tolist() == [[0.5, 0.0]]
    measured, ties_out = table.measurable(), read(tmp_path, THREE, readers="majority")
    assert (measured.y.tolist(), measured.mask.tolist()) == (ties_out.y.tolist(), ties_out.mask.tolist())
    assert measured.soft is None


def test_readers_who_agree_count_each(tmp_path: Path) -> None:
    table = read(tmp_path, "image_id,Edema,Mass\na,1,1\na,1,1\na,0,0\n", readers="majority")
    assert table.y.tolist() == [[1, 1]]
    assert "1 exact repeat of an earlier row, and no column names the readers: each row" in table.notes[0]


def test_a_row_of_one_reader_that_comes_twice_counts_once(tmp_path: Path) -> None:
    text = "image_id,rad_id,Edema,Mass\na,R1,1,1\na,R1,1,1\na,R2,0,0\n"
    table = read(tmp_path, text, readers="majority")
    assert not table.mask.any()  # a tie
    assert "1 exact repeat of an earlier row, not counted again" in table.notes[0]


def test_one_row_per_image_is_read_the_same_under_every_rule(tmp_path: Path) -> None:
    text = "image_id,Edema,Mass\na,1,0\nb,,1\n"
    tables = [read(tmp_path, text, readers=rule) for rule in ("error", "majority", "any", "mean")]
    for table in tables[1:]:
        assert (table.targets == tables[0].y).all() and (table.mask == tables[0].mask).all()


def test_an_image_of_two_patients_is_refused(tmp_path: Path) -> None:
    text = "image_id,P,Edema,Mass\na,7,1,0\nb,7,0,0\na,8,1,0\n"
    with pytest.raises(UserError, match=r"labels\.csv:4: 'a' is of patient '8' here and of '7' on line 2"):
        read(tmp_path, text, readers="any", patient="P")


def test_a_patient_is_read_from_the_files_name(tmp_path: Path) -> None:
    text = "image_id,Edema,Mass\np7_1.png,1,0\nsub/p7_2.png,0,0\np8_1.png,1,0\n"
    settings = {"readers": "error", "patient": "Patient_ID", "patient_pattern": r"p([0-9]+)_"}
    table = read(tmp_path, text, **settings)
    assert table.patient == ["7", "7", "8"]
    assert "the pattern finds 2 patients, such as '7' of 'p7_1.png'." in table.notes[0]
    with pytest.raises(UserError, match=r"labels\.csv:3: .*'p\(\[0-9\]\+\)_' finds no patient in 'x\.png'"):
        read(tmp_path, text.replace("sub/p7_2", "x"), **settings)
