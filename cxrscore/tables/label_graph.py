"""A user's graph of findings: a CSV file of edges -> who listens to whom.

In    a table with the columns a,b (an edge informs both ways) or source,target (the target listens to the
      source), findings by name; the findings of a training.
Out   links (L, L) bool, row = who listens, column = to whom, each finding to itself. In numpy: no torch.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cxrscore.core.errors import UserError
from cxrscore.tables.csv_table import Table, nearest
from cxrscore.tables.foreign_table import read_foreign_table

BOTH_WAYS, ONE_WAY = ("a", "b"), ("source", "target")


def is_graph_file(name: str) -> bool:
    """Whether a setting `graph` names a file of edges."""
    return name.endswith(".csv")


def read_label_graph(path: Path, findings: Sequence[str]) -> NDArray[np.bool_]:
    """Raises UserError, with file and line, for a name that is not among the findings, an edge that stands
    there twice, one from a finding to itself, or other columns.
    """
    table = read_foreign_table(path)
    columns = _columns(table)
    row = {name: i for i, name in enumerate(findings)}
    links = np.eye(len(findings), dtype=bool)
    seen: dict[tuple[str, str], int] = {}
    for source, target, line in zip(*(table.column(name) for name in columns), table.lines, strict=True):
        for name in (source, target):
            if name not in row:
                raise UserError(
                    f"{path}:{line}: {name!r} is not in labels.findings; {nearest(name, findings)}. "
                    "Correct the name, or remove the edge."
                )
        if source == target:
            raise UserError(
                f"{path}:{line}: an edge from {source!r} to itself; remove it, as each finding listens to "
                "itself anyway."
            )
        edge = (source, target) if columns == ONE_WAY else (min(source, target), max(source, target))
        if edge in seen:
            raise UserError(
                f"{path}:{line}: {source!r} and {target!r} are linked in line {seen[edge]} already; remove "
                "one of the two lines."
            )
        seen[edge] = line
        links[row[target], row[source]] = True
        links[row[source], row[target]] |= columns == BOTH_WAYS
    return links


def _columns(table: Table) -> tuple[str, str]:
    found = [pair for pair in (BOTH_WAYS, ONE_WAY) if set(pair) <= table.columns.keys()]
    if len(found) != 1:
        raise UserError(
            f"{table.path}:1: the columns {', '.join(table.columns)}; name them a,b for edges that inform "
            "both ways, or source,target for edges along which the target listens to the source."
        )
    return found[0]


def without_edges(links: NDArray[np.bool_], findings: Sequence[str]) -> list[str]:
    """The findings that no edge names: they listen to themselves alone."""
    linked = (links.sum(0) > 1) | (links.sum(1) > 1)  # each is linked to itself
    return [name for name, is_linked in zip(findings, linked.tolist(), strict=True) if not is_linked]
