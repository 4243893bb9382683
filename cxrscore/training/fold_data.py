"""The rows of one fold: prepared images, labels and folds, brought to one order.

In    out/prepared, out/folds.csv, data/labels.csv.
Out   FoldData: the store, targets and mask by its rows, which rows to train on and which to validate.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from cxrscore.core.device import Machine
from cxrscore.core.errors import UserError, counted
from cxrscore.core.paths import Layout
from cxrscore.images.image_store import Store, open_store
from cxrscore.tables.fold_table import read_folds
from cxrscore.tables.labels import read_labels
from cxrscore.tables.tabular_inputs import Encoding, choose_encodings, doubts, encode

if TYPE_CHECKING:
    from cxrscore.project.params import LabelParams


@dataclass(frozen=True)
class FoldData:
    """The rows of one fold. `targets`, which a training aims at, `y`, 0 or 1, and `mask` (n, L) are on the
    device, in the order of the store's rows; so are `inputs` (n, m), where the head takes any, encoded as the
    rows to train on have decided. `notes`: on values that validated rows alone have.
    """

    store: Store
    findings: tuple[str, ...]
    targets: Tensor
    y: Tensor
    mask: Tensor
    train: np.ndarray
    val: np.ndarray
    k: int
    inputs: Tensor | None = None
    encodings: tuple[Encoding, ...] = ()
    notes: tuple[str, ...] = ()

    def truth(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """y and mask of `rows` as arrays."""
        return self.y[rows].cpu().numpy(), self.mask[rows].cpu().numpy()


def read_fold(
    fold: int,
    *,
    labels_csv: Path,
    layout: Layout,
    labels: "LabelParams",
    machine: Machine,
    inputs: Sequence[str] = (),
) -> FoldData:
    """Store, labels and folds, brought to one order. `inputs`: columns that the head takes, too. Raises
    UserError where they are not of the same data.
    """
    store = open_store(layout.prepared)
    table = read_labels(labels_csv, **labels.model_dump(), inputs=inputs)
    folds = read_folds(layout.folds)
    if list(folds.ids) != list(store.ids):
        raise UserError(
            f"{layout.folds}: made for other images than {layout.prepared}; run `dvc repro folds`."
        )
    row_of = {name: row for row, name in enumerate(table.ids)}
    gone = [name for name in store.ids if name not in row_of]
    if gone:
        raise UserError(
            f"{layout.prepared}: {counted(len(gone), 'image')} without a row in {labels_csv}; run `dvc "
            "repro prepare`."
        )
    rows = np.array([row_of[name] for name in store.ids])
    table = table.rows(rows)
    if folds.patient is not None and table.patient != folds.patient:
        raise UserError(f"{layout.folds}: made for other patients than {labels_csv}; run `dvc repro folds`.")
    train, val = np.flatnonzero(folds.fold != fold), np.flatnonzero(folds.fold == fold)
    encodings = choose_encodings(table.rows(train).inputs, source=str(labels_csv))
    values = encode(encodings, table.inputs, source=str(labels_csv)) if encodings else None
    return FoldData(
        store=store,
        findings=table.findings,
        targets=torch.from_numpy(table.targets).to(machine.device),
        y=torch.from_numpy(table.y).float().to(machine.device),
        mask=torch.from_numpy(table.mask).to(machine.device),
        train=train,
        val=val,
        k=int(folds.fold.max()) + 1,
        inputs=None if values is None else torch.from_numpy(values).to(machine.device),
        encodings=encodings,
        notes=tuple(doubts(encodings, table.rows(val).inputs)),
    )
