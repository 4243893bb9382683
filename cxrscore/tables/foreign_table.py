"""CSV tables as people and their programs write them; every cell stays the text it was.

In    a file: commas, semicolons or tabs, a byte-order mark, a first line `sep=;`, pandas' index, columns and
      rows of nothing, `.gz`.
Out   Table, with notes on what was read otherwise than it stands there. Anything else is refused with file
      and line: no row is padded, cut or guessed.
"""

import re
from itertools import chain
from pathlib import Path

from cxrscore.core.errors import UserError, counted
from cxrscore.tables.csv_table import DELIMITERS, Cells, Table, read_cells, read_text, refuse_twice
from cxrscore.tables.image_names import without_blanks, without_suffix

SEPARATOR_LINE = re.compile(
    r"\"?sep=([,;\t])\"?(?:\r\n|\n|\r)", re.IGNORECASE
)  # a spreadsheet's, above the header
NAMELESS = re.compile(r"|Unnamed: [0-9]+|index|level_0")  # as pandas writes, reads and resets its index
DECIMAL_COMMA = re.compile(r"-?[0-9]+,[0-9]+")
CALLED = "Image_name"  # a first column without a name that is no index
NAMES_ROWS = re.compile(r"(?i)image|file|path|(^|[_ ])id\Z|uid\Z")
USAGES = {"public", "private", "ignored", ""}  # of a row, in the column that Kaggle adds


def read_foreign_table(path: Path) -> Table:
    """A UTF-8 file, plain or `.gz`: a header and at least one row. Raises UserError with file and line."""
    text = read_text(path)
    whole = text.lstrip("\r\n")
    before = len(text[: len(text) - len(whole)].splitlines())
    said = SEPARATOR_LINE.match(whole)
    text, before = (whole[said.end() :], before + 1) if said else (whole, before)
    header = text.partition("\n")[0]
    found = [said[1]] if said else [mark for mark in DELIMITERS if mark in header] or [","]
    readings: list[Cells] = []
    faults: list[UserError] = []
    for mark in found:
        try:
            readings.append(read_cells(path, text, mark, before))
        except UserError as fault:
            faults.append(fault)
    if not readings:
        raise faults[0]
    likeliest = max(readings, key=_likeliness) if len(readings) > 1 else readings[0]  # the first of equals
    return _tidy(path, likeliest)


def _likeliness(reading: Cells) -> tuple[int, int]:
    """Of two ways to cut a table the one with more columns, of as many the one that leaves fewer cells that
    could be cut further: a decimal comma is none of these.
    """
    cells = [*reading.header, *chain.from_iterable(reading.columns)]
    uncut = [cell for cell in cells if any(mark in cell for mark in DELIMITERS)]
    return len(reading.header), -sum(not DECIMAL_COMMA.fullmatch(cell) for cell in uncut)


def _tidy(path: Path, reading: Cells) -> Table:
    """Without columns that hold nothing or only count rows. Raises UserError where names do not tell columns
    apart.
    """
    names = [without_blanks(name) for name in reading.header]
    padded = sum(a != b for a, b in zip(names, reading.header, strict=True))
    notes = list(reading.notes)
    if padded:
        begin = counted(padded, "column name begins or ends", "column names begin or end")
        notes.append(f"{begin} with blanks")
    nameless = [i for i, name in enumerate(names) if NAMELESS.fullmatch(name)] if len(names) > 1 else []
    empty = [i for i in nameless if not any(map(without_blanks, reading.columns[i]))]
    index = [0] if 0 in nameless and _only_numbers_rows(names, reading.columns) else []
    if empty:
        notes.append(f"{counted(len(empty), 'column')} left out that had neither a name nor a value")
    if index:
        notes.append("the first column is left out: it has no name and numbers the rows, like a pandas index")
    kept = [i for i in range(len(names)) if i not in (*empty, *index)]
    if kept[:1] == [0] and 0 in nameless and names[0] not in ("index", "level_0") and CALLED not in names:
        names[0] = CALLED
        notes.append(f"the first column has no name, and is read as {CALLED!r}")
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
    if without_suffix(names[0]) != names[0] or all(map(_is_value, names)):
        raise UserError(
            f"{path}:1: {names[0]!r} looks like a cell, not like a column's name; write a line of "
            "column names above it."
        )
    if quoted := [name for name in names if name.startswith('"') and name.endswith('"')]:
        raise UserError(f"{path}:1: a blank stands before the quotes of {quoted[0]}; remove the blanks.")
    if names.count("") > 1:
        found = ", ".join(str(place) for name, place in zip(names, places, strict=True) if not name)
        raise UserError(f"{path}:1: columns {found} have no name; name them, or remove them.")
    refuse_twice(path, names)


def without_usage(table: Table) -> Table:
    """Without Kaggle's column `Usage`, which says on which leaderboard a row counts."""
    for name, cells in table.columns.items():
        if name.casefold() == "usage" and {without_blanks(cell).casefold() for cell in set(cells)} <= USAGES:
            return table.without(name, f"{table.path}: {name!r} is Kaggle's, and not a finding.")
    return table
