"""Files are written whole, and a table is read as it stands or refused with file, line and remedy."""

import csv
import gzip
import hashlib
import os
import tracemalloc
from pathlib import Path

import pytest

from cxrscore.core.errors import UserError
from cxrscore.core.files import replacing, sha256_file, write_text
from cxrscore.tables import csv_table
from cxrscore.tables.csv_table import MAX_CELL, write_table
from cxrscore.tables.foreign_table import read_foreign_table


def table(tmp_path: Path, data: bytes | str, name: str = "t.csv") -> Path:
    path = tmp_path / name
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return path


def test_cells_stay_the_text_they_are(tmp_path: Path) -> None:
    read = read_foreign_table(table(tmp_path, "id,Edema\n001,1.0\n1,NA\n1.0, null \n"))
    assert read.columns == {"id": ["001", "1", "1.0"], "Edema": ["1.0", "NA", " null "]}
    assert len(read) == 3


def test_a_byte_order_mark_crlf_and_blank_lines_are_fine(tmp_path: Path) -> None:
    read = read_foreign_table(table(tmp_path, b"\xef\xbb\xbfid,Edema\r\na,1\r\n\r\nb,0\r\n\r\n"))
    assert read.columns == {"id": ["a", "b"], "Edema": ["1", "0"]}
    assert read.lines == [2, 4]


def test_a_gz_table_reads_as_the_plain_one(tmp_path: Path) -> None:
    data = "id,Edema\na,1\n"
    assert read_foreign_table(table(tmp_path, gzip.compress(data.encode()), "t.csv.gz")).columns == {
        "id": ["a"],
        "Edema": ["1"],
    }


def test_a_quoted_newline_is_part_of_the_cell_and_lines_still_count_right(tmp_path: Path) -> None:
    read = read_foreign_table(table(tmp_path, 'id,Edema\n"a\nb",1\nc,0\n'))
    assert read.columns["id"] == ["a\nb", "c"]
    assert read.lines == [3, 4]
    with pytest.raises(
        UserError, match=r"t\.csv:5: 1 cell under a header of 2; put quotes around a cell that holds a comma"
    ):
        read_foreign_table(table(tmp_path, 'id,Edema\n"a\nb",1\nc,0\nd\n'))


def test_text_that_csv_would_mangle_comes_back_as_it_went_in(tmp_path: Path) -> None:
    names = ["a,b", 'say "x"', "two\nlines", "bare\rreturn", "crlf\r\n", " space ", "ü", "=1+1", ""]
    write_table(tmp_path / "t.csv", ["id", "n"], [(name, i) for i, name in enumerate(names)])
    assert read_foreign_table(tmp_path / "t.csv").columns == {
        "id": names,
        "n": [str(i) for i in range(len(names))],
    }
    assert (tmp_path / "t.csv").read_bytes().startswith(b'id,n\n"a,b",0\n')


