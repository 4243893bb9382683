"""A label table nobody has described yet -> the `labels` settings that would read it.

In    a strict table of text; what a person has said of it; the files that its names may mean.
Out   format, id, patient, study and findings, as params.yaml names them, and notes on what was taken and what
      left out, with the flags that would say it. What a blank and -1 mean stays the person's own choice.
"""

import csv
import shlex
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from cxrscore.core.errors import UserError, counted
from cxrscore.tables.csv_table import Table
from cxrscore.tables.datasets import chexpert, nih
from cxrscore.tables.datasets.column_names import FACTS, IDS, PATIENTS, SPLITS, STUDIES, WEAK, named, plain
from cxrscore.tables.datasets.columns import BLANK, LEGAL, label_code
from cxrscore.tables.datasets.patient_ids import number
from cxrscore.tables.image_names import spelled, stem, without_blanks

LOOKED_AT = 500  # cells of a column, to see whether they name files
SLIPS = 0.1  # of a column's cells
MATCHED = 0.5  # of a column's names, before it is taken for the one that names the images


@dataclass(frozen=True)
class Said:
    """What a person has said of a table; None and nothing: to be found out."""

    id: str | None = None
    patient: str | None = None
    patient_pattern: str | None = None
    study: str | None = None
    findings: tuple[str, ...] = ()


def describe(
    table: Table, said: Said | None = None, *, files: Sequence[str] = ()
) -> tuple[dict[str, Any], list[str]]:
    """Raises UserError where no column can be a finding or an id."""
    said, columns = said or Said(), table.columns
    named_in_table = said.id is not None and said.findings and set(said.findings) <= set(columns)
    if "Finding Labels" in columns and not named_in_table:
        patient = "Patient ID" if "Patient ID" in columns else None
        settings = _settings("nih", said, "Image Index", patient, None, nih.FINDINGS)
        return settings, _flags(settings, said)
    if "Path" in columns and set(chexpert.FINDINGS) <= set(columns) and not named_in_table:
        return _settings("chexpert", said, "Path", "Patient_ID", "Study", chexpert.FINDINGS), []
    for name in (said.id, said.patient, said.study, *said.findings):
        if name is not None:
            table.column(name)
    return _describe_plain(table, said, files)


def _describe_plain(table: Table, said: Said, files: Sequence[str]) -> tuple[dict[str, Any], list[str]]:
    names = [name for name in table.columns if name]
    id_column = said.id or _id(table, names, files)
    if id_column is None:
        raise UserError(_no_id(table, files))
    free = [name for name in names if name != id_column]
    if said.patient and said.patient_pattern:
        raise UserError("--patient names a column and --patient-pattern reads file names: give one of them.")
    patient = said.patient or ("Patient_ID" if said.patient_pattern else _patients(table, free))
    study = said.study or named(free, STUDIES)
    taken = {id_column, patient, study} | {name for name in free if plain(name) in (*FACTS, *SPLITS)}
    others = [] if said.findings else [name for name in free if name not in taken]
    findings = list(said.findings) or [name for name in others if _is_finding(table.columns[name])]
    left_out = [_why(table, name) for name in others if name not in findings]
    for name in others:
        _refuse_slips(table, name)
    if not findings:
        raise UserError(_no_finding(table, left_out))
    settings = _settings("table", said, id_column, patient, study, findings)
    notes = [*_flags(settings, said), f"{counted(len(findings), 'finding')}: {', '.join(findings)}"]
    facts = [name for name in free if name in taken - {patient, study} and not said.findings]
    notes += [f"columns left out, because their names are not findings: {', '.join(facts)}"] if facts else []
    notes += [f"column left out, because it is not a finding: {why}" for why in left_out]
    counts = Counter(cell for name in findings for cell in table.columns[name])
    blanks = sum(count for cell, count in counts.items() if label_code(cell) == BLANK)
    if blanks:
        notes.append(
            f"{counted(blanks, 'label is', 'labels are')} blank; labels.blank in params.yaml says what that "
            "means"
        )
    if patient is None:
        notes.append(
            "no patient column was found: folds are assigned by image, so that images of a patient leak "
            "across them. Name one with --patient COLUMN or, if file names begin with it, use "
            "--patient-pattern '^([0-9]+)_'"
        )
    return settings, notes


def _settings(
    format: str, said: Said, id: str, patient: str | None, study: str | None, findings: Sequence[str]
) -> dict[str, Any]:
    return {
        "format": format,
        "id": said.id or id,
        "patient": said.patient or patient,
        "patient_pattern": said.patient_pattern,
        "study": said.study or study,
        "findings": list(said.findings or findings),
    }


def _flags(settings: dict[str, Any], said: Said) -> list[str]:
    """A note with the flags that say what was found out; none where the person has said it all."""
    if said.id and said.findings and (said.patient or said.patient_pattern):
        return []
    patient = "patient" if said.patient_pattern is None else "patient_pattern"
    shown = {key: settings[key] for key in ("id", patient, "study") if settings[key] is not None}
    shown["findings"] = _joined(settings["findings"])
    flags = " ".join(f"--{key.replace('_', '-')} {shlex.quote(value)}" for key, value in shown.items())
    return [f"columns were guessed from their names; to state them yourself: {flags}"]


