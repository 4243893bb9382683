"""The rows of one fold: prepared images, labels and folds, brought to one order.

In    out/prepared, out/folds.csv, data/labels.csv.
Out   FoldData: the store, the one that crops are taken from, targets and mask by their rows, which rows to
      train on and which to validate.
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
from cxrscore.images.image_store import LARGER, Store, open_store
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
    larger: Store | None = None
    inputs: Tensor | None = None
    encodings: tuple[Encoding, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def crops(self) -> Store:
        """What training takes its crops from: larger copies of the store's rows, or the store."""
        return self.store if self.larger is None else self.larger

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
    train_size: int | None = None,
    inputs: Sequence[str] = (),
    held_out: int | None = None,
) -> FoldData:
    """Store, labels and folds, brought to one order. `train_size`: the side of the larger copies, where crops
    are taken from these. `inputs`: columns that the head takes, too. Rows of the fold `held_out` are in
    neither `train` nor `val`. Raises UserError where they are not of the same data.
    """
    store = open_store(layout.prepared)
    larger = None if train_size is None else _open_larger(store, train_size)
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
    others = np.flatnonzero(folds.fold != fold)
    train = others if held_out is None else others[folds.fold[others] != held_out]
    val = np.flatnonzero(folds.fold == fold)
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
        larger=larger,
        inputs=None if values is None else torch.from_numpy(values).to(machine.device),
        encodings=encodings,
        notes=tuple(doubts(encodings, table.rows(val).inputs)),
    )


def _open_larger(store: Store, train_size: int) -> Store:
    """Raises UserError where the larger copies are missing, of another size, or of other files."""
    folder = store.folder / LARGER
    if not folder.is_dir():
        raise UserError(
            f"{folder}: missing; prepare.train_size is {train_size}, and crops are taken from the copies of "
            "that size; run `dvc repro prepare`."
        )
    larger = open_store(folder)
    if larger.size != train_size:
        raise UserError(
            f"{folder}: copies of {larger.size} px, prepare.train_size is {train_size}; run `dvc repro "
            "prepare`."
        )
    facts = [(one.ids, one.sha256, one.preprocessing, one.bit_depth) for one in (store, larger)]
    if facts[0] != facts[1]:
        raise UserError(f"{folder}: made of other images than {store.folder}; run `dvc repro prepare`.")
    return larger
