"""The rows of one fold: prepared images, labels and folds, brought to one order.

In    out/prepared, out/folds.csv, data/labels.csv.
Out   FoldData: the store, targets and mask by its rows, which rows to train on and which to validate.
"""

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

if TYPE_CHECKING:
    from cxrscore.project.params import LabelParams


@dataclass(frozen=True)
class FoldData:
    """The rows of one fold. `targets`, which a training aims at, `y`, 0 or 1, and `mask` (n, L) are on the
    device, in the order of the store's rows.
    """

    store: Store
    findings: tuple[str, ...]
    targets: Tensor
    y: Tensor
    mask: Tensor
    train: np.ndarray
    val: np.ndarray
    k: int

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
    held_out: int | None = None,
) -> FoldData:
    """Store, labels and folds, brought to one order. Rows of the fold `held_out` are in neither `train` nor
    `val`. Raises UserError where they are not of the same data.
    """
    store = open_store(layout.prepared)
    table = read_labels(labels_csv, **labels.model_dump())
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
    if folds.patient is not None and table.rows(rows).patient != folds.patient:
        raise UserError(f"{layout.folds}: made for other patients than {labels_csv}; run `dvc repro folds`.")
    others = np.flatnonzero(folds.fold != fold)
    return FoldData(
        store=store,
        findings=table.findings,
        targets=torch.from_numpy(table.targets[rows]).to(machine.device),
        y=torch.from_numpy(table.y[rows]).float().to(machine.device),
        mask=torch.from_numpy(table.mask[rows]).to(machine.device),
        train=others if held_out is None else others[folds.fold[others] != held_out],
        val=np.flatnonzero(folds.fold == fold),
        k=int(folds.fold.max()) + 1,
    )