def listed(text: str) -> tuple[str, ...]:
    """`A,B` -> A and B; a name with a comma stands in quotes."""
    return tuple(
        without_blanks(name)
        for row in csv.reader([text], skipinitialspace=True)
        for name in row
        if without_blanks(name)
    )


def _joined(names: Sequence[str]) -> str:
    quoted = [f'"{name.replace(chr(34), chr(34) * 2)}"' if set(name) & {",", '"'} else name for name in names]
    return ",".join(quoted)


def _id(table: Table, names: Sequence[str], files: Sequence[str]) -> str | None:
    """The column that is called so, unless its cells name no files and those of another do."""
    called, matching = named(names, IDS), _matching(table, files)
    there = {stem(spelled(file)) for file in files}
    fits = called is not None and _share(table.columns[called], there) > 0
    return called if fits or matching is None else matching


def _matching(table: Table, files: Sequence[str]) -> str | None:
    """The one column most of whose names are names of files; None where two are, or none."""
    there = {stem(spelled(file)) for file in files}
    shares = {name: _share(cells, there) for name, cells in table.columns.items()}
    best = [name for name, share in shares.items() if share > MATCHED and share == max(shares.values())]
    return best[0] if len(best) == 1 else None


def _share(cells: Sequence[str], there: set[str]) -> float:
    """Of at most LOOKED_AT cells, spread over the column."""
    some = cells[:: max(1, len(cells) // LOOKED_AT)]
    return sum(stem(spelled(cell)) in there for cell in some) / max(len(some), 1)


def _patients(table: Table, names: Sequence[str]) -> str | None:
    found = named(names, PATIENTS)
    if found is not None and plain(found) in WEAK and None not in map(label_code, set(table.columns[found])):
        return None
    return found


def _is_finding(cells: Sequence[str]) -> bool:
    """Labels of two kinds at least, a blank being no positive: one value throughout tells no images apart."""
    codes = {label_code(cell) for cell in set(cells)}
    return None not in codes and len({0 if code == BLANK else code for code in codes}) > 1


def _refuse_slips(table: Table, name: str) -> None:
    """Raises UserError for a column of labels in which a few cells are words: typing errors, more likely than
    no labels at all.
    """
    counts = Counter(table.columns[name])
    odd = [cell for cell in counts if label_code(cell) is None]
    share = sum(counts[cell] for cell in odd) / len(table)
    if odd and share <= SLIPS and {0, 1} <= set(map(label_code, counts)) and not any(map(number, odd)):
        line = table.lines[table.columns[name].index(odd[0])]
        raise UserError(
            f"{table.path}:{line}: {name!r} holds {odd[0]!r} among labels; correct the cell, or name the "
            "columns that are findings with --findings."
        )


def _why(table: Table, name: str) -> str:
    cells = table.columns[name]
    odd = next((row for row, cell in enumerate(cells) if label_code(cell) is None), None)
    if odd is not None:
        return f"{name!r} holds {cells[odd]!r} on line {table.lines[odd]}"
    filled = next((cell for cell in cells if label_code(cell) != BLANK), None)
    if filled is None:
        return f"{name!r} is blank in every row"
    blank = " or blank" if BLANK in map(label_code, set(cells)) else ""
    return f"{name!r} is {filled!r}{blank} in every row; --findings includes it anyway"


def _no_id(table: Table, files: Sequence[str]) -> str:
    found = ", ".join(map(repr, table.columns))
    like = f" None of them holds the names of the files, such as {files[0]!r}." if files else ""
    study = named(table.columns, STUDIES)
    studies = (
        f" A table of studies ({study!r}) has to be joined first with the one that lists their images, as "
        "MIMIC-CXR's metadata does (dicom_id)."
        if study
        else ""
    )
    return (
        f"{table.path}:1: no column names the images; there are {found}.{like}{studies} Name the column with "
        "--id COLUMN, or call it Image_name."
    )


def _no_finding(table: Table, left_out: Sequence[str]) -> str:
    lists = next((name for name, cells in table.columns.items() if name and cells[0].startswith("[")), None)
    parts = next((name for name, cells in table.columns.items() if any("|" in cell for cell in cells)), None)
    remedy = "name columns of such cells with --findings A,B"
    if lists or parts:
        column = f"df[{(lists or parts)!r}]"
        split = f"{column}.map(ast.literal_eval).str.join('|')" if lists else column
        remedy = (
            f"{(lists or parts)!r} holds several findings in a cell, as PadChest's Labels does; write a "
            f"column of 0 and 1 for each: df.join({split}.str.get_dummies()) in pandas"
        )
    found = "; ".join(left_out) or "no other column"
    return f"{table.path}: none of the columns is a finding, whose cells are {LEGAL}: {found}. {remedy}."
