"""Label tables of the field's datasets. One file and one line here adds a format.

In    a strict table of text; the columns params.yaml names; the findings wanted, none for the format's own.
Out   Columns: patient, study, view, sex, age and label cells for each finding, in the order asked for.
"""

from collections.abc import Sequence
from typing import Protocol

from cxrscore.tables.csv_table import Table
from cxrscore.tables.datasets.chexpert import FINDINGS as CHEXPERT_FINDINGS
from cxrscore.tables.datasets.chexpert import read_chexpert
from cxrscore.tables.datasets.columns import BLANK, LEGAL, UNCERTAIN, Columns, label_code
from cxrscore.tables.datasets.nih import read_nih
from cxrscore.tables.datasets.plain import read_plain

__all__ = ["BLANK", "FORMATS", "LABELS_IN", "LEGAL", "UNCERTAIN", "Columns", "label_code"]


class Format(Protocol):
    def __call__(
        self, table: Table, *, id: str, patient: str | None, study: str | None, findings: Sequence[str]
    ) -> Columns: ...


FORMATS: dict[str, Format] = {"table": read_plain, "chexpert": read_chexpert, "nih": read_nih}
LABELS_IN: dict[str, tuple[str, ...]] = {  # columns that hold labels, whatever findings are asked for
    "chexpert": CHEXPERT_FINDINGS,
    "nih": ("Finding Labels",),
}
