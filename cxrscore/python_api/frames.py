"""Tables that the package wrote, or holds in memory, as polars frames.

In    CSV and Parquet files of ours, a LabelTable, the Outcome of a scoring run.
Out   frames and records; text stays text, and a table of faults may have no row.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from cxrscore.core.errors import UserError
from cxrscore.python_api.records import Scores
from cxrscore.scoring.options import Options
from cxrscore.scoring.output import Outputs
from cxrscore.tables.label_table import LabelTable
from cxrscore.tables.score_file import read_score_file, score_table
from cxrscore.tables.score_table import ScoreTable

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
    return read_score_file(Path(given))
