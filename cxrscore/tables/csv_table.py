"""CSV tables of text, as people and their programs write them; every cell stays the text it was.

In    a file: commas, semicolons or tabs, a byte-order mark, a first line `sep=;`, pandas' index, columns and
      rows of nothing, `.gz`.
Out   Table: named columns of cells, the line of each row, and what was read otherwise than it stands there.
      Anything else is refused with file and line: no row is padded, cut or guessed.
"""

import csv
import difflib
import gzip
import io
import re
import zlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path

from cxrscore.core.errors import UserError
from cxrscore.core.files import replacing
from cxrscore.tables.image_names import without_blanks, without_suffix

LARGE = 32_000_000  # characters of a table; a smaller one csv has read before polars is imported
MAX_TABLE_BYTES = 1 << 29  # of text, once unpacked: a .gz of 3 MB can hold 3 GB of nothing
READ_BYTES = 1 << 20  # of a table at once
MAX_CELL = 1_000_000  # characters; a longer cell is a quote that was never closed, or an attack
DELIMITERS = {",": "commas", ";": "semicolons", "\t": "tabs"}
SEPARATOR_LINE = re.compile(
    r"\"?sep=([,;\t])\"?(?:\r\n|\n|\r)", re.IGNORECASE
)  # a spreadsheet's, above the header
MAX_CELLS = 40_000_000  # about 3 GB of memory; the largest label tables have 5 million
NAMELESS = re.compile(r"|Unnamed: [0-9]+|index|level_0")  # as pandas writes, reads and resets its index
CALLED = "Image_name"  # a first column without a name that is no index
NAMES_ROWS = re.compile(r"(?i)image|file|path|(^|[_ ])id\Z|uid\Z")
USAGES = {"public", "private", "ignored", ""}  # of a row, in the column that Kaggle adds


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
    """A clause for an error: the name that was probably meant, else all there are."""
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
        return [row[0] for row in csv.reader(file)][1:]


def read_table(path: Path) -> Table:
    """A UTF-8 file, plain or `.gz`: a header and at least one row. Raises UserError with file and line."""
    text = _text(path)
    whole = text.lstrip("\r\n")
    before = len(text[: len(text) - len(whole)].splitlines())
    said = SEPARATOR_LINE.match(whole)
    text, before = (whole[said.end() :], before + 1) if said else (whole, before)
    header = text.partition("\n")[0]
    found = [said[1]] if said else [mark for mark in DELIMITERS if mark in header] or [","]
    readings: list[_Reading] = []
    faults: list[UserError] = []
    for mark in found:
        try:
            readings.append(_read(path, text, mark, before))
        except UserError as fault:
            faults.append(fault)
    if not readings:
        raise faults[0]
    return _tidy(path, max(readings, key=lambda reading: len(reading.header)))  # the first of equals


@dataclass(frozen=True)
class _Reading:
    """One delimiter's reading: columns side by side, of the same length, and the line of each row."""

    header: list[str]
    columns: list[list[str]]
    lines: list[int]
    notes: list[str]


def _read(path: Path, text: str, mark: str, before: int) -> _Reading:
    """`before`: lines above the header. Raises UserError."""
    if text.count(mark) + text.count("\n") > MAX_CELLS:
        raise UserError(f"{path}: more than {MAX_CELLS:,} cells; split the table, or name the right one.")
    notes = [] if mark == "," else [f"cells are separated by {DELIMITERS[mark]}"]
    large = _read_large(text, before) if len(text) >= LARGE and mark == "," else None
    reading = large or _read_strictly(path, text, mark, before)
    return _Reading(reading.header, reading.columns, reading.lines, [*notes, *reading.notes])


def _read_large(text: str, before: int) -> _Reading | None:
    """None where only a strict reader may read it, or has to say what is wrong."""
    from cxrscore.tables.polars_frames import plain_columns

    header = text.partition("\n")[0].removesuffix("\r").split(",")
    columns = plain_columns(text, longest=MAX_CELL)
    if columns is None:
        return None
    first = 2 + before
    return _Reading(header, columns, list(range(first, len(columns[0]) + first)), [])


def _read_strictly(path: Path, text: str, mark: str, before: int) -> _Reading:
    reader = csv.reader(io.StringIO(text, newline=""), strict=True, delimiter=mark)
    usual_limit = csv.field_size_limit(MAX_CELL)
    cells: list[str] = []  # row after row; slices of one list are twice as fast as zip over rows
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
            cells += row
            lines.append(reader.line_num)
    except csv.Error as error:
        raise UserError(
            f"{path}:{lines[-1] + 1 + before}: {error}, in the row that starts here; close its quotes, "
            f'and write a quote inside a cell as "". Cells hold at most {MAX_CELL:,} characters.'
        ) from error
    finally:
        csv.field_size_limit(usual_limit)
    if not cells:
        raise UserError(f"{path}: a header and no rows; add the rows, or name another file.")
    columns = [cells[i :: len(header)] for i in range(len(header))]
    counted = ((blank, "rows of blank cells are left out"), (longer, "rows end with further blank cells"))
    notes = [f"{count:,} {what}" for count, what in counted if count]
    return _Reading(header, columns, [line + before for line in lines[1:]], notes)


