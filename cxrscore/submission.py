"""The score table: one row an image, its id and then a probability a finding.

In    probabilities (n, L) float32 with ids and findings.
Out   CSV, `%.7g`, `\n` line ends, whole or not at all, and the same back. Out-of-fold and competition tables
      have one shape. Names come out byte for byte as they came in.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cxrscore.errors import UserError, promise
from cxrscore.files import Table, read_table, write_table


def write_scores(
    path: Path, id_column: str, ids: Sequence[str], findings: Sequence[str], probs: NDArray[np.float32]
) -> None:
    """`probs` (n, L): row i belongs to `ids[i]`, column j to `findings[j]`."""
    promise(probs.shape == (len(ids), len(findings)), f"scores of shape {probs.shape} for {len(ids)} rows")
    promise(np.isfinite(probs).all(), "a score that is no number")
    rows = (score_cells(name, row) for name, row in zip(ids, probs, strict=True))
    write_table(path, [id_column, *findings], rows)


def score_cells(name: str, probs: NDArray[np.float32]) -> list[str]:
    """One row of a score table: an id and (L,) probabilities."""
    return [name, *(f"{prob:.7g}" for prob in probs.tolist())]


def read_scores(path: Path) -> tuple[str, list[str], list[str], NDArray[np.float32]]:
    """-> id column, ids, findings, probabilities (n, L). Raises UserError for anything not from 0 to 1."""
    table = read_table(path)
    id_column, *findings = table.columns
    if not findings:
        raise UserError(f"{path}:1: no finding beside {id_column!r}; a score table was expected.")
    probs = np.stack([_probabilities(table, name) for name in findings], axis=1)
    return id_column, unique_ids(table, id_column), findings, probs


def unique_ids(table: Table, id_column: str) -> list[str]:
    """The cells of the id column. Raises UserError where one comes twice."""
    ids = table.columns[id_column]
    lines: dict[str, int] = {}
    for name, line in zip(ids, table.lines, strict=True):
        if name in lines:
            raise UserError(
                f"{table.path}:{line}: id {name!r} is also on line {lines[name]}; each id "
                "has one row, and the id column comes first."
            )
        lines[name] = line
    return ids


def _probabilities(table: Table, finding: str) -> NDArray[np.float32]:
    from cxrscore.frames import numbers

    cells = table.columns[finding]
    probs = numbers(cells)
    good = (probs >= 0) & (probs <= 1)
    if not good.all():
        i = int(np.argmin(good))
        raise UserError(f"{table.path}:{table.lines[i]}: {finding}: a number from 0 to 1, not {cells[i]!r}.")
    return probs.astype(np.float32)
