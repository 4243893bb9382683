"""The score table: one row per image, its id and then a probability per finding.

In    probabilities (n, L) float32 with ids and findings.
Out   CSV, `%.7g`, `\n` line ends, whole or not at all, and back as float64: other programs write more digits,
      and near 1 the steps of float32, 6e-8, would make ties. Out-of-fold and competition
      tables have one shape. Names come out byte for byte as they came in.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from cxrscore.core.errors import UserError, counted, promise
from cxrscore.tables.csv_table import Table, write_table
from cxrscore.tables.foreign_table import read_foreign_table, without_usage

UNDECIDED = (
    "undecided, as `cxrscore score --binary --abstain` leaves a cell: calls cannot be measured as scores; "
    "use the table that is written without --binary."
)
CALLS = {"", "0", "1", "0.0", "1.0"}


def write_scores(
    path: Path, id_column: str, ids: Sequence[str], findings: Sequence[str], probs: NDArray[np.float32]
) -> None:
    """`probs` (n, L): row i belongs to `ids[i]`, column j to `findings[j]`."""
    promise(probs.shape == (len(ids), len(findings)), f"scores of shape {probs.shape} for {len(ids)} rows")
    promise(np.isfinite(probs).all(), "a score that is not a number")
    rows = (score_cells(name, row) for name, row in zip(ids, probs, strict=True))
    write_table(path, [id_column, *findings], rows)


def score_cells(name: str, probs: NDArray[np.float32]) -> list[str]:
    """One row of a score table: an id and (L,) probabilities."""
    return [name, *(f"{prob:.7g}" for prob in probs.tolist())]


class ScoreTable(NamedTuple):
    """`probs` (n, L): row i belongs to `ids[i]`, column j to `findings[j]`. `notes`: what was read
    otherwise than it stands there. `source`: what messages call the table.
    """

    id_column: str
    ids: list[str]
    findings: list[str]
    probs: NDArray[np.floating]
    notes: tuple[str, ...]
    source: str


def read_scores(path: Path) -> ScoreTable:
    """Raises UserError for anything not from 0 to 1, and for two rows of one id that differ."""
    table = _without_repeats(without_usage(read_foreign_table(path)))
    id_column, *findings = table.columns
    if not findings:
        raise UserError(f"{path}:1: no finding beside {id_column!r}; a score table was expected.")
    probs = np.stack([_probabilities(table, name, findings) for name in findings], axis=1)
    return ScoreTable(id_column, unique_ids(table, id_column), findings, probs, table.notes, str(path))


def _without_repeats(table: Table) -> Table:
    """Rows that are the same in every cell count once; others of one id stay, to be refused."""
    first: dict[tuple[str, ...], int] = {}
    rows = zip(*table.columns.values(), strict=True)
    keep = [i for i, row in enumerate(rows) if first.setdefault(row, i) == i]
    repeats = len(table) - len(keep)
    if not repeats:
        return table
    note = f"{table.path}: {counted(repeats, 'exact repeat')} of an earlier row, not counted again."
    return replace(table.rows(keep), notes=(*table.notes, note))


def unique_ids(table: Table, id_column: str) -> list[str]:
    """The cells of the id column. Raises UserError where one comes twice."""
    ids = table.columns[id_column]
    lines: dict[str, int] = {}
    for name, line in zip(ids, table.lines, strict=True):
        if name in lines:
            raise UserError(
                f"{table.path}:{line}: id {name!r} is also on line {lines[name]}; keep "
                "one row per id, and put the id column first."
            )
        lines[name] = line
    return ids


def _probabilities(table: Table, finding: str, findings: Sequence[str]) -> NDArray[np.float64]:
    from cxrscore.tables.polars_frames import numbers

    cells = table.columns[finding]
    probs = numbers(cells)
    if np.isnan(probs).any():
        probs = numbers([cell.replace(",", ".", 1) for cell in cells])  # a decimal comma
    good = (probs >= 0) & (probs <= 1)
    if not good.all():
        i = int(np.argmin(good))
        if not cells[i] and {cell for name in findings for cell in table.columns[name]} <= CALLS:
            raise UserError(f"{table.path}:{table.lines[i]}: {finding}: {UNDECIDED}")
        raise UserError(f"{table.path}:{table.lines[i]}: {finding}: a number from 0 to 1, not {cells[i]!r}.")
    return probs
