"""NIH ChestX-ray14's Data_Entry_2017.csv: the findings of an image in one cell, separated by `|`.

In    a Table with `Finding Labels`; id, patient and study are columns as in a plain table (`Image Index`,
      `Patient ID`, `Follow-up #`). Every image has a label for every finding: nothing is blank or uncertain.
Out   Columns. The own list of findings is the 14 and No Finding, alphabetical.
Source: Wang et al., "ChestX-ray8: hospital-scale chest X-ray database and benchmarks", CVPR 2017.
"""

from collections.abc import Sequence

from cxrscore.core.errors import UserError
from cxrscore.tables.csv_table import Table, nearest
from cxrscore.tables.datasets.columns import Columns

FINDINGS = (
    "Atelectasis",
    "Cardiomegaly",
    "Consolidation",
    "Edema",
    "Effusion",
    "Emphysema",
    "Fibrosis",
    "Hernia",
    "Infiltration",
    "Mass",
    "No Finding",
    "Nodule",
    "Pleural_Thickening",
    "Pneumonia",
    "Pneumothorax",
)


def read_nih(
    table: Table, *, id: str, patient: str | None, study: str | None, findings: Sequence[str]
) -> Columns:
    cells = table.column("Finding Labels")
    present = {cell: set(cell.split("|")) for cell in set(cells)}
    wanted = findings or FINDINGS
    _check(table, cells, present)
    for name in wanted:
        if name not in FINDINGS:
            raise UserError(
                f"labels.findings: {name!r} is not a finding of this format; {nearest(name, FINDINGS)}."
            )
    columns = table.columns
    return Columns(
        findings={name: ["1" if name in present[cell] else "0" for cell in cells] for name in wanted},
        patient=table.column(patient) if patient else None,
        study=table.column(study) if study else None,
        view=columns.get("View Position"),
        sex=columns.get("Patient Gender"),
        age=columns.get("Patient Age"),
    )


def _check(table: Table, cells: list[str], present: dict[str, set[str]]) -> None:
    wrong = {cell: names - set(FINDINGS) for cell, names in present.items() if names - set(FINDINGS)}
    for line, cell in zip(table.lines, cells, strict=True):
        if cell in wrong:
            name = min(wrong[cell])
            raise UserError(
                f"{table.path}:{line}: 'Finding Labels' holds {name!r}; {nearest(name, FINDINGS)}."
            )
