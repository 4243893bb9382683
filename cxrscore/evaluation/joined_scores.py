"""A score table and labels -> scores and truth of the same rows, in the table's order.

In    a ScoreTable; a LabelTable, or the CSV file of one.
Out   Scored: (n, L) scores with y and mask. Raises UserError for rows that no label belongs to, and for other
      findings.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cxrscore.core.errors import UserError, counted
from cxrscore.statistics.roc_area import auc_by_finding
from cxrscore.statistics.sample import Sample
from cxrscore.tables.datasets import column_names
from cxrscore.tables.foreign_table import read_foreign_table
from cxrscore.tables.image_names import match_names
from cxrscore.tables.label_table import LabelTable
from cxrscore.tables.labels import read_labels
from cxrscore.tables.polars_frames import places
from cxrscore.tables.score_table import ScoreTable

if TYPE_CHECKING:
    from cxrscore.project.params import LabelParams

PLAIN = {
    "format": "table",
    "patient": None,
    "patient_pattern": None,
    "study": None,
    "patient_ids": "text",
    "blank": "error",
    "uncertain": "error",
    "readers": "error",
}


@dataclass(frozen=True)
class Scored:
    """Scores (n, L) with the truth of the same rows, y and mask (n, L)."""

    findings: Sequence[str]
    scores: np.ndarray
    table: LabelTable
    unscored: int
    notes: Sequence[str] = ()

    def areas(self) -> np.ndarray:
        return auc_by_finding(self.table.y, self.table.mask, self.scores)

    def sample(self) -> Sample:
        """For statistics; without patients each image stands for itself."""
        table = self.table
        numbers = np.unique(table.patient or table.ids, return_inverse=True)[1].astype(np.int64)
        return Sample(tuple(self.findings), table.y, table.mask, self.scores, numbers)

    def patients(self) -> int | None:
        return len(set(self.table.patient)) if self.table.patient is not None else None


def join_file(
    scores: ScoreTable, labels_csv: Path, *, labels: "LabelParams | None"
) -> tuple[Scored, list[str]]:
    """Scores with the labels of a file -> what was joined, and notes on how it was read."""
    settings, notes = label_settings(labels_csv, scores.id_column, labels)
    table = read_labels(labels_csv, **settings | {"findings": scores.findings})
    joined = join(scores, table)
    return joined, [*notes, *scores.notes, *table.notes, *joined.notes]


def label_settings(
    labels_csv: Path, id_column: str, labels: "LabelParams | None"
) -> tuple[dict[str, Any], list[str]]:
    """What reads this table of labels, which may have fewer columns than the project's -> settings, notes."""
    settings = labels.model_dump() if labels else PLAIN | {"id": id_column}
    columns, notes = read_foreign_table(labels_csv).columns, []
    settings["id"] = column_names.id_column(columns, str(settings["id"]), id_column)
    derived = settings["format"] == "chexpert"  # from the path
    for key in ("patient", "study"):
        name = settings[key]
        if name is not None and name not in columns and not derived and settings["patient_pattern"] is None:
            settings[key] = None
            notes.append(f"{labels_csv}: no column {name!r}; metrics are not grouped by {key}.")
    return settings, notes


def join(scores: ScoreTable, table: LabelTable) -> Scored:
    """A score table with the labels of its rows, in its order. Raises UserError for rows without labels."""
    source = scores.source
    if list(scores.findings) != list(table.findings):
        raise UserError(
            f"{source}: scores {', '.join(scores.findings)}; the labels hold {', '.join(table.findings)}; "
            "name a table of the same findings in the same order."
        )
    rows, notes = places(scores.ids, table.ids), list[str]()
    if (rows < 0).any():
        rows, notes = _matched(scores.ids, table, source)
    return Scored(scores.findings, scores.probs, table.rows(rows), len(table.ids) - len(rows), notes)


def _matched(ids: Sequence[str], table: LabelTable, source: str) -> tuple[np.ndarray, list[str]]:
    """The labelled image that each row means; where labels name images in less than their path, as `prepare`
    matches those to files, the row that each labelled image means. Raises UserError.
    """
    match = match_names(ids, table.ids)
    rows, notes = np.array(match.files), match.notes
    if (rows < 0).any():
        back = match_names(table.ids, ids)
        found = np.full(len(ids), -1)
        found[[at for at in back.files if at >= 0]] = [i for i, at in enumerate(back.files) if at >= 0]
        if (found >= 0).sum() > (rows >= 0).sum():
            rows, notes = found, back.notes
    unknown = [match.told(name) for name, row in zip(ids, rows, strict=True) if row < 0]
    if unknown:
        raise UserError(
            f"{source}: {counted(len(unknown), 'row is', 'rows are')} not in {table.path}: "
            f"{', '.join(unknown[:10])}; the labels name images like {table.ids[0]!r}: add the missing "
            "images, or remove their scores."
        )
    return rows, [f"{source}: {note}." for note in notes]


def pool(parts: Sequence[Scored]) -> Scored:
    first = parts[0]
    scores = np.concatenate([part.scores for part in parts])
    y, mask = (np.concatenate([getattr(part.table, name) for part in parts]) for name in ("y", "mask"))
    ids = [name for part in parts for name in part.table.ids]
    patient = (
        [name for part in parts for name in part.table.patient or []]
        if first.table.patient is not None
        else None
    )
    table = LabelTable(
        path=first.table.path, ids=ids, findings=first.table.findings, y=y, mask=mask, patient=patient
    )
    return Scored(first.findings, scores, table, 0)
