"""A table of our own is read as it was written, whatever its columns are called, or refused."""

from pathlib import Path

import pytest

from cxrscore.core.errors import UserError
from cxrscore.tables.csv_table import read_table, write_table


@pytest.mark.parametrize("name", ["index", "level_0", "Unnamed: 0", "", "a.png", "1", " blank "])
def test_a_column_of_our_own_keeps_its_name_and_its_cells(tmp_path: Path, name: str) -> None:
    cells = [["0", "x"], ["1", "y"], ["2", ""]]
    write_table(tmp_path / "t.csv", [name, "Edema"], cells)
    table = read_table(tmp_path / "t.csv")
    assert table.columns == {name: ["0", "1", "2"], "Edema": ["x", "y", ""]}
    assert (table.lines, table.notes) == ([2, 3, 4], ())


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("a;b\n1;2\n", None),
        ("a,b\n1,2\n,\n", "1 row of blank cells"),
        ("a,b\n1,2,\n", "1 row ends with further blank cells"),
        ("a,b\n1\n", "1 cell under a header of 2"),
        ("a,a\n1,2\n", "'a' names two columns"),
        ("a,b\n", "a header and no rows"),
    ],
)
def test_what_we_did_not_write_is_refused_or_one_column(tmp_path: Path, text: str, why: str | None) -> None:
    (tmp_path / "t.csv").write_text(text)
    if why is None:
        assert list(read_table(tmp_path / "t.csv").columns) == ["a;b"]
        return
    with pytest.raises(UserError, match=why):
        read_table(tmp_path / "t.csv")
