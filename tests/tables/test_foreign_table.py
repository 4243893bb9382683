"""Tables as people and their programs write them: read as they are meant, or refused; never guessed."""

import time
from pathlib import Path

import pytest

from cxrscore.core.errors import UserError
from cxrscore.tables import csv_table
from cxrscore.tables.csv_table import Table
from cxrscore.tables.foreign_table import read_foreign_table, without_usage

PLAIN = {"name": ["a.png", "b.png"], "Edema": ["1", "0"], "Mass": ["0", ""]}


def read(tmp_path: Path, text: str) -> Table:
    (tmp_path / "t.csv").write_bytes(text.encode())
    return read_foreign_table(tmp_path / "t.csv")


@pytest.mark.parametrize(
    ("text", "note"),
    [
        ("name,Edema,Mass\na.png,1,0\nb.png,0,\n", None),
        ("\ufeffname,Edema,Mass\r\na.png,1,0\r\nb.png,0,\r\n", None),
        ("name;Edema;Mass\na.png;1;0\nb.png;0;\n", "cells are separated by semicolons"),
        ("name\tEdema\tMass\na.png\t1\t0\nb.png\t0\t\n", "cells are separated by tabs"),
        ("sep=,\r\nname,Edema,Mass\r\na.png,1,0\r\nb.png,0,\r\n", None),
        ("sep=;\nname;Edema;Mass\na.png;1;0\nb.png;0;\n", "separated by semicolons"),
        ("\ufeffSEP=\t\nname\tEdema\tMass\na.png\t1\t0\nb.png\t0\t\n", "separated by tabs"),
        ('"sep=;"\nname;Edema;Mass\na.png;1;0\nb.png;0;\n', "separated by semicolons"),
        (",name,Edema,Mass\n0,a.png,1,0\n1,b.png,0,\n", "numbers the rows, like a pandas index"),
        (",name,Edema,Mass\n7,a.png,1,0\n3,b.png,0,\n", "numbers the rows"),
        ("Unnamed: 0,name,Edema,Mass\n0,a.png,1,0\n1,b.png,0,\n", "numbers the rows"),
        (
            "name,Edema,Mass,,\na.png,1,0,,\nb.png,0,,,\n",
            "2 columns left out that had neither a name nor a value",
        ),
        (
            ",name,,Edema,Mass\n,a.png,,1,0\n,b.png, ,0,\n",
            "2 columns left out that had neither a name nor a value",
        ),
        (",name,Edema,Mass,\n0,a.png,1,0,\n1,b.png,0,,\n", "1 column left out that had neither"),
        ("name,Edema,Mass\na.png,1,0\n,,\nb.png,0,\n,,\n", "2 rows of blank cells left out"),
        ("name,Edema,Mass\na.png,1,0,,\nb.png,0,,\n", "2 rows end with further blank cells"),
        ("\n\nname,Edema,Mass\na.png,1,0\nb.png,0,\n", None),
        ("index,name,Edema,Mass\n0,a.png,1,0\n1,b.png,0,\n", "numbers the rows"),
        ("name, Edema ,\u00a0Mass\na.png,1,0\nb.png,0,\n", "2 column names begin or end with blanks"),
    ],
)
def test_a_table_is_what_it_was_before_programs_wrote_it(tmp_path: Path, text: str, note: str | None) -> None:
    table = read(tmp_path, text)
    assert table.columns == PLAIN
    assert [note] * bool(note) == [note for said in table.notes if note and note in said][:1]
    assert note or not table.notes
    lines = text.split("\n")
    assert [lines[line - 1].strip().split("png")[0][-2:-1] for line in table.lines] == ["a", "b"]


@pytest.mark.parametrize("name", ["StudyInstanceUID", "id", "image_id", "Image Index", "Path", "filename"])
def test_an_index_beside_numbers_that_are_called_names_is_left_out(tmp_path: Path, name: str) -> None:
    assert list(read(tmp_path, f",{name},Edema\n0,1001,1\n1,1002,0\n").columns) == [name, "Edema"]


def test_lines_of_an_old_mac_are_read(tmp_path: Path) -> None:
    assert read(tmp_path, "sep=;\rname;Edema;Mass\ra.png;1;0\rb.png;0;\r").columns == PLAIN


def test_a_table_of_thousands_of_columns_is_read_at_once(tmp_path: Path) -> None:
    names = ",".join(f"c{i}" for i in range(20_000))
    started = time.process_time()
    assert len(read(tmp_path, f"{names}\n{names}\n").columns) == 20_000
    assert time.process_time() - started < 3  # seconds; it took 6 by comparing each name with each


