"""Score tables as people hand them in: a CSV or Parquet file, or a polars frame, all of one shape.

In    a path, or a frame with ids in its first column and one column of probabilities per finding.
Out   ScoreTable. Raises UserError for what is not one; a Parquet file keeps the bits of its numbers.
"""

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from cxrscore.core.errors import UserError, counted
from cxrscore.tables.foreign_table import USAGES
from cxrscore.tables.polars_frames import numbers
from cxrscore.tables.score_table import UNDECIDED, ScoreTable, read_scores

if TYPE_CHECKING:
    import polars as pl

PARQUET = b"PAR1"  # at both ends of a file, whatever it is called


def read_score_file(path: Path) -> ScoreTable:
    """What `score` writes in either format, and CSV files of others."""
    if not path.is_file() or not _is_parquet(path):
        return read_scores(path)
    import polars as pl

    try:
        frame = pl.read_parquet(path, memory_map=False)
    except (pl.exceptions.PolarsError, OSError) as error:
        first = str(error).partition("\n")[0]
        raise UserError(f"{path}: damaged Parquet ({first}); write or fetch the file again.") from error
    return score_table(frame, source=str(path))


def _is_parquet(path: Path) -> bool:
    if path.suffix.lower() == ".parquet":
        return True
    with suppress(OSError), path.open("rb") as file:  # of one that cannot be read, read_scores says why
        return file.read(len(PARQUET)) == PARQUET
    return False


def score_table(frame: "pl.DataFrame", *, source: str = "scores") -> ScoreTable:
    """A frame of scores, held to what a file of them is held to; its numbers stay as they are. Raises
    UserError.
    """
    import polars as pl

    table = _without_usage(frame)
    id_column, *findings = table.columns or [""]
    if not findings or not len(table):
        raise UserError(f"{source}: a frame of shape {frame.shape}; ids and a column per finding are needed.")
    _check_types(table, source)
    rows = table.unique(keep="first", maintain_order=True)
    probs = np.stack([_probabilities(rows, name, source) for name in findings], axis=1)
    ids = rows[id_column].cast(pl.String)
    empty = np.isnan(probs)
    if empty.any() and not ids.null_count() and np.isin(probs[~empty], (0, 1)).all() and not empty.all():
        i, j = np.argwhere(empty)[0]
        raise UserError(f"{source}: {ids[int(i)]!r}: {findings[j]}: {UNDECIDED}")
    if ids.null_count() or empty.any():
        raise UserError(f"{source}: holds nulls or NaN; give a number from 0 to 1 in each cell.")
    if ids.n_unique() < len(ids):
        twice = ids.filter(ids.is_duplicated())[0]
        raise UserError(
            f"{source}: id {twice!r} is in several rows; keep one row per id, in the first column."
        )
    outside = np.argwhere((probs < 0) | (probs > 1))
    if len(outside):
        i, j = outside[0]
        raise UserError(f"{source}: {ids[int(i)]!r}: {findings[j]}: a number from 0 to 1, not {probs[i, j]}.")
    repeats = len(frame) - len(rows)
    note = f"{source}: {counted(repeats, 'exact repeat')} of an earlier row, not counted again."
    return ScoreTable(id_column, ids.to_list(), findings, probs, (note,) if repeats else (), source)


def _check_types(table: "pl.DataFrame", source: str) -> None:
    """Polars would make numbers of dates, durations and the codes of categories, too. Raises UserError."""
    import polars as pl

    id_column, *findings = table.columns
    named = table.schema[id_column]
    if named.is_nested() or named in (pl.Object, pl.Binary):
        raise UserError(
            f"{source}: column {id_column!r} is of type {_called(named)}; put ids, as text, in the "
            "first column."
        )
    for name in findings:
        dtype = table.schema[name]
        if not (dtype.is_numeric() or dtype in (pl.Boolean, pl.String, pl.Null)):
            raise UserError(
                f"{source}: column {name!r} is of type {_called(dtype)}; give probabilities, as numbers "
                "from 0 to 1, in each column but the first, which holds ids."
            )


def _called(dtype: "pl.DataType") -> str:
    """The type's name, without the categories and fields that can follow it."""
    return type(dtype).__name__


def _probabilities(rows: "pl.DataFrame", finding: str, source: str) -> NDArray[np.float64]:
    """(n,) NaN where there is none. Raises UserError for other text."""
    import polars as pl

    column = rows[finding]
    if column.dtype != pl.String:
        return column.cast(pl.Float64).to_numpy()
    cells = column.fill_null("nan").to_list()
    probs = numbers(cells)
    blank = [cell.casefold() == "nan" for cell in cells]
    odd = np.flatnonzero(np.isnan(probs) & ~np.array(blank))
    if len(odd):
        i = int(odd[0])
        raise UserError(
            f"{source}: {rows[i, 0]!r}: {finding}: a number from 0 to 1, not {cells[i]!r}; keep ids in the "
            "first column alone."
        )
    return probs


def _without_usage(frame: "pl.DataFrame") -> "pl.DataFrame":
    """Without Kaggle's column, as files are read."""
    import polars as pl

    kaggles = [
        name
        for name, column in zip(frame.columns, frame, strict=True)
        if name.casefold() == "usage" and column.dtype == pl.String
        if {(cell or "").strip().casefold() for cell in column.unique()} <= USAGES
    ]
    return frame.drop(kaggles)
