"""Tables that the package wrote, or holds in memory, as polars frames; and a frame of scores as a table.

In    CSV and Parquet files of ours, a LabelTable, the Outcome of a scoring run.
Out   frames and records; text stays text, and a table of faults may have no row.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from cxrscore.calls.records import Scores
from cxrscore.core.errors import UserError
from cxrscore.scoring.options import Options
from cxrscore.scoring.output import Outputs
from cxrscore.tables.label_table import LabelTable
from cxrscore.tables.score_table import write_scores

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


def written(frame: pl.DataFrame, path: Path) -> Path:
    """A frame of scores as the table that it would be in a file. Raises UserError."""
    id_column, *findings = frame.columns
    try:
        probs = frame.select(findings).to_numpy().astype(np.float32)
    except ValueError as error:
        raise UserError(
            f"scores: not all columns are numbers ({error}); keep ids in the first one alone."
        ) from error
    if not np.isfinite(probs).all():
        raise UserError("scores: holds nulls or NaN; give a number from 0 to 1 in each cell.")
    write_scores(path, id_column, [str(name) for name in frame[id_column]], findings, probs)
    return path
