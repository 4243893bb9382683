"""What can be refused at once: without torch and timm, which take ten seconds to import.

In    the fold to train, out/folds.csv, the settings.
Out   nothing, or UserError; nothing is written.
"""

import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from cxrscore.core.errors import UserError, counted
from cxrscore.core.paths import Layout
from cxrscore.tables.cooccurrence import COMPUTED
from cxrscore.tables.fold_table import read_folds
from cxrscore.tables.label_graph import is_graph_file
from cxrscore.training.schedule import FEWEST_OF_A_CYCLE

if TYPE_CHECKING:
    from cxrscore.project.params import TrainParams


def refuse_early(
    fold: int,
    *,
    layout: Layout,
    params: "TrainParams",
    processes: int = 1,
    held_out: int | None = None,
) -> None:
    """Raises UserError: no folds, no such fold, a batch larger than the data, no start; nowhere to write.
    `held_out`: a further fold that is not trained on.
    """
    pieces = params.accumulate * processes
    if params.batch_size % pieces:
        raise UserError(
            f"train.batch_size: {params.batch_size} cannot be split into {params.accumulate} passes of "
            f"{processes} processes; take a multiple of {pieces}."
        )
    if params.augment.mixup and params.batch_size // pieces % 2:
        raise UserError(
            f"train.augment.mixup: it pairs images, and {params.accumulate} passes of {processes} processes "
            f"would cut a batch of {params.batch_size} in odd pieces; take a multiple of {2 * pieces}."
        )
    _refuse_unwritable(layout.trained)
    if not layout.folds.is_file():
        raise UserError(f"{layout.folds}: no such file; `cxrscore folds` makes it, or `dvc repro folds`.")
    folds = read_folds(layout.folds).fold
    validated = int(np.count_nonzero(folds == fold))
    if not validated:
        raise UserError(f"--fold {fold}: there are no images in it; folds are from 0 to {folds.max()}.")
    left = len(folds) - validated - int(np.count_nonzero(folds == held_out))
    if params.batch_size > left:
        raise UserError(
            f"train.batch_size: {params.batch_size} is more than the {counted(left, 'image')} to train on; "
            "lower it."
        )
    steps = params.epochs * (left // params.batch_size)
    if params.schedule == "one_cycle" and steps < FEWEST_OF_A_CYCLE:
        raise UserError(
            f"train.schedule: one_cycle has no rise in {counted(steps, 'step')}; it needs "
            f"{FEWEST_OF_A_CYCLE} or more: raise train.epochs, or lower train.batch_size."
        )
    if params.init not in ("none", "imagenet") and not Path(params.init).is_file():
        raise UserError(
            f"train.init: {params.init}: no such file; set it to none, imagenet or a .safetensors file."
        )
    path = embeddings_file(params)
    if path and not (path.suffix == ".npy" and path.is_file()):
        raise UserError(
            f"train.head.embeddings: {path}: no such file; set it to {', '.join(COMPUTED)} or a .npy file."
        )
    edges = graph_file(params)
    if edges and not edges.is_file():
        raise UserError(
            f"train.head.graph: {edges}: no such file; write its edges as a table with the columns a,b, one "
            "edge per row, or set it to fc, el or prior."
        )


def graph_file(params: "TrainParams") -> Path | None:
    """The user's own label graph, where the head takes its edges from a file."""
    name = getattr(params.head, "graph", "")
    return Path(name) if is_graph_file(name) else None


def embeddings_file(params: "TrainParams") -> Path | None:
    """The user's own label embeddings, where the head takes them from a file."""
    name = getattr(params.head, "embeddings", None)
    return Path(name) if name not in (None, *COMPUTED) else None


def undeclared_files(params: "TrainParams", pipeline: Path) -> list[Path]:
    """Files that the settings name and this dvc.yaml does not, so that DVC would not see them change. Empty
    where there is no dvc.yaml.
    """
    weights = Path(params.init) if params.init not in ("none", "imagenet") else None
    named = [path for path in (weights, embeddings_file(params), graph_file(params)) if path is not None]
    if not pipeline.is_file():
        return []
    stages = pipeline.read_text(encoding="utf-8")
    return [path for path in named if str(path) not in stages]


def _refuse_unwritable(out: Path) -> None:
    there = next(folder for folder in (out, *out.resolve().parents) if folder.exists())
    if not (there.is_dir() and os.access(there, os.W_OK)):
        raise UserError(f"{there}: not writable; name another --out.")
