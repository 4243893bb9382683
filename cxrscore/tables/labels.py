"""A label table in one of the field's formats -> LabelTable: ids as text, findings as 0/1 with a mask.

In    a CSV file, its format and columns; what a blank, an uncertain (-1) label and several readers mean.
Out   LabelTable. Nothing is guessed: what is not as declared is a UserError with file, line and remedy.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cxrscore.core.errors import UserError, counted
from cxrscore.tables.csv_table import Table
from cxrscore.tables.datasets.patient_ids import near_spellings, one_id_per_number, some, spellings, told
from cxrscore.tables.datasets.registry import (
    BLANK,
    FORMATS,
    LABELS_IN,
    LEGAL,
    UNCERTAIN,
    Columns,
    label_code,
)
from cxrscore.tables.foreign_table import read_foreign_table
from cxrscore.tables.image_names import without_blanks
from cxrscore.tables.label_table import LabelTable, one_row_per_image

OUTSIDE = re.compile(r"^[/\\]|^[A-Za-z]:|(^|[/\\])\.\.([/\\]|\Z)")  # an id is a path under the image folder
WITH_NO_FINDING = {
    "No Finding",
    "Support Devices",
}  # a healthy chest can hold a pacemaker: CheXpert's labeller agrees
REMEDY = {
    "blank": "set labels.blank to zero or ignore, or fill the cells in",
    "uncertain": "set labels.uncertain to zero, one or ignore",
}


def read_labels(  # noqa: PLR0913 - the section `labels` of params.yaml
    path: Path,
    *,
    format: str,
    id: str,
    patient: str | None,
    patient_pattern: str | None,
    study: str | None,
    patient_ids: str,
    findings: Sequence[str],
    blank: str,
    uncertain: str,
    readers: str,
    inputs: Sequence[str] = (),
) -> LabelTable:
    """`id`, `patient` and `study` as the format's module says; findings in the order given, none for its own.

    `patient_pattern`: the patient is its one group in the id, and in no column. `patient_ids`: number makes
    one patient of all spellings of a number; text and distinct keep each. `blank` is zero, ignore or error;
    `uncertain` can be one, too. `readers`: what several rows of an image give: error, or see
    `one_row_per_image`. `inputs`: further columns, for heads that take them. Raises UserError for a bad
    table.
    """
    twice = [name for name, times in Counter(findings).items() if times > 1]
    if twice:
        raise UserError(f"labels.findings: {', '.join(twice)} is listed twice; list each finding once.")
    table = read_foreign_table(path)
    table, notes = _without_repeats(table, id, several=readers != "error", findings=findings)
    _check_ids(table, id)
    column = patient if patient_pattern is None else None
    columns = FORMATS[format](table, id=id, patient=column, study=study, findings=findings)
    found = columns.patient if patient_pattern is None else _in_names(table, id, patient_pattern)
    patients, patient_notes = _without_blanks(table, found, patient)
    studies, study_notes = _without_blanks(table, columns.study, study)
    id_notes = [*patient_notes, *study_notes, *_patient_doubts(patients, patient, patient_ids)]
    if patients and patient_pattern is not None:
        example = f"{patients[0]!r} of {table.column(id)[0]!r}"
        id_notes.append(f"the pattern finds {counted(len(set(patients)), 'patient')}, such as {example}.")
    if patients and patient_ids == "number":
        patients = one_id_per_number(patients)
    own = {id: "the id", patient: "the patient", study: "the study"}
    own |= dict.fromkeys((*columns.findings, *LABELS_IN.get(format, ())), "a finding")
    id_notes += _study_doubts(studies, patients, study)
    y, mask = _decide(table, columns, blank=blank, uncertain=uncertain)
    rows = LabelTable(
        path=path,
        ids=table.column(id),
        findings=tuple(columns.findings),
        y=y,
        mask=mask,
        patient=patients,
        study=_studies(studies, patients),
        view=columns.view,
        sex=columns.sex,
        age=columns.age,
        inputs=_inputs(table, inputs, own),
        notes=(*table.notes, *notes, *(f"{path}: {note}" for note in id_notes)),
    )
    images = rows if readers == "error" else one_row_per_image(rows, table.lines, rule=readers)
    return replace(images, notes=(*images.notes, *_doubts(images.y, images.findings)))


def _inputs(table: Table, names: Sequence[str], own: Mapping[str | None, str]) -> dict[str, list[str]]:
    """The cells of further columns, none of which says who it is or what is to be found."""
    for name in names:
        if name in own:
            raise UserError(
                f"train.head.inputs: {name!r} is {own[name]} in {table.path}; list columns that are known "
                "before a reading, such as Sex, Age or ViewCategory."
            )
    return {name: table.column(name) for name in names}


def _in_names(table: Table, id: str, pattern: str) -> list[str]:
    """The one group of the pattern in each id. Raises UserError."""
    found = [re.search(pattern, name) for name in table.column(id)]
    for line, name, match in zip(table.lines, table.column(id), found, strict=True):
        if match is None:
            raise UserError(
                f"{table.path}:{line}: labels.patient_pattern {pattern!r} finds no patient in {name!r}; "
                "widen it, or name a column of patients."
            )
    return [match[1] or "" for match in found if match]


def _without_repeats(
    table: Table, id: str, *, several: bool, findings: Sequence[str]
) -> tuple[Table, tuple[str, ...]]:
    """The first of identical rows; with `several` readers only where a column tells them apart, as two of
    them may agree. Raises UserError for two rows of one image that differ, unless there are `several`.
    """
    first: dict[str, int] = {}
    keep = [row for row, name in enumerate(table.column(id)) if first.setdefault(name, row) == row]
    if len(keep) == len(table):
        return table, ()
    if several:
        return _one_row_per_reader(table, id, findings)
    for row in sorted(set(range(len(table))) - set(keep)):
        name, other = table.column(id)[row], first[table.column(id)[row]]
        differing = [repr(column) for column, cells in table.columns.items() if cells[row] != cells[other]]
        if differing:
            raise UserError(
                f"{table.path}:{table.lines[row]}: {name!r} is also on line {table.lines[other]}, "
                f"with another {', '.join(differing)}; keep the row that is right or, if several readers "
                "saw each image, set labels.readers (`init --readers`) to majority, any or mean."
            )
    note = (
        f"{table.path}: {counted(len(table) - len(keep), 'exact repeat')} of an earlier row, not "
        "counted again."
    )
    return table.rows(keep), (note,)


def _one_row_per_reader(table: Table, id: str, findings: Sequence[str]) -> tuple[Table, tuple[str, ...]]:
    others = [cells for name, cells in table.columns.items() if name != id and name not in findings]
    owners = set(zip(table.column(id), *others, strict=True))
    names_readers = len(owners) > len(set(table.column(id)))
    met: dict[tuple[str, ...], int] = {}
    rows = zip(*table.columns.values(), strict=True)
    keep = [i for i, row in enumerate(rows) if met.setdefault(row, i) == i]
    repeats = len(table) - len(keep)
    if not repeats:
        return table, ()
    if names_readers:
        return table.rows(keep), (
            f"{table.path}: {counted(repeats, 'exact repeat')} of an earlier row, not counted again.",
        )
    return table, (
        f"{table.path}: {counted(repeats, 'exact repeat')} of an earlier row, and no column names the "
        "readers: each row counts as one.",
    )


def _check_ids(table: Table, id: str) -> None:
    _check_filled(table, table.column(id), id)
    for line, name in zip(table.lines, table.column(id), strict=True):
        if OUTSIDE.search(name):
            raise UserError(
                f"{table.path}:{line}: {id!r} is {name!r}; write a path under the image folder, without '..'."
            )


def _check_filled(table: Table, cells: list[str] | None, name: str | None) -> None:
    for row, cell in enumerate(cells or []):
        if not cell.strip():
            raise UserError(
                f"{table.path}:{table.lines[row]}: {name!r} is blank; fill it in, or delete the row."
            )


def _without_blanks(
    table: Table, cells: list[str] | None, name: str | None
) -> tuple[list[str] | None, list[str]]:
    """The ids of patients or studies without blanks around them -> ids, notes. A blank there is never meant:
    one patient would be two. Raises UserError where nothing is left.
    """
    if cells is None:
        return None, []
    stripped = [cell if cell.isalnum() else without_blanks(cell) for cell in cells]
    _check_filled(table, stripped, name)
    changed = sum(a != b for a, b in zip(cells, stripped, strict=True))
    notes = (
        [f"{counted(changed, 'cell')} of {name!r} with leading or trailing blanks, which are ignored."]
        if changed
        else []
    )
    return stripped, notes


def _patient_doubts(patients: list[str] | None, name: str | None, patient_ids: str) -> list[str]:
    """Ids that may be of one person. Case alone is only told: ids that are codes (aB3, Ab3) need it, while
    one number under two spellings is what spreadsheets make of a table.
    """
    if not patients or not name:
        return []
    numbers, names = spellings(patients), near_spellings(patients)
    counts = "each number counts as one" if patient_ids == "number" else "each spelling counts as a"
    notes = (
        [f"{told(numbers, name)}; {counts} patient (labels.patient_ids: {patient_ids})."] if numbers else []
    )
    if names:
        notes.append(
            f"{sum(map(len, names))} ids of {name!r} differ from another only in case or Unicode form, such "
            f"as {some(names[0])}; each counts as a patient."
        )
    return notes


def _study_doubts(studies: list[str] | None, patients: list[str] | None, name: str | None) -> list[str]:
    if not studies or not name:
        return []
    numbers = spellings(studies, within=patients)
    return [f"{told(numbers, name)}; each spelling counts as a study."] if numbers else []


def _studies(studies: list[str] | None, patients: list[str] | None) -> list[str] | None:
    """patient/study: many tables number the studies of each patient from 1."""
    if studies is None or patients is None:
        return studies
    return [f"{patient}/{study}" for patient, study in zip(patients, studies, strict=True)]


def _decide(
    table: Table, columns: Columns, *, blank: str, uncertain: str
) -> tuple[NDArray[np.int8], NDArray[np.bool_]]:
    """Label cells -> y and mask (n, L), by the declared policies."""
    codes = np.stack(
        [_codes(table, columns, name) for name in columns.findings], axis=1
    )  # (n, L) in {0, 1, -1, -2}
    y, mask = codes.copy(), np.ones(codes.shape, dtype=bool)
    for code, key, policy in ((BLANK, "blank", blank), (UNCERTAIN, "uncertain", uncertain)):
        found = codes == code
        if policy == "error" and found.any():
            raise UserError(_refusal(table, list(columns.findings), found, key))
        y[found] = 1 if policy == "one" else 0
        mask[found] = policy != "ignore"
    return y, mask


def _codes(table: Table, columns: Columns, name: str) -> NDArray[np.int8]:
    cells = columns.findings[name]
    code_of = {cell: label_code(cell) for cell in set(cells)}
    for line, cell in zip(table.lines, cells, strict=True) if None in code_of.values() else ():
        if code_of[cell] is None:
            raise UserError(
                f"{table.path}:{line}: {name!r}: a label is {LEGAL}, not {cell!r}; correct the cell."
            )
    return np.fromiter((code_of[cell] for cell in cells), dtype=np.int8, count=len(cells))


def _refusal(table: Table, findings: list[str], found: NDArray[np.bool_], key: str) -> str:
    row, column = np.argwhere(found)[0]
    counts = ", ".join(f"{name} {n}" for name, n in zip(findings, found.sum(0), strict=True) if n)
    where = f"{table.path}:{table.lines[row]}: {findings[column]!r}"
    return (
        f"{where} is {key}, the first of {counted(int(found.sum()), 'such label')} ({counts}); {REMEDY[key]}."
    )


def _doubts(y: NDArray[Any], findings: tuple[str, ...]) -> list[str]:
    """What is legal and worth a look: images without any label, healthy ones with a pathology."""
    empty = int((~y.any(axis=1)).sum())
    notes = (
        [f"{counted(empty, 'image has', 'images have')} none of the findings, not even No Finding."]
        if empty
        else []
    )
    if "No Finding" in findings:
        others = [i for i, name in enumerate(findings) if name not in WITH_NO_FINDING]
        torn = int((y[:, findings.index("No Finding")].astype(bool) & y[:, others].any(axis=1)).sum())
        notes += (
            [f"{counted(torn, 'image has', 'images have')} No Finding together with a pathology."]
            if torn
            else []
        )
    return notes