def test_a_name_that_is_not_utf8_is_written_byte_for_byte(tmp_path: Path) -> None:
    write_table(tmp_path / "t.csv", ["id"], [["caf\udce9"]])
    assert (tmp_path / "t.csv").read_bytes() == b"id\ncaf\xe9\n"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("id,Edema\na,1\nb\n", r"t\.csv:3: 1 cell under a header of 2"),
        ("id,Edema\na,1\nb,1,0\n", r"t\.csv:3: 3 cells under a header of 2"),
        ("id,Edema,Edema\na,1,0\n", r"t\.csv:1: 'Edema' names two columns; rename one"),
        ("", r"t\.csv: empty; a header of column names"),
        ("\n\n", r"t\.csv: empty; a header of column names"),
        ("id,Edema\n", r"t\.csv: a header and no rows; add the rows"),
        (
            "id;Edema\na;1\nb;1;0\n",
            r"t\.csv:3: 3 cells under a header of 2; put quotes around a cell that holds a semicolon",
        ),
        (
            "id\tEdema\na\n",
            r"t\.csv:2: 1 cell under a header of 2; put quotes around a cell that holds a tab",
        ),
        ("sep=;\nid;Edema\na;1\nb\n", r"t\.csv:4: 1 cell under a header of 2"),
        ("id,,Edema,\na,x,1,y\n", r"t\.csv:1: columns 2, 4 have no name; name them, or remove them"),
        ("id,Edema\na,1\n".encode("utf-16"), r"t\.csv: this is UTF-16; save it as UTF-8"),
        ("id,Edema\na,1\n".encode("utf-16-le"), r"t\.csv: this is UTF-16; save it as UTF-8"),
        ("id,Edema\na,1\ncafé,0\n".encode("latin-1"), r"t\.csv:3: byte 0xe9 is not UTF-8; save it as UTF-8"),
        ("id,Edema\na,1\nb\0,0\n", r"t\.csv:3: a NUL byte"),
        (
            'id,Edema\na,1\n"b,0\nc,1\n',
            r"t\.csv:3: unexpected end of data, in the row that starts here; close its quotes",
        ),
        ('id,Edema\n"a"b,1\n', r"t\.csv:2: .* expected after '\"', in the row that starts here"),
        (
            "id,Edema\na,1\n" + "b" * (MAX_CELL + 1) + ",0\n",
            r"t\.csv:3: field larger than .* at most 1,000,000 characters",
        ),
    ],
)
def test_a_table_that_is_not_whole_is_refused_where_it_breaks(
    tmp_path: Path, data: bytes | str, message: str
) -> None:
    with pytest.raises(UserError, match=message):
        read_foreign_table(table(tmp_path, data))


def test_the_limit_on_cells_is_for_our_tables_only(tmp_path: Path) -> None:
    before = csv.field_size_limit()
    with pytest.raises(UserError, match="field larger than"):
        read_foreign_table(table(tmp_path, "id\n" + "b" * (MAX_CELL + 1)))
    assert csv.field_size_limit() == before


def test_a_missing_file_a_folder_and_a_damaged_gz_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no\.csv: No such file or directory; a CSV file was expected"):
        read_foreign_table(tmp_path / "no.csv")
    with pytest.raises(UserError, match=r"Is a directory; a CSV file was expected"):
        read_foreign_table(tmp_path)
    whole = gzip.compress(b"id,Edema\n" + b"a,1\n" * 999)
    for damaged in (whole[:-9], whole[:20] + b"\xff" * 9 + whole[29:], b"id,Edema\na,1\n"):
        with pytest.raises(UserError, match=r"t\.csv\.gz: damaged gzip .* fetch the file again"):
            read_foreign_table(table(tmp_path, damaged, "t.csv.gz"))


@pytest.mark.parametrize(
    ("asked", "there"), [("edema", "Edema"), ("Edema ", "Edema"), ("Lung_Opacity", "Lung Opacity")]
)
def test_a_column_is_found_by_its_exact_name_and_the_nearest_is_named(
    tmp_path: Path, asked: str, there: str
) -> None:
    read = read_foreign_table(table(tmp_path, "id,Edema,Lung Opacity\na,1,0\n"))
    assert read.column(there)
    with pytest.raises(UserError, match=rf"t\.csv:1: no column '{asked}'; the nearest is '{there}'"):
        read.column(asked)


def test_where_no_column_is_near_all_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no column 'Fracture'; there are 'id', 'Edema'"):
        read_foreign_table(table(tmp_path, "id,Edema\na,1\n")).column("Fracture")


def test_a_write_that_fails_leaves_the_old_file_and_nothing_beside_it(tmp_path: Path) -> None:
    write_text(tmp_path / "a.txt", "old")
    with pytest.raises(ZeroDivisionError, match="division"):
        write_table(tmp_path / "a.txt", ["id"], ([1 / n] for n in (1, 0)))
    assert (tmp_path / "a.txt").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


