"""Tables that the package wrote, or holds in memory, as polars frames; and a frame of scores as a table.

In    CSV and Parquet files of ours, a LabelTable, the Outcome of a scoring run.
Out   frames and records; text stays text, and a table of faults may have no row.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from cxrscore.core.errors import UserError, counted
from cxrscore.python_api.records import Scores
from cxrscore.scoring.options import Options
from cxrscore.scoring.output import Outputs
from cxrscore.tables.foreign_table import USAGES
from cxrscore.tables.label_table import LabelTable
from cxrscore.tables.score_table import ScoreTable, read_scores

if TYPE_CHECKING:  # which imports torch
    from cxrscore.scoring.finish import Outcome

ERRORS = dict.fromkeys(("path", "stage", "kind", "message"), pl.String)


def read_frame(path: Path, numbers: Mapping[str, Any] | None = None) -> pl.DataFrame:
    """A table that this package wrote: text, but for the columns of `numbers`. It may have no row."""
    frame = pl.read_csv(path.read_bytes(), infer_schema=False, encoding="utf8-lossy").fill_null("")
    casts: dict[Any, Any] = dict(numbers or {})
    return frame.cast(casts)


def labels_frame(table: LabelTable) -> pl.DataFrame:
    """See api.labels_frame."""
    texts = {name: getattr(table, name) for name in ("patient", "study", "view", "sex", "age")}
    taken = sorted({"id", *(name for name, cells in texts.items() if cells)}.intersection(table.findings))
    if taken:
        raise UserError(
            f"{table.path}: the frame has a column {taken[0]!r} of its own; rename the finding of that name."
        )
    columns: dict[str, Any] = {"id": table.ids} | {name: cells for name, cells in texts.items() if cells}
    for j, name in enumerate(table.findings):
        known = np.where(table.mask[:, j], table.y[:, j], -1).astype(np.int8)
        columns[name] = pl.Series(name, known).replace(-1, None)
    return pl.DataFrame(columns)


def scores_of(outcome: "Outcome", table: Path, options: Options, *, path: Path | None) -> Scores:
    """The files of a run that is done. `path`: where the caller finds the table, if it stays."""

    def read(file: Path) -> pl.DataFrame:
        if options.format == "parquet":
            return pl.read_parquet(file, memory_map=False)
        text = read_frame(file)
        return text.with_columns(pl.col(text.columns[1:]).replace("", None).cast(pl.Float32))

    errors = outcome.errors_csv
    return Scores(
        table=read(table),
        errors=read_frame(errors) if errors else pl.DataFrame(schema=ERRORS),
        listed=outcome.listed,
        scored=outcome.scored,
        quarantined=outcome.quarantined,
        notes=tuple(outcome.notes),
        std=read(Outputs(table).std) if options.std else None,
        path=path,
    )


def scores_in(given: str | Path | Scores | pl.DataFrame) -> ScoreTable:
    """What `score` wrote or returned, or a frame in its shape. Raises UserError."""
    if isinstance(given, Scores):
        return score_table(given.table, source=str(given.path or "scores"))
    if isinstance(given, pl.DataFrame):
        return score_table(given)
    path = Path(given)
    if path.suffix == ".parquet" and path.is_file():
        return score_table(pl.read_parquet(path), source=str(path))
    return read_scores(path)


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
