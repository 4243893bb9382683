"""The fold table (out/folds.csv): which fold validates which image.

In    ids, patients where they are known, fold (n,).
Out   a CSV file `Image_name,Patient_ID,fold`, the first two named as in params.yaml, and the same back.
"""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cxrscore.core.errors import UserError
from cxrscore.tables.csv_table import Table, read_table, write_table

REMEDY = "make it again with `dvc repro folds`"


@dataclass(frozen=True)
class Folds:
    """One row per image; fold (n,) is the fold in which it is validated."""

    ids: list[str]
    patient: list[str] | None
    fold: NDArray[np.int64]


def write_folds(path: Path, folds: Folds, *, id: str, patient: str | None) -> None:
    """`id` and `patient` name the columns; without patients there is no such column."""
    columns = {id: folds.ids, **({patient: folds.patient} if patient and folds.patient else {})}
    write_table(path, [*columns, "fold"], zip(*columns.values(), folds.fold, strict=True))


def read_folds(path: Path) -> Folds:
    """Raises UserError for a file unlike those of `cxrscore folds`: folds count from 0, and none is empty."""
    table = read_table(path)
    names = list(table.columns)
    if not 2 <= len(names) <= 3 or names[-1] != "fold":
        raise UserError(f"{path}:1: columns are id, patient and fold, not {', '.join(names)}; {REMEDY}.")
    ids = table.columns[names[0]]
    name, times = Counter(ids).most_common(1)[0]
    if times > 1:
        raise UserError(f"{path}: {name!r} has {times} rows; {REMEDY}.")
    fold = _numbers(table)
    empty = np.flatnonzero(np.bincount(fold) == 0)
    if len(empty) or not fold.any():
        raise UserError(f"{path}: no image in fold {empty[0] if len(empty) else 1}; {REMEDY}.")
    return Folds(ids, table.columns[names[1]] if len(names) == 3 else None, fold)


def _numbers(table: Table) -> NDArray[np.int64]:
    for line, cell in zip(table.lines, table.columns["fold"], strict=True):
        if not (cell.isascii() and cell.isdigit() and len(cell) < 4):
            raise UserError(f"{table.path}:{line}: a fold is a number from 0, not {cell!r}; {REMEDY}.")
    return np.array(table.columns["fold"], dtype=np.int64)


def split_patients(folds: Folds) -> list[str]:
    """Patients with images in several folds, sorted."""
    places = set(zip(folds.patient or [], folds.fold.tolist(), strict=bool(folds.patient)))
    return sorted(
        patient for patient, count in Counter(patient for patient, _ in places).items() if count > 1
    )
