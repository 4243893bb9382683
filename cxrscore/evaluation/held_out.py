"""The labels of a held-out test: read as those of training, and of other patients.

In    the test's label table; the label table of training.
Out   LabelTable and notes. Raises UserError where a patient is in both.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from cxrscore.core.errors import UserError, counted
from cxrscore.evaluation.joined_scores import label_settings
from cxrscore.tables.label_table import LabelTable
from cxrscore.tables.labels import read_labels

if TYPE_CHECKING:
    from cxrscore.project.params import LabelParams

MANY = 5  # patients that a refusal names


def read_test_labels(
    path: Path, training: LabelTable, *, labels: "LabelParams"
) -> tuple[LabelTable, list[str]]:
    """The test's labels, read as those of training, and notes. Raises UserError where a patient is in both
    tables; where one of them has no patients, a note says that nothing shows it.
    """
    settings, notes = label_settings(path, labels.id, labels)
    table = read_labels(path, **settings | {"findings": training.findings})
    if training.patient is None or table.patient is None:
        notes.append(f"{path}: patients are not known; nothing shows that none of them was trained on.")
    else:
        _refuse_trained(table, training)
    return table, [*notes, *table.notes]


def _refuse_trained(table: LabelTable, training: LabelTable) -> None:
    both = sorted(set(table.patient or ()) & set(training.patient or ()))
    if both:
        some = ", ".join(map(repr, both[:MANY])) + (", ..." if len(both) > MANY else "")
        raise UserError(
            f"{table.path}: {counted(len(both), 'patient is', 'patients are')} in {training.path}, too "
            f"({some}), on whom the models are trained; remove their rows from one of the two tables."
        )
