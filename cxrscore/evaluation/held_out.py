"""The labels of a held-out test: read as those of training, and of other patients.

In    the test's label table; the label table of training.
Out   LabelTable and notes. Raises UserError where a patient is in both.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cxrscore.core.errors import UserError, counted
from cxrscore.evaluation.joined_scores import label_settings
from cxrscore.tables.datasets.patient_ids import near_spellings, spellings
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
        notes += _refuse_trained(table, training, patient_ids=labels.patient_ids)
    again = set(table.ids) & set(training.ids)
    if again:
        notes.append(
            f"{path}: {counted(len(again), 'image has', 'images have')} the name of a training image, such "
            f"as {min(again)!r}."
        )
    return table, [*notes, *table.notes]


def _refuse_trained(table: LabelTable, training: LabelTable, *, patient_ids: str) -> list[str]:
    """Ids are compared over both tables as within one: as they are written and, unless `patient_ids` says
    that each spelling is a patient, by the number that they spell. -> notes on names that differ in case.
    """
    tested, trained = set(table.patient or ()), set(training.patient or ())
    both = sorted(tested & trained)
    if both:
        raise UserError(
            f"{table.path}: {counted(len(both), 'patient is', 'patients are')} in {training.path}, too "
            f"({_some(both)}), on whom the models are trained; remove their rows from one of the two tables."
        )
    numbers = _across(spellings([*tested, *trained]), tested, trained)
    if numbers and patient_ids == "number":
        raise UserError(
            f"{table.path}: {counted(len(numbers), 'patient is', 'patients are')} in {training.path}, too, "
            f"in another spelling ({_some(numbers)}), and the models are trained on them; remove their rows "
            "from one of the two tables."
        )
    if numbers and patient_ids == "text":
        raise UserError(
            f"{table.path}: {counted(len(numbers), 'patient spells', 'patients spell')} the number of one in "
            f"{training.path} in another way ({_some(numbers)}); write each id in one way, or set "
            "labels.patient_ids to number (they are one patient) or distinct (they are different patients)."
        )
    names = _across(near_spellings([*tested, *trained]), tested, trained)
    return [
        f"{table.path}: {counted(len(names), 'patient differs', 'patients differ')} from one of training "
        f"only in case or Unicode form ({_some(names)}); each counts as a patient of its own."
    ] * bool(names)


def _across(groups: Iterable[Sequence[str]], tested: set[str], trained: set[str]) -> list[str]:
    """Of groups of ids that may be one patient, with some in either table, those of the test."""
    return sorted(name for group in groups if trained & {*group} for name in tested & {*group})


def _some(names: Sequence[str]) -> str:
    return ", ".join(map(repr, names[:MANY])) + (", ..." if len(names) > MANY else "")
