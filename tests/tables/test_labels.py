"""Labels are read as declared: policies for blank and -1, ids as text, every bad table refused."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cxrscore.core.errors import UserError
from cxrscore.tables.labels import LabelTable, read_labels

SLAM = "Image_name,Patient_ID,Study,Sex,Age,ViewCategory,ViewPosition,Edema,No Finding,Support Devices\n"
ROWS = """\
00000005_001_001.jpg,00000005,001,Female,68,Frontal,AP,1,0,0
00000005_002_001.jpg,00000005,002,Female,69,Frontal,PA,,1,1
00000007_001_001.jpg,00000007,001,Male,50,Lateral,,0,1,0
"""
COLUMNS: dict[str, Any] = {
    "format": "table",
    "id": "Image_name",
    "patient": "Patient_ID",
    "study": "Study",
    "patient_ids": "text",
    "patient_pattern": None,
    "readers": "error",
}
POLICY: dict[str, Any] = {
    "findings": ["Edema", "No Finding", "Support Devices"],
    "blank": "zero",
    "uncertain": "error",
}


def read(tmp_path: Path, text: str, **settings: Any) -> LabelTable:
    path = tmp_path / "labels.csv"
    path.write_text(text, newline="")
    return read_labels(path, **{**COLUMNS, **POLICY, **settings})


def of_edema(tmp_path: Path, *cells: str, **settings: Any) -> LabelTable:
    """A table of one finding with these cells, one image each."""
    rows = "".join(f"{i}.png,{cell}\n" for i, cell in enumerate(cells))
    columns = {"patient": None, "study": None, "findings": ["Edema"]}
    return read(tmp_path, "Image_name,Edema\n" + rows, **{**columns, **settings})


def test_a_slam_table_is_read_whole(tmp_path: Path) -> None:
    table = read(tmp_path, SLAM + ROWS)
    assert table.ids == ["00000005_001_001.jpg", "00000005_002_001.jpg", "00000007_001_001.jpg"]
    assert table.findings == ("Edema", "No Finding", "Support Devices")
    assert table.y.tolist() == [[1, 0, 0], [0, 1, 1], [0, 1, 0]]
    assert table.y.dtype == np.int8 and table.mask.all()
    assert table.patient == ["00000005", "00000005", "00000007"]
    assert table.view == ["AP", "PA", "Lateral"]
    assert (table.sex, table.age) == (["Female", "Female", "Male"], ["68", "69", "50"])
    assert table.notes == ()


def test_studies_that_are_numbered_within_a_patient_are_told_apart(tmp_path: Path) -> None:
    assert read(tmp_path, SLAM + ROWS).study == ["00000005/001", "00000005/002", "00000007/001"]


def test_findings_come_in_the_order_asked_for_not_the_files(tmp_path: Path) -> None:
    table = read(tmp_path, SLAM + ROWS, findings=["Support Devices", "Edema"])
    assert table.findings == ("Support Devices", "Edema")
    assert table.y.tolist() == [[0, 1], [1, 0], [0, 0]]


def test_rows_picks_rows_in_the_order_asked_for(tmp_path: Path) -> None:
    table = read(tmp_path, SLAM + ROWS, study=None).rows([2, 0])
    assert table.ids == ["00000007_001_001.jpg", "00000005_001_001.jpg"]
    assert (table.y[:, 0].tolist(), table.patient, table.study) == ([0, 1], ["00000007", "00000005"], None)


@pytest.mark.parametrize(
    ("settings", "y", "mask"),
    [
        ({"blank": "zero", "uncertain": "zero"}, [0, 1, 0, 0], [1, 1, 1, 1]),
        ({"blank": "zero", "uncertain": "one"}, [0, 1, 1, 0], [1, 1, 1, 1]),
        ({"blank": "ignore", "uncertain": "ignore"}, [0, 1, 0, 0], [1, 1, 0, 0]),
        ({"blank": "ignore", "uncertain": "one"}, [0, 1, 1, 0], [1, 1, 1, 0]),
    ],
)
def test_blank_and_uncertain_follow_their_policies(
    tmp_path: Path, settings: dict[str, str], y: list[int], mask: list[int]
) -> None:
    table = of_edema(tmp_path, "0", "1", "-1", "", **settings)
    assert table.y[:, 0].tolist() == y
    assert table.mask[:, 0].astype(int).tolist() == mask


def test_an_uncertain_label_is_refused_with_the_first_line_and_counts_by_finding(tmp_path: Path) -> None:
    text = "Image_name,Edema,Mass\na,1,0\nb,0,-1\nc,-1,-1\n"
    message = (
        r"labels\.csv:3: 'Mass' is uncertain, the first of 3 such labels \(Edema 1, Mass 2\); set labels"
    )
    with pytest.raises(UserError, match=message):
        read(tmp_path, text, patient=None, study=None, findings=["Edema", "Mass"])


def test_a_blank_label_is_refused_where_the_policy_says_so(tmp_path: Path) -> None:
    message = r"labels\.csv:3: 'Edema' is blank, the first of 2 such labels \(Edema 2\); set labels\.blank to"
    with pytest.raises(UserError, match=message):
        of_edema(tmp_path, "1", "", "", blank="error")


@pytest.mark.parametrize(
    "cell",
    [
        "Positive",
        "0.5",
        "0,5",
        "1,000",
        "yes",
        "2",
        "1.0.0",
        "1,0,0",
        "1_0",
        "- 1",
        "None",
        "inf",
        "x",
        "1/0",
    ],
)
def test_a_label_in_any_other_spelling_is_refused_not_guessed(tmp_path: Path, cell: str) -> None:
    message = rf"labels\.csv:3: 'Edema': a label is 0, 1, .*, not {re.escape(repr(cell))}; correct the cell"
    with pytest.raises(UserError, match=message):
        of_edema(tmp_path, "1", f'"{cell}"')


def test_of_many_wrong_labels_the_first_in_the_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"labels\.csv:4: 'Edema': .* not 'wrong 0'"):
        of_edema(tmp_path, "1", "0", *(f"wrong {i}" for i in range(40)))


SPELLINGS = {
    1: ["1", "1.0", "1.", "1.00", "1,0", "+1", "1e0", "True", "TRUE", " 1", "1 ", "\uff11"],
    0: ["0", "0.0", "-0.0", "0,0", "False", "false", "0e0", "00"],
    -1: ["-1", "-1.0", "-1,0", "\u22121"],
    None: ["", " ", "nan", "NaN", "NA", "N/A", "<NA>", "#N/A", "null", "\u00a0"],
}


@pytest.mark.parametrize(
    ("label", "cell"), [(label, cell) for label, cells in SPELLINGS.items() for cell in cells]
)
def test_a_label_is_read_in_every_spelling_that_programs_give_it(
    tmp_path: Path, label: int | None, cell: str
) -> None:
    table = of_edema(tmp_path, "1", f'"{cell}"', blank="ignore", uncertain="one" if label == -1 else "error")
    assert table.y[1, 0] == (label in (1, -1))
    assert table.mask[1, 0] == (label is not None)


@pytest.mark.parametrize("header", ["edema", "EDEMA", "Oedema", "Ed ema"])
def test_a_renamed_finding_is_refused_and_the_near_column_named(tmp_path: Path, header: str) -> None:
    with pytest.raises(UserError, match=rf"labels\.csv:1: no column 'Edema'; the nearest is '{header}'"):
        read(tmp_path, f"Image_name,{header}\na,1\n", patient=None, study=None, findings=["Edema"])


@pytest.mark.parametrize("missing", ["id", "patient", "study"])
def test_a_missing_column_is_named(tmp_path: Path, missing: str) -> None:
    with pytest.raises(UserError, match=r"labels\.csv:1: no column 'Nowhere'; there are 'Image_name'"):
        read(tmp_path, SLAM + ROWS, **{missing: "Nowhere"})


def test_no_findings_asked_for_is_refused_with_the_columns_that_look_like_some(tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"list the columns that are findings\. .*: Edema, No Finding, Support Devices\."
    ):
        read(tmp_path, SLAM + ROWS, findings=[])


def test_a_finding_listed_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"labels\.findings: Edema is listed twice"):
        read(tmp_path, SLAM + ROWS, findings=["Edema", "No Finding", "Edema"])


def test_an_identical_row_counts_once_and_that_is_noted(tmp_path: Path) -> None:
    table = read(tmp_path, SLAM + ROWS + ROWS)
    assert table.ids == read(tmp_path, SLAM + ROWS).ids
    assert table.notes == (f"{tmp_path}/labels.csv: 3 exact repeats of an earlier row, not counted again.",)


def test_two_rows_of_one_image_that_differ_are_refused_with_both_lines(tmp_path: Path) -> None:
    other = ROWS.splitlines()[0].removesuffix("1,0,0") + "0,1,0\n"
    message = (
        r"labels\.csv:5: '00000005_001_001\.jpg' is also on line 2, with another 'Edema', 'No Finding'; keep"
    )
    with pytest.raises(UserError, match=message):
        read(tmp_path, SLAM + ROWS + other)


def test_ids_are_text_so_that_001_and_1_are_two_images(tmp_path: Path) -> None:
    text = "Image_name,Edema\n001,1\n1,0\n1.0,0\n1e0,0\nNA,0\n"
    assert read(tmp_path, text, patient=None, study=None, findings=["Edema"]).ids == [
        "001",
        "1",
        "1.0",
        "1e0",
        "NA",
    ]


@pytest.mark.parametrize(
    "name",
    [
        "../../etc/passwd",
        "a/../../b.png",
        "..",
        "/etc/passwd",
        "C:\\x.png",
        "c:x.png",
        "..\\x.png",
        "\\\\host\\x",
        "a/..",
    ],
)
def test_an_id_that_leaves_the_image_folder_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(
        UserError, match=r"labels\.csv:3: 'Image_name' is .*; write a path under the image folder"
    ):
        read(tmp_path, f"Image_name,Edema\na,1\n{name},0\n", patient=None, study=None, findings=["Edema"])


@pytest.mark.parametrize(
    "name", ["a..b.png", "p1/s1/x.png", "..hidden", "a b,c.png", "…", "./a.png", "a//b.png", "p1\\x.png"]
)
def test_an_id_with_harmless_dots_and_folders_is_fine(tmp_path: Path, name: str) -> None:
    assert read(
        tmp_path, f'Image_name,Edema\n"{name}",1\n', patient=None, study=None, findings=["Edema"]
    ).ids == [name]


def test_an_id_with_a_nul_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"labels\.csv:2: a NUL byte"):
        read(tmp_path, "Image_name,Edema\na\0.png,1\n", patient=None, study=None, findings=["Edema"])


@pytest.mark.parametrize(
    ("row", "column"),
    [(",p,s", "Image_name"), (" ,p,s", "Image_name"), ("a,,s", "Patient_ID"), ("a,p, ", "Study")],
)
def test_a_blank_id_patient_or_study_is_refused(tmp_path: Path, row: str, column: str) -> None:
    text = f"Image_name,Patient_ID,Study,Edema\nb,p,s,1\n{row},0\n"
    with pytest.raises(
        UserError, match=rf"labels\.csv:3: '{column}' is blank; fill it in, or delete the row"
    ):
        read(tmp_path, text, findings=["Edema"])


def test_without_patients_there_are_none(tmp_path: Path) -> None:
    table = read(tmp_path, SLAM + ROWS, patient=None)
    assert (table.patient, table.study) == (None, ["001", "002", "001"])


def test_images_without_any_finding_and_healthy_ones_with_a_pathology_are_counted(tmp_path: Path) -> None:
    text = "Image_name,Edema,No Finding,Support Devices\na,1,1,0\nb,0,1,1\nc,0,0,0\nd,1,0,0\n"
    assert read(tmp_path, text, patient=None, study=None).notes == (
        "1 image has none of the findings, not even No Finding.",
        "1 image has No Finding together with a pathology.",
    )


@pytest.mark.parametrize("text", ["", "Image_name,Edema\n", ";\n"])
def test_an_empty_or_misread_table_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(UserError, match=r"labels\.csv:?1?: (empty|a header and no rows)"):
        read(tmp_path, text)


def of_patients(tmp_path: Path, *patients: str, **settings: Any) -> LabelTable:
    """A table of these patients, one image each, and no other column of ids."""
    rows = "".join(f'{i}.png,"{patient}",1\n' for i, patient in enumerate(patients))
    text = "Image_name,Patient_ID,Edema\n" + rows
    return read(tmp_path, text, **{"study": None, "findings": ["Edema"], **settings})


@pytest.mark.parametrize(
    "cell",
    [
        " 7a",
        "7a ",
        "\t7a",
        "7a\u00a0",
        "\u30007a\u2007",
        "\ufeff7a",
        "7a\u200b",
        "\u200e7a",
        "7a\xad",
        "7a\n",
        " \u200b 7a",
    ],
)
def test_a_blank_at_the_end_of_a_patients_id_is_never_meant(tmp_path: Path, cell: str) -> None:
    table = of_patients(tmp_path, "7a", cell, "7 a")
    assert table.patient == ["7a", "7a", "7 a"]
    assert table.notes == (
        f"{tmp_path}/labels.csv: 1 cell of 'Patient_ID' with leading or trailing blanks, which are ignored.",
    )


def test_studies_lose_their_blanks_too_and_the_cells_of_each_column_are_counted(tmp_path: Path) -> None:
    text = "Image_name,Patient_ID,Study,Edema\na,p, s,1\nb,p,s\u00a0,1\nc, p,s,1\n"
    table = read(tmp_path, text, findings=["Edema"])
    assert table.study == ["p/s", "p/s", "p/s"]
    assert [note.split(": ")[1] for note in table.notes] == [
        "1 cell of 'Patient_ID' with leading or trailing blanks, which are ignored.",
        "2 cells of 'Study' with leading or trailing blanks, which are ignored.",
    ]


def test_a_blank_in_a_files_name_is_a_part_of_it(tmp_path: Path) -> None:
    text = "Image_name,Edema\na.png,1\n a.png,0\na.png ,0\n"
    table = read(tmp_path, text, patient=None, study=None, findings=["Edema"])
    assert table.ids == ["a.png", " a.png", "a.png "]


@pytest.mark.parametrize("patient", ["", " ", "\u00a0", "\u200b", "\t"])
def test_a_patient_of_blanks_alone_is_none(tmp_path: Path, patient: str) -> None:
    with pytest.raises(UserError, match=r"labels\.csv:3: 'Patient_ID' is blank; fill it in"):
        of_patients(tmp_path, "7", patient)


LONG = "76561198000000000000000000000000000001"
ALIKE = [
    ("2", "00000002"),
    ("2", "2.0"),
    ("2", "2."),
    ("2", "+2"),
    ("2", "2e0"),
    ("20", "2E+1"),
    ("2", "\uff12"),
    ("12", "\u0661\u0662"),
    ("0", "-0"),
    (LONG, LONG + ".0"),
    ("1e999999", "10e999998"),
]
APART = [
    ("2", "-2"),
    ("2", "20"),
    ("1001", "1_001"),  # patient 1, study 1: no number
    ("1.2", "1.20.3"),
    ("nan", "NaN0"),
    ("inf", "Infinity"),
    ("1e99999999999999999999", "2"),
    ("2", "\u00b2"),
    ("2", "p2"),
    (LONG, LONG[:-1] + "2"),  # one float
]


@pytest.mark.parametrize(("one", "other"), ALIKE)
def test_two_spellings_of_one_number_are_noted(tmp_path: Path, one: str, other: str) -> None:
    table = of_patients(tmp_path, one, other, "p1")
    assert table.patient == [one, other, "p1"]
    shown = " and ".join(map(repr, sorted((one, other), key=lambda text: (len(text), text))))
    (note,) = table.notes
    assert note == (
        f"{tmp_path}/labels.csv: 2 ids of 'Patient_ID' spell 1 number in several ways, such as {shown}; "
        "each spelling counts as a patient (labels.patient_ids: text)."
    )


@pytest.mark.parametrize(("one", "other"), APART)
def test_ids_of_different_numbers_or_of_none_are_apart(tmp_path: Path, one: str, other: str) -> None:
    assert of_patients(tmp_path, one, other).notes == ()
    assert of_patients(tmp_path, one, other, patient_ids="number").patient == [one, other]


@pytest.mark.parametrize(("one", "other"), ALIKE)
def test_one_number_can_be_declared_one_patient_under_its_shortest_spelling(
    tmp_path: Path, one: str, other: str
) -> None:
    shortest = min(one, other, key=lambda text: (len(text), text))
    for ids in ((one, other, "p1"), (other, one, "p1")):
        table = of_patients(tmp_path, *ids, patient_ids="number")
        assert table.patient == [shortest, shortest, "p1"]
        assert "each number counts as one patient (labels.patient_ids: number)" in table.notes[0]


def test_a_number_spelled_in_one_way_keeps_that_way(tmp_path: Path) -> None:
    table = of_patients(tmp_path, "00000002", "00000003", "00000002", patient_ids="number")
    assert (table.patient, table.notes) == (["00000002", "00000003", "00000002"], ())


def test_two_spellings_can_be_declared_two_patients(tmp_path: Path) -> None:
    table = of_patients(tmp_path, "2", "0002", patient_ids="distinct")
    assert table.patient == ["2", "0002"]
    assert "each spelling counts as a patient (labels.patient_ids: distinct)" in table.notes[0]


def test_the_studies_of_a_patient_of_two_spellings_are_its_own(tmp_path: Path) -> None:
    text = "Image_name,Patient_ID,Study,Edema\na,2,1,1\nb,02,1,0\n"
    assert read(tmp_path, text, findings=["Edema"]).study == ["2/1", "02/1"]
    assert read(tmp_path, text, findings=["Edema"], patient_ids="number").study == ["2/1", "2/1"]


def test_spellings_of_one_study_of_a_patient_are_noted_and_stay_apart(tmp_path: Path) -> None:
    text = "Image_name,Patient_ID,Study,Edema\na,p,1,1\nb,p,001,1\nc,q,1,1\nd,r,01,1\n"
    table = read(tmp_path, text, findings=["Edema"])
    assert table.study == ["p/1", "p/001", "q/1", "r/01"]
    assert table.notes == (
        f"{tmp_path}/labels.csv: 2 ids of 'Study' spell 1 number in several ways, such as '1' and '001'; "
        "each spelling counts as a study.",
    )


@pytest.mark.parametrize(
    ("one", "other"), [("P1", "p1"), ("M\u00fcller", "Mu\u0308ller"), ("stra\u00dfe", "STRASSE")]
)
def test_patients_that_differ_in_case_or_unicode_form_alone_are_noted(
    tmp_path: Path, one: str, other: str
) -> None:
    table = of_patients(tmp_path, one, other, "p2")
    assert table.patient == [one, other, "p2"]
    shown = " and ".join(map(repr, sorted((one, other), key=lambda text: (len(text), text))))
    assert table.notes == (
        f"{tmp_path}/labels.csv: 2 ids of 'Patient_ID' differ from another only in case or Unicode form, "
        f"such as {shown}; each counts as a patient.",
    )