def test_more_cells_than_memory_bears_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(csv_table, "MAX_CELLS", 6)
    with pytest.raises(UserError, match=r"t\.csv: more than 6 cells; split the table"):
        read(tmp_path, "name,Edema\na,1\nb,0\nc,1\nd,0\n")


def test_the_delimiter_is_the_one_that_reads_the_table_whole(tmp_path: Path) -> None:
    assert read(tmp_path, 'name;"Edema, left";x\na;0,5;1\nb;0,1;0\n').columns == {
        "name": ["a", "b"],
        "Edema, left": ["0,5", "0,1"],
        "x": ["1", "0"],
    }
    assert list(read(tmp_path, "name,Edema;left\na,1\nb,0\n").columns) == ["name", "Edema;left"]
    assert read(tmp_path, "name,a;b\nx,1;2\n").columns == {"name": ["x"], "a;b": ["1;2"]}


@pytest.mark.parametrize(
    "text",
    [
        ",Edema,Mass\n7,1,0\n8,0,1\n",  # the numbers may be the names of the rows
        ",Edema,Mass\n101,1e-05,0.3\n102,0.2,0.4\n",
        ",Edema,Mass\n0,True,nan\n1,False,\n",
        ",Patient_No,Edema\n1001,7,1\n1002,8,0\n",
        ",name,Edema\n0,a,1\n0,b,0\n",  # and these are none of rows
        ",name,Edema\n00,a,1\n01,b,0\n",
        ",name,Edema\nx,a,1\ny,b,0\n",
    ],
)
def test_a_first_column_without_a_name_that_may_mean_something_is_that_of_the_images(
    tmp_path: Path, text: str
) -> None:
    table = read(tmp_path, text)
    assert next(iter(table.columns)) == "Image_name"
    assert table.columns["Image_name"] == [line.split(",")[0] for line in text.splitlines()[1:]]
    assert table.notes[-1].endswith("the first column has no name, and is read as 'Image_name'.")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name,,Edema,\na,x,1,y\n", r"t\.csv:1: columns 2, 4 have no name; name them, or remove them"),
        (
            "name,Edema\na,1,0\n",
            r"t\.csv:2: 3 cells under a header of 2; put quotes around a cell that holds a comma",
        ),
        ("name,Edema,Mass\na,1\n", r"t\.csv:2: 2 cells under a header of 3"),
        ("sep=;\nname;Edema\na;1\nb;1;1\n", r"t\.csv:4: 3 cells under a header of 2; put quotes around"),
        ("name,Edema, Edema\na,1,0\n", r"t\.csv:1: 'Edema' names two columns; rename one"),
        ("name;Edema\na,1\n", r"t\.csv:2: 1 cell under a header of 2"),
        ("sep=;\n", r"t\.csv: empty; a header"),
        ("101.jpg,1,0\n102.jpg,0,1\n", r"t\.csv:1: '101\.jpg' looks like a cell, not like a column's name"),
        ("101,1,0\n102,0,1\n", r"t\.csv:1: '101' looks like a cell"),
        ("101.jpg\n102.jpg\n", r"t\.csv:1: '101\.jpg' looks like a cell"),
        (
            '"name", "Edema"\na,1\n',
            r't\.csv:1: a blank stands before the quotes of "Edema"; remove the blanks',
        ),
    ],
)
def test_what_could_be_read_in_two_ways_is_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        read(tmp_path, text)


@pytest.mark.parametrize("cells", [("Public", "Private"), ("public", ""), ("Ignored", "Public")])
def test_kaggles_usage_is_left_out(tmp_path: Path, cells: tuple[str, str]) -> None:
    table = without_usage(read(tmp_path, f"name,Edema,Usage\na,1,{cells[0]}\nb,0,{cells[1]}\n"))
    assert list(table.columns) == ["name", "Edema"]
    assert "is Kaggle's" in table.notes[0]


def test_another_column_of_that_name_stays(tmp_path: Path) -> None:
    assert "Usage" in without_usage(read(tmp_path, "name,Usage\na,0.5\n")).columns


def test_of_two_ways_to_cut_a_table_the_one_that_leaves_only_decimal_commas_is_taken(tmp_path: Path) -> None:
    """Both give two columns; a comma in a column's name is the only one that no number has."""
    path = tmp_path / "labels.csv"
    path.write_text("Image_name;Effusion, left\np1.png;0,0\np2.png;1,0\n")
    assert read_foreign_table(path).columns == {
        "Image_name": ["p1.png", "p2.png"],
        "Effusion, left": ["0,0", "1,0"],
    }
    path.write_text("Image_name,note; more\np1.png,a; b\np2.png,c\n")
    assert list(read_foreign_table(path).columns) == ["Image_name", "note; more"]
