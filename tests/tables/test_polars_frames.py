"""polars gives what csv, float and a dict give, or steps aside."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cxrscore.core.errors import UserError
from cxrscore.tables import csv_table
from cxrscore.tables.foreign_table import read_foreign_table
from cxrscore.tables.polars_frames import numbers, places, plain_columns
from cxrscore.tables.score_table import read_scores

CELL = st.text(st.sampled_from("ab\ufeffx^\x01,\"'\r\n 01.-;#\té\u2028\x0b\x85\x1c"), max_size=4)


PLAIN = st.text(st.sampled_from("ab\ufeffx^\x01' 01.-;#\té\u2028\x0b\x85\x1c"), max_size=4)


def same_length(cell: st.SearchStrategy[str]) -> st.SearchStrategy[list[list[str]]]:
    return st.integers(1, 4).flatmap(
        lambda n: st.lists(st.lists(cell, min_size=n, max_size=n), min_size=1, max_size=5)
    )


ROWS = same_length(PLAIN) | same_length(CELL) | st.lists(st.lists(CELL, min_size=1, max_size=4), max_size=5)


@given(rows=ROWS, end=st.sampled_from(["\n", "\r\n"]))
def test_a_large_table_is_read_or_refused_as_a_small_one(
    tmp_path_factory: pytest.TempPathFactory, rows: list[list[str]], end: str
) -> None:
    path = tmp_path_factory.mktemp("table") / "table.csv"
    path.write_bytes(end.join(map(",".join, rows)).encode() + end.encode())
    outcomes = []
    for large in (0, 10**9):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(csv_table, "LARGE", large)
            try:
                table = read_foreign_table(path)
                outcomes.append((list(table.columns.items()), table.lines))
            except UserError as error:
                outcomes.append(str(error))
    assert outcomes[0] == outcomes[1]


@pytest.mark.parametrize(
    "text",
    [
        "a,b\n1,2\n,0\n 3 ,#4\n",
        "a,b\r\nnull,NA\r\n1e3,\r\n",
        "a,b\n1,2",
        "é,b\nü,\u2028\n",
        "a,b\nx^,2\n",
        "a,b\nx\x01,2\n",
        "a,b\n\ufeff1,2\n",
        "a,b\n\x1f\x8b\x08,2\n",
    ],
    ids=ascii,
)
def test_what_is_plain_is_read_by_polars(text: str) -> None:
    body = [line.split(",") for line in text.replace("\r", "").rstrip("\n").split("\n")[1:]]
    assert plain_columns(text, longest=100) == [list(column) for column in zip(*body, strict=True)]


@pytest.mark.parametrize(
    "text",
    [
        "a,b\n1\n",
        "a,b\n1,2,3\n",
        "a,b\n\n1,2\n",
        'a,b\n"1",2\n',
        "a,b\n1,2\r3,4\n",
        "a\n1\n",
        "a,b\n",
        "",
        "a,b\n1," + 99 * "x",
        99 * "x" + ",b\n1,2\n",
    ],
    ids=[
        "short",
        "long",
        "blank",
        "quote",
        "bare CR",
        "one column",
        "no rows",
        "empty",
        "cell too long",
        "header too long",
    ],
)
def test_what_is_not_plain_is_left_to_the_strict_reader(text: str) -> None:
    assert plain_columns(text, longest=99) is None


NUMBER = st.one_of(
    st.floats().map(repr),
    st.floats(0, 1).map(lambda x: f"{x:.7g}"),
    st.text(st.sampled_from("0123456789.eE+-_ infantyINFANTY\t"), max_size=8),
)


@given(st.lists(NUMBER, max_size=20))
def test_numbers_are_those_of_float_bit_by_bit(cells: list[str]) -> None:
    def usual(cell: str) -> float:
        try:
            return float(cell)
        except ValueError:
            return np.nan

    expected = np.array([usual(cell) for cell in cells], dtype=np.float64)
    assert np.array_equal(
        numbers(cells).view(np.int64)[~np.isnan(expected)], expected.view(np.int64)[~np.isnan(expected)]
    )
    assert np.array_equal(np.isnan(numbers(cells)), np.isnan(expected))


@given(st.lists(st.text(max_size=3)), st.lists(st.text(max_size=3), unique=True))
def test_places_are_those_of_a_dict(names: list[str], among: list[str]) -> None:
    place_of = {name: place for place, name in enumerate(among)}
    assert places(names, among).tolist() == [place_of.get(name, -1) for name in names]


def test_a_large_score_table_is_read_the_same_and_its_wrong_cell_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(csv_table, "LARGE", 0)
    path = tmp_path / "scores.csv"
    rng = np.random.default_rng(0)
    probs = rng.random((300, 3)).astype(np.float32)
    rows = [f"{i}.png," + ",".join(f"{p:.9g}" for p in row.tolist()) for i, row in enumerate(probs)]
    path.write_text("\n".join(["id,A,B,C", *rows]) + "\n", encoding="utf-8")
    id_column, ids, findings, read, *_ = read_scores(path)
    assert (id_column, ids, findings) == ("id", [f"{i}.png" for i in range(300)], ["A", "B", "C"])
    assert np.array_equal(read.astype(np.float32), probs)
    for line, cell in ((2, "1.01"), (150, ""), (301, "nan")):
        wrong = ["id,A,B,C", *rows]
        wrong[line - 1] = f"x.png,0.5,{cell},0.5"
        path.write_text("\n".join(wrong) + "\n", encoding="utf-8")
        with pytest.raises(UserError, match=rf"scores.csv:{line}: B: a number from 0 to 1, not '{cell}'"):
            read_scores(path)


def test_a_small_table_is_read_without_importing_polars(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text("a,b\n1,2\n", encoding="utf-8")
    code = (
        "import sys; from pathlib import Path; from cxrscore.tables.foreign_table import read_foreign_table; "
        f"read_foreign_table(Path({str(path)!r})); print('polars' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
