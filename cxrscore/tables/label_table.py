"""Labels of images: 0 or 1 and a mask, whose they are, and one row per image where several readers saw it.

In    rows as a label table holds them, read by labels.py.
Out   LabelTable.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cxrscore.core.errors import UserError, counted


@dataclass(frozen=True)
class LabelTable:
    """One row per image. `y` (n, L) int8 is 0 or 1; where `mask` (n, L) is False it does not count, and is 0.
    `soft` (n, L) float32: the share of an image's readers who see a finding, where that is trained on.

    `study` is unique across patients; `inputs` are cells of further columns, for heads that take them;
    `notes` are sentences for the person who ran the command.
    """

    path: Path
    ids: list[str]
    findings: tuple[str, ...]
    y: NDArray[np.int8]
    mask: NDArray[np.bool_]
    patient: list[str] | None = None
    study: list[str] | None = None
    view: list[str] | None = None
    sex: list[str] | None = None
    age: list[str] | None = None
    soft: NDArray[np.float32] | None = None
    inputs: dict[str, list[str]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def targets(self) -> NDArray[np.float32]:
        """(n, L) what a training aims at."""
        return self.y.astype(np.float32) if self.soft is None else self.soft

    def measurable(self) -> "LabelTable":
        """Labels of 0 and 1 alone, as figures need them: half of an image's readers is neither."""
        if self.soft is None:
            return self
        mask = self.mask & (self.soft != 0.5)
        return replace(self, y=(self.y * mask).astype(np.int8), mask=mask, soft=None)

    def rows(self, index: Sequence[int] | NDArray[np.int64]) -> "LabelTable":
        """The rows at `index`, in that order."""
        texts = {name: getattr(self, name) for name in ("ids", "patient", "study", "view", "sex", "age")}
        picked: dict[str, Any] = {name: cells and [cells[i] for i in index] for name, cells in texts.items()}
        soft = None if self.soft is None else self.soft[index]
        inputs = {name: [cells[i] for i in index] for name, cells in self.inputs.items()}
        return replace(self, **picked, y=self.y[index], mask=self.mask[index], soft=soft, inputs=inputs)


def one_row_per_image(table: LabelTable, lines: Sequence[int], *, rule: str) -> LabelTable:
    """Several readers' rows of an image become one. `rule`: majority (more than half of those who say; of
    a tie nothing is known), any (one of them is enough), or mean (the share of them is trained on; half
    of them counts as positive in folds, and is left out of figures: `measurable`). Raises UserError where
    an image is of two patients.
    """
    place: dict[str, int] = {}
    image = np.array([place.setdefault(name, len(place)) for name in table.ids])
    if len(place) == len(table):
        return table
    first = np.unique(image, return_index=True)[1]
    _refuse_other_owners(table, lines, first[image])
    told, positive = (np.zeros((len(place), len(table.findings))) for _ in range(2))
    np.add.at(told, image, table.mask)
    np.add.at(positive, image, table.y * table.mask)
    share = positive / np.maximum(told, 1)
    half = (share == 0.5) & (rule != "any")
    tie = half & (rule == "majority")
    least = {"majority": share > 0.5, "any": share > 0, "mean": share >= 0.5}
    note = (
        f"{table.path}: {counted(len(table), 'row')} of {counted(len(place), 'image')}, from several "
        f"readers: {rule}"
    )
    use = "used" if rule == "majority" else "measured: figures take more than half for 1, and less for 0"
    ties = f"; {counted(int(half.sum()), 'label')} tied and not {use}" if half.any() else ""
    return replace(
        table.rows(first),
        y=least[rule].astype(np.int8),
        mask=(told > 0) & ~tie,
        soft=share.astype(np.float32) if rule == "mean" else None,
        notes=(*table.notes, f"{note}{ties}."),
    )


def _refuse_other_owners(table: LabelTable, lines: Sequence[int], first: NDArray[np.int64]) -> None:
    """`first` (n,): the first row of each row's image."""
    for what, names in (("patient", table.patient), ("study", table.study), *table.inputs.items()):
        for row, other in enumerate(first.tolist()) if names else ():
            if names and names[row] != names[other]:
                raise UserError(
                    f"{table.path}:{lines[row]}: {table.ids[row]!r} is of {what} {names[row]!r} here and of "
                    f"{names[other]!r} on line {lines[other]}; an image has one; correct the row."
                )
