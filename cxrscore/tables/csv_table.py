"""CSV tables of text, exactly as they stand: what this program writes, and the cells of any table.

In    a file: commas, a header, RFC 4180 quotes; UTF-8, plain or `.gz`.
Out   Table: named columns of cells, the line of each row. Anything else is refused with file and line: no
      row is padded, cut or guessed. foreign_table.py reads what people and their programs write.
"""

import csv
import difflib
import gzip
import io
import zlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path

from cxrscore.core.errors import UserError, counted
from cxrscore.core.files import replacing

LARGE = 32_000_000  # characters of a table; a smaller one csv has read before polars is imported
MAX_TABLE_BYTES = 1 << 29  # of text, once unpacked: a .gz of 3 MB can hold 3 GB of nothing
READ_BYTES = 1 << 20  # of a table at once
MAX_CELL = 1_000_000  # characters; a longer cell is a quote that was never closed, or an attack
MAX_CELLS = 40_000_000  # about 3 GB of memory; the largest label tables have 5 million
DELIMITERS = {",": "commas", ";": "semicolons", "\t": "tabs"}


@dataclass(frozen=True)
class Table:
    """A CSV file as text: `columns[name][i]` is a cell, `lines[i]` the line on which row i ends. `notes`:
    what was read otherwise than it stands in the file.
    """

    path: Path
    columns: dict[str, list[str]]
    lines: list[int]
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.lines)

    def rows(self, index: Sequence[int]) -> "Table":
        """The rows at `index`, in that order."""
        columns = {name: [cells[row] for row in index] for name, cells in self.columns.items()}
        return replace(self, columns=columns, lines=[self.lines[row] for row in index])

    def without(self, name: str, note: str) -> "Table":
        columns = {other: cells for other, cells in self.columns.items() if other != name}
        return replace(self, columns=columns, notes=(*self.notes, note))

    def column(self, name: str) -> list[str]:
        """The cells under exactly this name. Raises UserError with the nearest name there is."""
        if name not in self.columns:
            raise UserError(f"{self.path}:1: no column {name!r}; {nearest(name, self.columns)}.")
        return self.columns[name]


def nearest(name: str, names: Iterable[str]) -> str:
    """A clause for an error: the name that was probably meant, or all there are."""
    plain = {_plain(other): other for other in names}
    close = difflib.get_close_matches(_plain(name), plain, n=1, cutoff=0.7)
    if close:
        return f"the nearest is {plain[close[0]]!r}, and case, spaces and marks count"
    return f"there are {', '.join(map(repr, plain.values()))}"


def _plain(name: str) -> str:
    return name.strip().casefold().replace("_", " ")


def read_names(path: Path) -> list[str]:
    """The first column of a table that this program wrote and that may have no row."""
    with path.open(encoding="utf-8", errors="surrogateescape", newline="") as file:
        return [row[0] for row in csv.reader(file) if row][1:]


def read_table(path: Path) -> Table:
    """A table that this program wrote: a header and at least one row. Raises UserError with file and line."""
    cells = read_cells(path, read_text(path), ",", 0)
    if cells.notes:
        raise UserError(f"{path}: {cells.notes[0]}; restore the file as it was written.")
    refuse_twice(path, cells.header)
    return Table(path, dict(zip(cells.header, cells.columns, strict=True)), cells.lines)


def refuse_twice(path: Path, names: Sequence[str]) -> None:
    twice = sorted(name for name, count in Counter(names).items() if count > 1)
    if twice:
        raise UserError(f"{path}:1: {', '.join(map(repr, twice))} names two columns; rename one of them.")


@dataclass(frozen=True)
class Cells:
    """A table as one delimiter divides it: columns of one length, and the line of each row."""

    header: list[str]
    columns: list[list[str]]
    lines: list[int]
    notes: list[str]


def read_cells(path: Path, text: str, mark: str, before: int) -> Cells:
    """`before`: lines above the header. Raises UserError."""
    if text.count(mark) + text.count("\n") > MAX_CELLS:
        raise UserError(f"{path}: more than {MAX_CELLS:,} cells; split the table, or name the right one.")
    notes = [] if mark == "," else [f"cells are separated by {DELIMITERS[mark]}"]
    large = _read_large(text, before) if len(text) >= LARGE and mark == "," else None
    cells = large or _read_strictly(path, text, mark, before)
    return Cells(cells.header, cells.columns, cells.lines, [*notes, *cells.notes])


def _read_large(text: str, before: int) -> Cells | None:
    """None where only a strict reader may read it, or has to say what is wrong."""
    from cxrscore.tables.polars_frames import plain_columns

    header = text.partition("\n")[0].removesuffix("\r").split(",")
    columns = plain_columns(text, longest=MAX_CELL)
    if columns is None:
        return None
    first = 2 + before
    return Cells(header, columns, list(range(first, len(columns[0]) + first)), [])


