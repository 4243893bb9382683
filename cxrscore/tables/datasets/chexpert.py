"""CheXpert's train.csv and valid.csv: patient and study in the path; labels 1.0, 0.0, -1.0 and blank.

In    a Table whose id column (`Path`) holds .../patient00001/study1/view1_frontal.jpg. `patient` and `study`
      are read from it, None leaves them out; their names are those of the columns in tables that are written.
Out   Columns. The own list of findings is alphabetical, the order of Grand X-Ray SLAM, which has the same 14.
Source: Irvin et al., "CheXpert: a large chest radiograph dataset with uncertainty labels", AAAI 2019.
"""

import re
from collections.abc import Sequence

from cxrscore.core.errors import UserError
from cxrscore.tables.csv_table import Table
from cxrscore.tables.datasets.columns import Columns, first_filled

FINDINGS = (
    "Atelectasis",
    "Cardiomegaly",
    "Consolidation",
    "Edema",
    "Enlarged Cardiomediastinum",
    "Fracture",
    "Lung Lesion",
    "Lung Opacity",
    "No Finding",
    "Pleural Effusion",
    "Pleural Other",
    "Pneumonia",
    "Pneumothorax",
    "Support Devices",
)
PLACE = re.compile(r"(?:^|/)(patient\d+)/(study\d+)/")


def read_chexpert(
    table: Table, *, id: str, patient: str | None, study: str | None, findings: Sequence[str]
) -> Columns:
    places = [_place(table, line, path) for line, path in zip(table.lines, table.column(id), strict=True)]
    columns = table.columns
    return Columns(
        findings={name: table.column(name) for name in findings or FINDINGS},
        patient=[place[0] for place in places] if patient else None,
        study=[place[1] for place in places] if study else None,
        view=first_filled(columns.get("AP/PA"), columns.get("Frontal/Lateral")),
        sex=columns.get("Sex"),
        age=columns.get("Age"),
    )


def _place(table: Table, line: int, path: str) -> tuple[str, str]:
    found = PLACE.search(path)
    if not found:
        raise UserError(
            f"{table.path}:{line}: no .../patient00001/study1/... in {path!r}; "
            "for other paths, use `format: table` and a column for the patient."
        )
    return found[1], found[2]
