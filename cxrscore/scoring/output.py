"""Where a run writes, and what: checked before any work, each file whole or not there.

In    the path of the table; the plan and the journal of a finished run.
Out   the table, and beside it what could not be scored, which bytes made each row, the spread over folds.
"""

import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cxrscore.core.errors import BrokenPromise, UserError
from cxrscore.scoring.journal import Journal, Rows
from cxrscore.scoring.row_ids import FORMULA, writable
from cxrscore.scoring.row_plan import Fault, Plan
from cxrscore.tables.csv_table import write_table
from cxrscore.tables.score_table import score_cells

ROLES = ("table", "errors", "manifest", "std", "folds")
ROWS_AT_ONCE = 4096
LONGEST_NAME = 240  # bytes; file systems take 255, and a temporary file's name is longer
Scored = tuple[str, NDArray[np.float32] | None]  # id of a row; (F, L), None where there is no score


@dataclass(frozen=True)
class Outputs:
    """The files of a run, all beside its table."""

    table: Path

    @property
    def errors(self) -> Path:
        return self._beside("errors.csv")

    @property
    def manifest(self) -> Path:
        return self._beside("manifest.csv")

    @property
    def provenance(self) -> Path:
        return self._beside("provenance.json")

    @property
    def std(self) -> Path:
        return self._beside(f"std{self.table.suffix or '.csv'}")

    @property
    def folds(self) -> Path:
        return self._beside("folds.csv")

    @property
    def journal(self) -> Path:
        return self._beside("journal")

    def all(self) -> tuple[Path, ...]:
        return *self.files(), self.journal

    def files(self) -> tuple[Path, ...]:
        return self.table, self.errors, self.manifest, self.provenance, self.std, self.folds

    def named(self, role: str) -> Path:
        """The file that a provenance calls by this role."""
        return {
            "table": self.table,
            "errors": self.errors,
            "manifest": self.manifest,
            "std": self.std,
            "folds": self.folds,
        }[role]

    def role(self, path: Path) -> str:
        return next(role for role in ROLES if self.named(role) == path)

    def _beside(self, suffix: str) -> Path:
        return self.table.with_name(f"{self.table.name}.{suffix}")


def check_outputs(files: Outputs) -> None:
    """Raises UserError, before any work, where the files of a run cannot be written."""
    check_output(files.table, beside=".provenance.json")
    for path in files.files():
        _refuse_special(path)
    if files.journal.is_symlink() or (files.journal.exists() and not files.journal.is_dir()):
        raise UserError(f"{files.journal}: not a folder; remove it, or choose another name for the output.")


def check_output(path: Path, *, beside: str = "") -> None:
    """Raises UserError where one file cannot be written: its name, what is there, its folder. `beside`: the
    longest ending that files beside it have.
    """
    if not path.name:
        raise UserError(f"{str(path)!r}: not a file name; name the file to write, such as sub.csv.")
    if len(os.fsencode(path.name + beside)) > LONGEST_NAME:
        raise UserError(
            f"{path.name[:20]}...: too long a name for the files beside it; choose a shorter one."
        )
    if path.suffix in (".gz", ".zip", ".bz2", ".xz"):
        raise UserError(f"{path}: tables are not compressed; name it {path.with_suffix('')}.")
    _refuse_special(path)
    try:
        with tempfile.TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        raise UserError(
            f"{path.parent}: cannot be written to ({error.strerror}); choose another folder."
        ) from error


def _refuse_special(path: Path) -> None:
    if path.is_symlink() or (path.exists() and not path.is_file()):
        raise UserError(
            f"{path}: not a regular file; name the file to write, such as {path.parent / 'sub.csv'}."
        )


def check_room(files: Outputs, *, rows: int, folds: int, findings: int) -> None:
    """Raises UserError where the disk plainly has too little room for the journal and the tables."""
    row_bytes = folds * findings * 4 + 2 * findings * 12 + 400  # journal; table and spread; names and hashes
    free = shutil.disk_usage(files.table.parent).free
    if rows * row_bytes > free:
        raise UserError(
            f"{files.table.parent}: {free / 1e6:,.0f} MB are free, about {rows * row_bytes / 1e6:,.0f} MB "
            "are needed; free some space, or write elsewhere."
        )


def scored_rows(plan: Plan, journal: Journal) -> Iterator[Scored]:
    """The table's rows in order."""
    if plan.studies is not None:
        yield from _study_rows(plan, journal)
        return
    for rows in journal.rows():
        for i, (file, values) in enumerate(zip(rows.files, rows.values, strict=True), rows.start):
            yield plan.row_ids[i], None if file.fault else values


