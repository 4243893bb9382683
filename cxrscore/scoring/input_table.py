"""What heads read beside the pixels, such as sex, age and view: from a table, once per image that is scored.

In    what --inputs says (a table, or none), the folds, the files of a run; or columns in memory.
Out   values (F, n, m) float32, encoded for each fold as its training rows have decided, NaN where unknown;
      the digests that a fingerprint holds. Raises UserError where it was not said what the values are.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cxrscore.core.errors import UserError, counted
from cxrscore.core.files import sha256_bytes, sha256_file
from cxrscore.scoring.row_plan import Plan
from cxrscore.tables.csv_table import Table
from cxrscore.tables.datasets.column_names import id_column
from cxrscore.tables.foreign_table import read_foreign_table
from cxrscore.tables.image_names import match_names, spelled, stem, without_blanks
from cxrscore.tables.tabular_inputs import Cells, Encoding, doubts, encode, values_of

if TYPE_CHECKING:
    from cxrscore.model.checkpoint import Fold

NONE = "none"  # in the place of a table: every value is unknown
SHOWN = 5  # names in an error
Values = NDArray[np.float32]
Encodings = Sequence[tuple[Encoding, ...]]  # of each fold


@dataclass(frozen=True)
class InputValues:
    """`values` (F, n, m) in the order of the plan's files; `facts` of the fingerprint."""

    values: Values
    facts: Mapping[str, Any]
    notes: Sequence[str] = ()


def encodings_of(folds: Iterable["Fold"]) -> Encodings:
    """One per column and fold, none where heads read the pixels alone."""
    return [tuple(map(Encoding.told, fold.card.head.get("encodings", ()))) for fold in folds]


def columns_of(encodings: Encodings) -> tuple[str, ...]:
    """The same in all folds of an ensemble."""
    return tuple(encoding.column for encoding in encodings[0])


def read_input_values(asked: str | None, ensemble: Sequence["Fold"], plan: Plan) -> InputValues | None:
    """input_values of these folds."""
    return input_values(asked, encodings_of(ensemble), plan, id=ensemble[0].card.id_column)


def input_values(asked: str | None, encodings: Encodings, plan: Plan, *, id: str) -> InputValues | None:
    """None where the heads read the pixels alone. `id`: the column of names in training; a table without it
    may call it otherwise (column_names.id_column). Raises UserError where `asked` does not fit the heads, or
    an image has no row.
    """
    columns = columns_of(encodings)
    _refuse_unsaid(asked, columns, remedy=f"--inputs TABLE.csv, with these columns and {id!r}")
    if not columns or asked is None:
        return None
    if asked == NONE:
        values = unknown(encodings, len(plan.paths))
        return InputValues(values, _facts(columns, NONE, values), [_all_unknown(columns)])
    path = Path(asked)
    sha256 = _sha256(path)
    table = read_foreign_table(path)
    cells, notes = _cells(table, id_column(table.columns, id), columns, plan)
    values, found = encoded(encodings, cells, source=asked)
    return InputValues(values, _facts(columns, sha256, values), [*table.notes, *notes, *found])


def _refuse_unsaid(asked: object, columns: Sequence[str], *, remedy: str) -> None:
    if columns and asked is None:
        raise UserError(
            f"--inputs: not given, and these models read {', '.join(columns)} beside the pixels; use "
            f"{remedy}, or {NONE}, which scores with all of them unknown."
        )
    if asked is not None and not columns:
        raise UserError("--inputs: these models read the pixels alone; leave the option out.")


def _sha256(path: Path) -> str:
    try:
        return sha256_file(path)
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}; name a CSV file in --inputs, or {NONE}.") from error


def _facts(columns: Sequence[str], table_sha256: str, values: Values) -> dict[str, Any]:
    """The table's bytes, which `verify` compares, and the very values, should it have changed meanwhile."""
    digest = sha256_bytes(np.ascontiguousarray(values, dtype="<f4").tobytes())
    return {"columns": list(columns), "table_sha256": table_sha256, "values_sha256": digest}


def _all_unknown(columns: Sequence[str]) -> str:
    return f"--inputs {NONE}: scored with unknown {', '.join(columns)}"


def _cells(
    table: Table, id: str, columns: Sequence[str], plan: Plan
) -> tuple[dict[str, list[str]], list[str]]:
    """Column -> a cell for each file of the plan, blank for a file that is known to have no pixels."""
    rows = _rows_by_name(table, id, {name: table.column(name) for name in columns})
    names = list(rows)
    match = match_names(names, plan.paths, folds_case=plan.listing.folds_case)
    row_of = {file: rows[name] for name, file in zip(names, match.files, strict=True) if file >= 0}
    passed_over = [name for name, file in zip(names, match.files, strict=True) if file < 0]
    _refuse_other_values(table, columns, plan, {name: rows[name] for name in passed_over}, row_of)
    gone = [path for file, path in enumerate(plan.paths) if file not in row_of and path not in plan.known]
    if gone:
        unclear = [match.told(name) for name in list(match.unclear)[:SHOWN]]
        doubt = f"; unclear are {', '.join(unclear)}" if unclear else ""
        raise UserError(
            f"{table.path}: {counted(len(gone), 'image')} without a row: {', '.join(map(repr, gone[:SHOWN]))}"
            f"{', ...' if len(gone) > SHOWN else ''}{doubt}; add the rows (a blank cell is unknown), or use "
            f"--inputs {NONE}."
        )
    found = [row_of.get(file) for file in range(len(plan.paths))]
    cells = {name: ["" if row is None else table.columns[name][row] for row in found] for name in columns}
    return cells, [f"{table.path}: {note}" for note in match.notes]


