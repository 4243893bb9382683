"""A polars frame of scores, or a file in either format that `score` writes -> ScoreTable.

In    a frame with ids in its first column and a column of probabilities per finding; CSV or Parquet.
Out   ScoreTable; a frame's numbers stay as they are. Raises UserError for what a file would be refused for.
"""

from pathlib import Path

import numpy as np
import polars as pl

from cxrscore.core.errors import UserError, counted
from cxrscore.tables.foreign_table import USAGES
from cxrscore.tables.score_table import ScoreTable, read_scores


def read_score_file(path: Path) -> ScoreTable:
    """Parquet by its extension, otherwise CSV."""
    if path.suffix != ".parquet" or not path.is_file():
        return read_scores(path)
    try:
        frame = pl.read_parquet(path, memory_map=False)
    except pl.exceptions.PolarsError as error:
        raise UserError(f"{path}: not Parquet ({error}); write it again, or convert it to CSV.") from error
    return score_table(frame, source=str(path))


def score_table(frame: pl.DataFrame, *, source: str = "scores") -> ScoreTable:
    """A frame of scores, held to what a file of them is held to; its numbers stay as they are. Raises
    UserError.
    """
    rows = _without_usage(frame).unique(keep="first", maintain_order=True)
    id_column, *findings = rows.columns or [""]
    if not findings or not len(rows):
        raise UserError(f"{source}: a frame of shape {frame.shape}; ids and a column per finding are needed.")
    try:
        probs = rows.select(pl.col(findings).cast(pl.Float64)).to_numpy()
    except pl.exceptions.PolarsError as error:
        raise UserError(
            f"{source}: not all columns are numbers ({error}); keep ids in the first one alone."
        ) from error
    ids = rows[id_column].cast(pl.String)
    if ids.null_count() or np.isnan(probs).any():
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


def _without_usage(frame: pl.DataFrame) -> pl.DataFrame:
    """Without Kaggle's column, as files are read."""
    kaggles = [
        name
        for name, column in zip(frame.columns, frame, strict=True)
        if name.casefold() == "usage" and column.dtype == pl.String
        if {(cell or "").strip().casefold() for cell in column.unique()} <= USAGES
    ]
    return frame.drop(kaggles)
