"""The long table of subgroups as a frame, and as the file that a person names, CSV or Parquet.

In    Subgroups.
Out   a row for each column, group, measure and finding; null, in CSV blank, where there is no number.
"""

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cxrscore.core.files import write_bytes
from cxrscore.evaluation.subgroup_tables import COLUMNS, NUMBERS, WHOLE, long_rows, write_long_table
from cxrscore.evaluation.subgroups import Subgroups

if TYPE_CHECKING:
    import polars as pl


def long_frame(measured: Sequence[Subgroups]) -> "pl.DataFrame":
    import polars as pl

    types: dict[str, Any] = dict.fromkeys(COLUMNS, pl.String)
    types |= dict.fromkeys(WHOLE, pl.Int64) | dict.fromkeys(NUMBERS, pl.Float64)
    return pl.DataFrame(list(long_rows(measured)), types, orient="row")


def write_groups(path: Path, measured: Sequence[Subgroups]) -> None:
    """In the format that the name says."""
    if path.suffix.lower() != ".parquet":
        write_long_table(path, measured)
        return
    packed = BytesIO()  # a full disk is then an OSError, as for any other file
    long_frame(measured).write_parquet(packed)
    write_bytes(path, packed.getvalue())