def _cut(path: Path, row: list[str], length: int, line: int, mark: str) -> list[str]:
    """A row without the blank cells after its last column. Raises UserError for any other length."""
    if len(row) > length and not any(row[length:]):
        return row[:length]
    name = DELIMITERS[mark][:-1]
    raise UserError(
        f"{path}:{line}: {len(row)} cells under a header of {length}; put quotes around a cell that "
        f"holds a {name}, and give each row one cell per column."
    )


def _tidy(path: Path, reading: _Reading) -> Table:
    """Without columns that hold nothing or only count rows. Raises UserError where names do not tell columns
    apart.
    """
    names = [without_blanks(name) for name in reading.header]
    padded = sum(a != b for a, b in zip(names, reading.header, strict=True))
    notes = reading.notes + ([f"{padded} column names begin or end with blanks"] if padded else [])
    nameless = [i for i, name in enumerate(names) if NAMELESS.fullmatch(name)] if len(names) > 1 else []
    empty = [i for i in nameless if not any(map(without_blanks, reading.columns[i]))]
    index = [0] if 0 in nameless and _only_numbers_rows(names, reading.columns) else []
    if empty:
        notes.append(f"{len(empty)} columns have neither a name nor a cell, and are left out")
    if index:
        notes.append("the first column has no name and numbers the rows, as pandas' index, and is left out")
    kept = [i for i in range(len(names)) if i not in (*empty, *index)]
    if kept[:1] == [0] and 0 in nameless and names[0] not in ("index", "level_0") and CALLED not in names:
        names[0] = CALLED
        notes.append(f"the first column has no name, and is taken for {CALLED!r}")
    _check_names(path, [names[i] for i in kept], [i + 1 for i in kept])
    columns = {names[i]: reading.columns[i] for i in kept}
    return Table(path, columns, reading.lines, tuple(f"{path}: {note}." for note in notes))


def _only_numbers_rows(names: list[str], columns: list[list[str]]) -> bool:
    """Whether the first column is an index: 0, 1, 2, ... beside a column of words, or one that is called like
    names of rows; or different whole numbers, as of the rows that a selection left, beside different words.
    Else the numbers may be the names.
    """
    cells = columns[0]
    if not all(cell.isascii() and cell.isdigit() and str(int(cell[:20])) == cell for cell in cells):
        return False
    words = [other for other in columns[1:] if not any(map(_is_value, other))]
    if cells in ([str(i) for i in range(len(cells))], [str(i + 1) for i in range(len(cells))]):
        return bool(words) or any(NAMES_ROWS.search(name) for name in names[1:])
    return len(set(cells)) == len(cells) and any(len(set(other)) == len(other) for other in words)


def _is_value(cell: str) -> bool:
    """A number, a label or blank."""
    word = without_blanks(cell).casefold()
    try:
        float(word.replace(",", ".", 1))
    except ValueError:
        return word in ("", "true", "false", "na", "n/a", "<na>", "#n/a", "null")
    return True


def _check_names(path: Path, names: list[str], places: list[int]) -> None:
    if not names:
        raise UserError(f"{path}:1: no column has a name; write a header of column names.")
    counts = Counter(names)
    twice = sorted(name for name, count in counts.items() if count > 1)
    if without_suffix(names[0]) != names[0] or all(map(_is_value, names)):
        raise UserError(
            f"{path}:1: {names[0]!r} looks like a cell, not like a column's name; write a line of "
            "column names above it."
        )
    if quoted := [name for name in names if name.startswith('"') and name.endswith('"')]:
        raise UserError(f"{path}:1: a blank stands before the quotes of {quoted[0]}; remove the blanks.")
    if "" in twice:
        found = ", ".join(str(place) for name, place in zip(names, places, strict=True) if not name)
        raise UserError(f"{path}:1: columns {found} have no name; name them, or remove them.")
    if twice:
        raise UserError(f"{path}:1: {', '.join(map(repr, twice))} names two columns; rename one of them.")


def without_usage(table: Table) -> Table:
    """Without Kaggle's column `Usage`, which says on which leaderboard a row counts."""
    for name, cells in table.columns.items():
        if name.casefold() == "usage" and {without_blanks(cell).casefold() for cell in set(cells)} <= USAGES:
            return table.without(name, f"{table.path}: {name!r} is Kaggle's, and no finding.")
    return table


def _text(path: Path) -> str:
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
            f"{path}:{_line(data, nul)}: a NUL byte, so this is no text file; export the table again as CSV."
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
            "table, or see whether this is the right file."
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