def _read_strictly(path: Path, text: str, mark: str, before: int) -> Cells:
    reader = csv.reader(io.StringIO(text, newline=""), strict=True, delimiter=mark)
    usual_limit = csv.field_size_limit(MAX_CELL)
    flat: list[str] = []  # row after row; slices of one list are twice as fast as zip over rows
    lines = [0]
    blank = longer = 0
    try:
        header = next(reader, [])
        if not header:
            raise UserError(f"{path}: empty; a header of column names was expected.")
        lines = [reader.line_num]
        for row in reader:
            if row and len(row) != len(header):
                row, longer = _cut(path, row, len(header), reader.line_num + before, mark), longer + 1
            if not any(row):
                blank += bool(row)
                continue
            flat += row
            lines.append(reader.line_num)
    except csv.Error as error:
        raise UserError(
            f"{path}:{lines[-1] + 1 + before}: {error}, in the row that starts here; close its quotes, "
            f'and write a quote inside a cell as "". Cells hold at most {MAX_CELL:,} characters.'
        ) from error
    finally:
        csv.field_size_limit(usual_limit)
    if not flat:
        raise UserError(f"{path}: a header and no rows; add the rows, or name another file.")
    columns = [flat[i :: len(header)] for i in range(len(header))]
    notes = [f"{counted(blank, 'row')} of blank cells left out"] * bool(blank)
    notes += [f"{counted(longer, 'row ends', 'rows end')} with further blank cells"] * bool(longer)
    return Cells(header, columns, [line + before for line in lines[1:]], notes)


def _cut(path: Path, row: list[str], length: int, line: int, mark: str) -> list[str]:
    """A row without the blank cells after its last column. Raises UserError for any other length."""
    if len(row) > length and not any(row[length:]):
        return row[:length]
    name = DELIMITERS[mark][:-1]
    raise UserError(
        f"{path}:{line}: {counted(len(row), 'cell')} under a header of {length}; put quotes around a cell "
        f"that holds a {name}, and give each row one cell per column."
    )


def read_text(path: Path) -> str:
    """The whole file as text. Raises UserError where it is missing, damaged, not UTF-8 or not text."""
    try:
        data = _bounded(path)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise UserError(f"{path}: damaged gzip ({error}); fetch the file again.") from error
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}; a CSV file was expected.") from error
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise UserError(f"{path}: this is UTF-16; save it as UTF-8 (in a spreadsheet: 'CSV UTF-8').")
    nul = data.find(b"\0")
    if nul >= 0 and max(data[0:400:2].count(0), data[1:400:2].count(0)) > len(data[:400]) // 4:
        raise UserError(f"{path}: this is UTF-16; save it as UTF-8 (in a spreadsheet: 'CSV UTF-8').")
    if nul >= 0:
        raise UserError(
            f"{path}:{_line(data, nul)}: a NUL byte, so this is not a text file; export the table again as "
            "CSV."
        )
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        byte = f"byte 0x{data[error.start]:02x} is not UTF-8"
        raise UserError(
            f"{path}:{_line(data, error.start)}: {byte}; save it as UTF-8 (in a spreadsheet: 'CSV UTF-8')."
        ) from error


def _bounded(path: Path) -> bytearray:
    """The bytes of a table, unpacked. Raises UserError as soon as there are more than MAX_TABLE_BYTES."""
    is_packed = path.suffix.lower() == ".gz"
    data = bytearray()
    with path.open("rb") as raw, gzip.GzipFile(fileobj=raw) if is_packed else raw as file:
        too_large = not is_packed and path.stat().st_size > MAX_TABLE_BYTES
        while not too_large and (chunk := file.read(READ_BYTES)):
            too_large = len(data) + len(chunk) > MAX_TABLE_BYTES
            data += chunk
    if too_large:
        raise UserError(
            f"{path}: more than {MAX_TABLE_BYTES:,} bytes{' once unpacked' if is_packed else ''}; split the "
            "table, or check that this is the right file."
        )
    return data


def _line(data: bytes | bytearray, position: int) -> int:
    return data.count(b"\n", 0, position) + 1


def write_table(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """RFC 4180 quoting where needed, `\\n` line ends, UTF-8; other names come out as they came in."""
    lines = csv.writer(_Echo(), lineterminator="\r\n")  # so that csv quotes a cell with a bare \r, too
    with (
        replacing(path) as temporary,
        temporary.open("w", encoding="utf-8", errors="surrogateescape", newline="") as file,
    ):
        file.writelines(lines.writerow(row)[:-2] + "\n" for row in chain([header], rows))


class _Echo:
    """A file for csv.writer that hands each line back."""

    def write(self, line: str) -> str:
        return line