def _refuse_other_values(
    table: Table, columns: Sequence[str], plan: Plan, rows: Mapping[str, int], row_of: Mapping[int, int]
) -> None:
    """`rows`: of names that no file was matched to. Raises UserError where one differs from the path of a
    file only by its folder or extension, and the file's own row has other values.
    """
    files: dict[str, list[int]] = {}
    for file, path in enumerate(plan.paths):
        files.setdefault(stem(spelled(path)), []).append(file)
    for name, row in rows.items():
        meant = files.get(stem(spelled(name)), [])
        other = row_of.get(meant[0], row) if len(meant) == 1 else row
        unlike = [repr(one) for one in columns if table.columns[one][other] != table.columns[one][row]]
        if unlike:
            raise UserError(
                f"{table.path}:{table.lines[row]}: {name!r} means {plan.paths[meant[0]]!r}, as line "
                f"{table.lines[other]} does, with another {', '.join(unlike)}; keep the row that is right."
            )


def _rows_by_name(table: Table, id: str, cells: Cells) -> dict[str, int]:
    """Name -> its row. Raises UserError for a blank name, and for one whose two rows differ in `cells`."""
    first: dict[str, int] = {}
    for row, name in enumerate(table.column(id)):
        if not without_blanks(name):
            raise UserError(
                f"{table.path}:{table.lines[row]}: {id!r} is blank; fill it in, or delete the row."
            )
        other = first.setdefault(name, row)
        unlike = [repr(column) for column, own in cells.items() if own[row] != own[other]]
        if unlike:
            raise UserError(
                f"{table.path}:{table.lines[row]}: {name!r} is also on line {table.lines[other]}, with "
                f"another {', '.join(unlike)}; keep the row that is right."
            )
    return first


def encoded(encodings: Encodings, cells: Cells, *, source: str) -> tuple[Values, list[str]]:
    """-> values (F, n, m) and notes. Raises UserError for a column none of whose values is known to a fold:
    it is spelled otherwise than in training.
    """
    for own in zip(*encodings, strict=True):
        given = sorted({value for value in values_of(cells[own[0].column]) if value})
        if given and not any(encoding.place(value) is not None for encoding in own for value in given):
            numbers = f"numbers from {own[0].least:g} to {own[0].most:g}"
            known = numbers if own[0].numeric else ", ".join(map(repr, own[0].categories))
            raise UserError(
                f"{source}: {own[0].column!r} has no value that the models know, such as {given[0]!r}; they "
                f"were trained with {known}: use these, or leave cells blank where the value is unknown."
            )
        _refuse_far_off(own, given, source=source)
    values = np.stack([encode(own, cells, source=source) for own in encodings])
    notes = dict.fromkeys(
        note for own in zip(*encodings, strict=True) for note in doubts(_ranges(own), cells)
    )
    return values, [f"{source}: {note}" for note in notes]


def _refuse_far_off(own: Sequence[Encoding], given: Sequence[str], *, source: str) -> None:
    """Numbers further outside those of training than these are apart, such as 999 for an unknown age."""
    if not own[0].numeric:
        return
    span = _ranges(own)[0]
    width = span.most - span.least
    for value in (value for value in given if own[0].place(value) is not None):  # words are refused after
        number = float(value)
        if not span.least - width <= number <= span.most + width:
            raise UserError(
                f"{source}: {span.column!r} is {value}, far from the {span.least:g} to {span.most:g} of "
                "training; correct it, or leave the cell blank where the value is unknown."
            )


def _ranges(own: Sequence[Encoding]) -> list[Encoding]:
    """Each fold's encoding of a column with the extremes of all folds' rows."""
    least, most = min(one.least for one in own), max(one.most for one in own)
    return [replace(one, least=least, most=most) for one in own]


def unknown(encodings: Encodings, images: int) -> Values:
    """(F, n, m)"""
    return np.full((len(encodings), images, len(columns_of(encodings))), np.nan, dtype=np.float32)


def values_in_memory(
    asked: Any, encodings: Encodings, images: int, *, tell: Callable[[str], None]
) -> Values | None:
    """The same of `asked`, a mapping from columns to a value per image, or none. `tell` gets each note.
    Raises UserError.
    """
    columns = columns_of(encodings)
    _refuse_unsaid(asked, columns, remedy="a mapping from each of them to one value per image")
    if not columns:
        return None
    if isinstance(asked, str) and asked == NONE:
        return unknown(encodings, images)
    if not isinstance(asked, Mapping) or set(asked) != set(columns):
        found = list(asked) if isinstance(asked, Mapping) else asked
        raise UserError(
            f"inputs: {found!r}; use a mapping of exactly {', '.join(columns)} to one value per image, or "
            f"{NONE!r}."
        )
    cells = {name: [_cell(value) for value in asked[name]] for name in columns}
    for name, own in cells.items():
        if len(own) != images:
            raise UserError(
                f"inputs: {name!r} has {counted(len(own), 'value')} for {counted(images, 'image')}; give one "
                "value per image, None where it is unknown."
            )
    values, notes = encoded(encodings, cells, source="inputs")
    for note in notes:
        tell(note)
    return values


def _cell(value: Any) -> str:
    """As a table would hold it."""
    plain = value.item() if isinstance(value, np.generic) else value
    return "" if plain is None or (isinstance(plain, float) and math.isnan(plain)) else str(plain)
