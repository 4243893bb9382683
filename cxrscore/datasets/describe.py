"""A label table nobody has described yet -> the `labels` settings that would read it.

In    a strict table of text.
Out   format, id, patient, study and findings, as params.yaml names them. What a blank and -1 mean stays
      the person's own choice.
"""

from typing import Any

from cxrscore.datasets import chexpert, nih
from cxrscore.datasets.columns import WHOLE
from cxrscore.errors import UserError
from cxrscore.files import Table

IDS = ("Image_name", "image_name", "Image", "image", "image_id", "filename", "file", "path", "Path")
PATIENTS = ("Patient_ID", "PatientID", "patient_id", "Patient ID", "patient")
STUDIES = ("Study", "study_id", "StudyID", "StudyInstanceUID", "study")
FACTS = {"Sex", "Age", "Gender", "ViewCategory", "ViewPosition", "Fold", "fold"}


def describe(table: Table) -> dict[str, Any]:
    """Raises UserError where no column can be a finding or an id."""
    names = list(table.columns)
    if "Finding Labels" in names:
        return _settings("nih", "Image Index", "Patient ID", None, list(nih.FINDINGS))
    if "Path" in names and set(chexpert.FINDINGS) <= set(names):
        return _settings("chexpert", "Path", "Patient_ID", "Study", list(chexpert.FINDINGS))
    id_column = next((name for name in IDS if name in names), None)
    if id_column is None:
        raise UserError(
            f"{table.path}:1: no column names the images; call it Image_name. Found: {', '.join(names)}."
        )
    patient = next((name for name in PATIENTS if name in names), None)
    study = next((name for name in STUDIES if name in names), None)
    taken = {id_column, patient, study} | FACTS
    findings = [name for name in names if name not in taken and set(table.columns[name]) <= WHOLE.keys()]
    if not findings:
        others = ", ".join(name for name in names if name not in taken) or "none"
        raise UserError(f"{table.path}: no column holds only 0, 1, -1 and blanks; other columns: {others}.")
    return _settings("table", id_column, patient, study, findings)


def _settings(
    format: str, id: str, patient: str | None, study: str | None, findings: list[str]
) -> dict[str, Any]:
    return {"format": format, "id": id, "patient": patient, "study": study, "findings": findings}
