"""A plain label table, such as Grand X-Ray SLAM's: a column for each finding with 0, 1, -1 or blank.

In    a Table; `patient` and `study` name columns, None where there is none; the findings have to be listed.
Out   Columns; view, sex and age from ViewPosition or ViewCategory, Sex and Age, where they are.
"""

from collections.abc import Sequence

from cxrscore.core.errors import UserError
from cxrscore.tables.csv_table import Table
from cxrscore.tables.datasets.columns import Columns, first_filled, label_code


def read_plain(
    table: Table, *, id: str, patient: str | None, study: str | None, findings: Sequence[str]
) -> Columns:
    if not findings:
        labels = [
            name
            for name, cells in table.columns.items()
            if name != id and None not in map(label_code, set(cells))
        ]
        raise UserError(
            f"{table.path}: labels.findings is empty, and this format has no list of its own; list the "
            f"columns that are findings. Those with only 0, 1, -1 and blanks: {', '.join(labels) or 'none'}."
        )
    columns = table.columns
    return Columns(
        findings={name: table.column(name) for name in findings},
        patient=table.column(patient) if patient else None,
        study=table.column(study) if study else None,
        view=first_filled(columns.get("ViewPosition"), columns.get("ViewCategory")),
        sex=columns.get("Sex"),
        age=columns.get("Age"),
    )