def _study_rows(plan: Plan, journal: Journal) -> Iterator[Scored]:
    """Each fold's mean over a study's images, summed in fp64: exact, so their order changes no bit."""
    studies = plan.studies
    if studies is None:
        raise BrokenPromise("no studies to average over")
    sums: dict[int, NDArray[np.float64]] = {}
    counts: Counter[int] = Counter()
    faulty = set()
    for rows in journal.rows():
        for i, (file, values) in enumerate(zip(rows.files, rows.values, strict=True), rows.start):
            if file.fault:
                faulty.add(i)
                continue
            study = studies.of_file[i]
            sums[study] = sums.get(study, 0.0) + values.astype(np.float64)
            counts[study] += 1
    for row, study in enumerate(studies.of_row):
        lost = studies.image_of_row is not None and studies.image_of_row[row] in faulty
        values = None if lost or not counts[study] else (sums[study] / counts[study]).astype(np.float32)
        yield plan.row_ids[row], values


def fold_mean(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """(F, L) -> (L,), added one after another in fp32, as `predict.mean` does."""
    total: NDArray[np.float32] = values[0].copy()
    for fold in values[1:]:
        total += fold
    total /= np.float32(len(values))
    return total


def fold_spread(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """(F, L) -> (L,): the standard deviation over folds (of these folds, not of a larger population)."""
    spread: NDArray[np.float32] = values.astype(np.float64).std(axis=0).astype(np.float32)
    return spread


def write_probabilities(
    path: Path,
    plan: Plan,
    rows: Iterable[tuple[str, NDArray[np.float32]]],
    *,
    findings: Sequence[str],
    csv_safe: bool,
    format: str,
) -> int:
    """-> rows written, as `format`, csv or parquet. Values come in the order of `findings` and leave in that
    of the plan's columns; NaN, what is not known or not decided, is an empty cell in a CSV file.
    """
    order = [findings.index(name) for name in plan.columns]
    ordered = ((_safe(name) if csv_safe else name, values[order]) for name, values in rows)
    if format == "parquet":
        return _write_parquet(path, plan, ordered)
    count = 0

    def cells() -> Iterator[Sequence[str]]:
        nonlocal count
        for name, values in ordered:
            count += 1
            row_id, *numbers = score_cells(name, values)
            yield [row_id, *("" if number == "nan" else number for number in numbers)]

    write_table(path, [plan.id_column, *plan.columns], cells())
    return count


def _write_parquet(path: Path, plan: Plan, rows: Iterable[tuple[str, NDArray[np.float32]]]) -> int:
    import polars as pl

    schema = {plan.id_column: pl.String} | dict.fromkeys(plan.columns, pl.Float32)
    frames = [pl.DataFrame(schema=schema)]
    iterator = iter(rows)
    while some := list(islice(iterator, ROWS_AT_ONCE)):
        values = np.stack([value for _, value in some])
        columns: dict[str, Any] = {plan.id_column: [name for name, _ in some]}
        columns |= {name: values[:, j] for j, name in enumerate(plan.columns)}
        frames.append(pl.DataFrame(columns, schema=schema))
    table = pl.concat(frames)
    packed = BytesIO()  # a full disk is then an OSError, as for any other file
    table.write_parquet(packed)
    path.write_bytes(packed.getbuffer())
    return table.height


def write_errors(path: Path, faults: Iterable[Fault]) -> None:
    """For people: a spreadsheet runs none of its cells."""
    safe = ([_safe(writable(cell)) for cell in fault] for fault in faults)
    write_table(path, ["path", "stage", "kind", "message"], safe)


def write_manifest(path: Path, plan: Plan, journal: Journal) -> None:
    """Which bytes made which row: one line per file, which `score` and `verify` read again."""
    write_table(path, ["path", "bytes", "sha256", "id", "fault"], _manifest_rows(plan, journal.rows()))


def _manifest_rows(plan: Plan, shards: Iterable[Rows]) -> Iterator[Sequence[object]]:
    for rows in shards:
        for i, file in enumerate(rows.files, rows.start):
            kind = file.fault[1] if file.fault else ""
            yield writable(plan.paths[i]), file.bytes, file.sha256, plan.ids[i], kind


def _safe(cell: str) -> str:
    """A quote before what a spreadsheet would run, and one more where a name has quotes there of its own."""
    return "'" + cell if cell.lstrip("'").startswith(FORMULA) else cell
