"""A label table nobody has described yet -> the `labels` settings that would read it.

In    a strict table of text.
Out   format, id, patient, study and findings, as params.yaml names them, and notes on what was taken and what
      left out. What a blank and -1 mean stays the person's own choice.
"""

from typing import Any

from cxrscore.datasets import chexpert, nih
from cxrscore.datasets.columns import WHOLE
from cxrscore.datasets.patient_ids import spellings, told, without_blanks
from cxrscore.errors import UserError
from cxrscore.files import Table

IDS = ("imagename", "image", "imageid", "imageindex", "imagepath", "filename", "file", "path")
PATIENTS = ("patientid", "patient", "subjectid", "subject")
STUDIES = ("study", "studyid", "studyinstanceuid")
FACTS = ("sex", "gender", "age", "viewcategory", "viewposition", "view", "fold")


def describe(table: Table) -> tuple[dict[str, Any], list[str]]:
    """Raises UserError where no column can be a finding or an id."""
    names = list(table.columns)
    if "Finding Labels" in names:
        settings = _settings("nih", "Image Index", "Patient ID", None, list(nih.FINDINGS))
        return settings, _spellings(table, "Patient ID")
    if "Path" in names and set(chexpert.FINDINGS) <= set(names):
        return _settings("chexpert", "Path", "Patient_ID", "Study", list(chexpert.FINDINGS)), []
    id_column, patient, study = (_named(names, known) for known in (IDS, PATIENTS, STUDIES))
    if id_column is None:
        raise UserError(
            f"{table.path}:1: no column names the images; call it Image_name. Found: {', '.join(names)}."
        )
    taken = {id_column, patient, study} | {name for name in names if _plain(name) in FACTS}
    others = [name for name in names if name not in taken]
    findings = [name for name in others if name and WHOLE.keys() >= set(table.columns[name]) != {""}]
    left_out = [_why(table, name) for name in others if name not in findings]
    if not findings:
        found = "; ".join(left_out) or "no other column"
        raise UserError(f"{table.path}: no column holds only 0, 1, -1 and blanks: {found}.")
    notes = [f"{len(findings)} findings: {', '.join(findings)}"]
    notes += [f"no finding, left out: {why}" for why in left_out]
    blanks = sum(table.columns[name].count("") for name in findings)
    if blanks:
        notes.append(f"{blanks:,} labels are blank; labels.blank in params.yaml says what that means")
    if patient is None:
        notes.append("no patient column, such as Patient_ID: folds are by image, and a patient's images leak")
    else:
        notes += _spellings(table, patient)
    return _settings("table", id_column, patient, study, findings), notes


def _spellings(table: Table, patient: str) -> list[str]:
    numbers = spellings([without_blanks(cell) for cell in table.columns.get(patient, [])])
    if not numbers:
        return []
    return [f"{told(numbers, patient)}; labels.patient_ids in params.yaml says whose they are"]


def _settings(
    format: str, id: str, patient: str | None, study: str | None, findings: list[str]
) -> dict[str, Any]:
    return {"format": format, "id": id, "patient": patient, "study": study, "findings": findings}


def _named(names: list[str], known: tuple[str, ...]) -> str | None:
    """The column whose plain name comes first in `known`."""
    plain = {_plain(name): name for name in reversed(names)}
    return next((plain[word] for word in known if word in plain), None)


def _plain(name: str) -> str:
    return name.strip().casefold().replace("_", "").replace(" ", "")


def _why(table: Table, name: str) -> str:
    cells = table.columns[name]
    odd = next((row for row, cell in enumerate(cells) if cell not in WHOLE), None)
    if odd is None:
        return f"{name!r} is blank throughout"
    return f"{name!r} holds {cells[odd]!r} on line {table.lines[odd]}"
