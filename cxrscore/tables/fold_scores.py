"""The scores of several models for the same images: one row for each image and model.

In    ids, and (F, L) scores of each.
Out   CSV with the columns id, fold, sha256 (of the model's checkpoint) and one per finding, and the same
      back.
"""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from cxrscore.core.errors import UserError
from cxrscore.tables.csv_table import read_table, write_table
from cxrscore.tables.score_table import score_cells

FOLD, SHA256 = "fold", "sha256"  # no finding has these names


class FoldScores(NamedTuple):
    """`by_fold` (F, n, L) float32; `models`: fold and sha256 of each, in that order."""

    id_column: str
    ids: list[str]
    findings: list[str]
    models: list[tuple[int, str]]
    by_fold: NDArray[np.float32]


def write_fold_scores(
    path: Path,
    id_column: str,
    findings: Sequence[str],
    models: Sequence[tuple[int, str]],
    rows: Iterable[tuple[str, NDArray[np.float32]]],
) -> None:
    """`rows`: an id and (F, L) scores in the order of `models` and `findings`."""

    def lines() -> Iterator[Sequence[object]]:
        for name, values in rows:
            for (fold, sha256), own in zip(models, values, strict=True):
                yield [name, fold, sha256, *score_cells(name, own)[1:]]

    write_table(path, [id_column, FOLD, SHA256, *findings], lines())


def read_fold_scores(path: Path) -> FoldScores:
    """Raises UserError for a table that `write_fold_scores` has not written."""
    from cxrscore.tables.polars_frames import numbers

    table = read_table(path)
    id_column, *others = table.columns
    if others[:2] != [FOLD, SHA256] or not others[2:] or not len(table):
        raise _damaged(path, f"its columns are {', '.join(table.columns)[:80]}")
    findings, cells = others[2:], table.columns
    models = list(dict.fromkeys(zip(cells[FOLD], cells[SHA256], strict=True)))
    ids = cells[id_column][:: len(models)]
    whole = [name for name in ids for _ in models] == cells[id_column]
    if not whole or models * len(ids) != list(zip(cells[FOLD], cells[SHA256], strict=True)):
        raise _damaged(path, "its rows are not one for each image and model")
    if not all(fold.isdecimal() for fold, _ in models):
        raise _damaged(path, "a fold is not a number")
    probs = np.stack([numbers(cells[name]) for name in findings], axis=1)
    if not ((probs >= 0) & (probs <= 1)).all():
        raise _damaged(path, "a score is not a number from 0 to 1")
    by_fold = probs.reshape(len(ids), len(models), len(findings)).swapaxes(0, 1).astype(np.float32)
    return FoldScores(id_column, ids, findings, [(int(fold), sha) for fold, sha in models], by_fold)


def _damaged(path: Path, why: str) -> UserError:
    return UserError(f"{path}: damaged ({why}); run `cxrscore test` again.")
