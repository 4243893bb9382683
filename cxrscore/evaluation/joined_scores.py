"""A score table and labels -> scores and truth of the same rows, in the table's order.

In    a ScoreTable; a LabelTable, or the CSV file of one.
Out   Scored: (n, L) scores with y and mask. Raises UserError for rows that no label belongs to, and for other
      findings.
"""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cxrscore.core.errors import UserError, counted
from cxrscore.evaluation.study_labels import studies_named
from cxrscore.statistics.roc_area import auc_by_finding
from cxrscore.statistics.sample import Sample
from cxrscore.tables.csv_table import Table
from cxrscore.tables.datasets import column_names
from cxrscore.tables.datasets.column_names import IDS, PATIENTS, STUDIES, WEAK, named, plain
from cxrscore.tables.foreign_table import read_foreign_table
from cxrscore.tables.image_names import match_names
from cxrscore.tables.label_table import LabelTable
from cxrscore.tables.labels import read_labels
from cxrscore.tables.polars_frames import places
from cxrscore.tables.score_table import ScoreTable
from cxrscore.tables.tabular_inputs import values_of

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


TEST_LABELS = "test_labels.csv"  # of the held-out test, beside a project's other labels
STUDY_COLUMN = "Study"  # of ids, in what `score --level study` writes without a template


@dataclass(frozen=True)
class Scored:
    """Scores (n, L) with the truth of the same rows, y and mask (n, L). `images`: where rows are studies, the
    names of the images of each.
    """

    findings: Sequence[str]
    scores: np.ndarray
    table: LabelTable
    unscored: int
    notes: Sequence[str] = ()
    images: Sequence[Sequence[str]] | None = None

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
    scores: ScoreTable, labels_csv: Path, *, labels: "LabelParams | None", readers: str | None = None
) -> tuple[Scored, list[str]]:
    """Scores with the labels of a file -> what was joined, and notes on how it was read. `readers` takes the
    place of the settings' own. Rows whose ids are no images, but studies, get the labels of studies.
    """
    settings, notes = label_settings(labels_csv, scores.id_column, labels)
    settings |= {"findings": scores.findings} | ({"readers": readers} if readers else {})
    table = read_labels(labels_csv, **settings)
    studies = None
    if not (places(scores.ids, table.ids) >= 0).any():
        images = _with_studies(table, labels_csv, settings).measurable()
        studies = studies_named(scores.ids, images)
        if studies is None and scores.id_column == STUDY_COLUMN:
            raise UserError(
                f"{scores.source}: rows are studies such as {scores.ids[0]!r}, and not all of them are in "
                f"{labels_csv}; name a label table of the same images with a column of studies "
                "(labels.study), or with files named by patient, study and image."
            )
    joined = join(scores, studies.table if studies else table)
    if studies:
        rows = places(scores.ids, studies.table.ids)
        joined = replace(joined, images=[studies.images[row] for row in rows])
        notes += studies.notes
    return joined, [*notes, *scores.notes, *_calls(scores), *table.notes, *joined.notes]


def _calls(scores: ScoreTable) -> list[str]:
    return [
        f"{scores.source}: holds only 0 and 1: calls, whose AUC and calibration are not those of the scores "
        "that they were made of."
    ] * bool(np.isin(scores.probs, (0, 1)).all())


def _with_studies(table: LabelTable, labels_csv: Path, settings: dict[str, Any]) -> LabelTable:
    """With the studies of a column that is called like one, where the settings name none."""
    columns = read_foreign_table(labels_csv).columns
    study = named(columns, STUDIES)
    if table.study is not None or study is None:
        return table
    own = settings | {"study": study, "patient": settings["patient"] or named(columns, PATIENTS)}
    return read_labels(labels_csv, **own)


def label_settings(
    labels_csv: Path, id_column: str, labels: "LabelParams | None"
) -> tuple[dict[str, Any], list[str]]:
    """What reads this table of labels, which may have fewer columns than the project's -> settings, notes."""
    settings = labels.model_dump() if labels else PLAIN | {"id": id_column}
    table, notes = read_foreign_table(labels_csv), list[str]()
    columns = table.columns
    wanted = [labels.id] if labels else list[str]()
    if plain(id_column) in STUDIES and (images := named(columns, IDS)):  # rather than the studies' own column
        wanted.append(images)
    settings["id"] = column_names.id_column(columns, *wanted, id_column)
    if labels is None and (patient := _patients(table)):
        settings["patient"] = patient
        notes.append(f"{labels_csv}: patients are those of {patient!r}.")
    derived = settings["format"] == "chexpert"  # from the path
    for key in ("patient", "study"):
        name = settings[key]
        if name is not None and name not in columns and not derived and settings["patient_pattern"] is None:
            settings[key] = None
            notes.append(f"{labels_csv}: no column {name!r}; metrics are not grouped by {key}.")
    return settings, notes


def _patients(table: Table) -> str | None:
    """A filled column that can be called nothing else; one of blanks alone does not count. Raises
    UserError for one that is blank in some rows: each of their images would be a patient, or all of them one.
    """
    name = named(table.columns, tuple(word for word in PATIENTS if word not in WEAK))
    values = values_of(table.columns[name]) if name else []
    if not any(values):
        return None
    if blank := [line for line, value in zip(table.lines, values, strict=True) if not value]:
        raise UserError(
            f"{table.path}:{blank[0]}: {name!r} is blank, the first of {counted(len(blank), 'such row')}; "
            "fill it in, or delete the row; or remove the column, and each image counts as a patient."
        )
    return name


def unknown_patients(scored: Scored, *, resamples: int) -> list[str]:
    """A note where intervals are over images, or studies, as nobody knows whose they are."""
    one, several = ("image", "images") if scored.images is None else ("study", "studies")
    note = (
        f"no patients are known, and each {one} counts as one: where patients have several {several}, "
        "intervals are too narrow"
    )
    return [note] if resamples and scored.table.patient is None else []


def join(scores: ScoreTable, table: LabelTable) -> Scored:
    """A score table with the labels of its rows, in its order. Raises UserError for rows without labels."""
    source, table = scores.source, table.measurable()
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
    other = table.path.with_name(TEST_LABELS)
    if len(unknown) == len(ids) and other != table.path and _holds(other, ids):
        raise UserError(
            f"{source}: none of its {counted(len(ids), 'row')} is in {table.path}, and all are in {other}; "
            f"name that with --labels {other}."
        )
    if unknown:
        raise UserError(
            f"{source}: {counted(len(unknown), 'row is', 'rows are')} not in {table.path}: "
            f"{', '.join(unknown[:10])}; the labels name images like {table.ids[0]!r}: add the missing "
            "images, or remove their scores."
        )
    return rows, [f"{source}: {note}." for note in notes]


def _holds(labels_csv: Path, ids: Sequence[str]) -> bool:
    """Whether it is a table, and a column of it has all of these names."""
    if not labels_csv.is_file():
        return False
    with suppress(UserError):  # of another table than was asked for
        return any(set(ids).issubset(cells) for cells in read_foreign_table(labels_csv).columns.values())
    return False


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