def test_a_write_makes_its_folder_and_its_content_is_what_is_hashed(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.bin"
    with replacing(path) as temporary:
        temporary.write_bytes(b"abc")
        assert not path.exists()
    assert sha256_file(path) == hashlib.sha256(b"abc").hexdigest()


BOUND = 4_000_000
HEADER, ROW = b"id,Edema\n", b"a,1\n"


def of_bytes(size: int) -> bytes:
    """A sound table of exactly so many bytes."""
    rows = (size - len(HEADER)) // len(ROW) - 1
    table = HEADER + ROW * rows
    return table + b"b" * (size - len(table) - 3) + b",0\n"


def refused(path: Path) -> int:
    """Bytes of memory that it takes to refuse a table as too large."""
    tracemalloc.start()
    try:
        message = r"t\.csv.*: more than 4,000,000 bytes.*; split the table, or check that this is the right"
        with pytest.raises(UserError, match=message):
            read_foreign_table(path)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.fixture
def small_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(csv_table, "MAX_TABLE_BYTES", BOUND)


BOMB = b"a" * 1_000_000


@pytest.mark.usefixtures("small_bound")
@pytest.mark.parametrize(
    "packed",
    [
        gzip.compress(HEADER + BOMB * 200),
        gzip.compress(HEADER) + gzip.compress(BOMB) * 200,
        gzip.compress(HEADER + BOMB * 200)[:-8],
        gzip.compress(HEADER + BOMB * 200) + b"garbage",
        gzip.compress(of_bytes(BOUND + 1)),
    ],
    ids=["one member", "many members", "cut", "garbage after it", "one byte more"],
)
def test_a_table_that_unpacks_to_too_much_is_refused_in_little_memory(tmp_path: Path, packed: bytes) -> None:
    assert refused(table(tmp_path, packed, "t.csv.gz")) < 2.5 * BOUND  # moved as it grows, counted twice


@pytest.mark.usefixtures("small_bound")
def test_a_plain_table_that_is_too_large_is_refused_before_it_is_read(tmp_path: Path) -> None:
    path = table(tmp_path, of_bytes(BOUND + 1))
    assert refused(path) < 1_000_000
    os.truncate(path, 1 << 40)
    assert refused(path) < 1_000_000


@pytest.mark.usefixtures("small_bound")
def test_a_table_without_a_size_is_read_no_further_than_the_bound(tmp_path: Path) -> None:
    (tmp_path / "t.csv").symlink_to("/dev/zero")
    assert refused(tmp_path / "t.csv") < 2.5 * BOUND


@pytest.mark.usefixtures("small_bound")
@pytest.mark.parametrize("name", ["t.csv", "t.csv.gz"])
def test_a_table_as_large_as_the_bound_is_read(tmp_path: Path, name: str) -> None:
    data = of_bytes(BOUND)
    assert len(data) == BOUND
    read = read_foreign_table(table(tmp_path, gzip.compress(data) if name.endswith(".gz") else data, name))
    assert read.columns["Edema"][-2:] == ["1", "0"]


@pytest.mark.parametrize("name", ["t.csv.gz", "T.CSV.GZ"])
def test_a_gz_of_several_members_and_padding_is_one_table(tmp_path: Path, name: str) -> None:
    packed = gzip.compress(b"id,Ed") + gzip.compress(b"ema\na,1\n") + gzip.compress(b"b,0\n") + b"\0" * 512
    assert read_foreign_table(table(tmp_path, packed, name)).columns == {
        "id": ["a", "b"],
        "Edema": ["1", "0"],
    }


@pytest.mark.parametrize(
    "packed",
    [
        gzip.compress(HEADER + ROW) + b"garbage",
        gzip.compress(HEADER + ROW) + gzip.compress(ROW)[:-3],
        gzip.compress(HEADER + ROW)[:-8] + b"\0" * 8,
        gzip.compress(HEADER + ROW)[:5],
        b"\x1f\x8b\x07" + gzip.compress(HEADER + ROW)[3:],
    ],
    ids=["garbage", "second member cut", "wrong sum", "header alone", "unknown method"],
)
def test_a_gz_with_anything_amiss_is_damaged(tmp_path: Path, packed: bytes) -> None:
    with pytest.raises(UserError, match=r"t\.csv\.gz: damaged gzip .* fetch the file again"):
        read_foreign_table(table(tmp_path, packed, "t.csv.gz"))


def test_a_gz_of_nothing_is_empty(tmp_path: Path) -> None:
    for packed in (b"", gzip.compress(b"")):
        with pytest.raises(UserError, match=r"t\.csv\.gz: empty; a header"):
            read_foreign_table(table(tmp_path, packed, "t.csv.gz"))
