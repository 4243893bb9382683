"""What `dvc repro` would say of a label table, its images and the settings, before any of it runs.

In    the label table, the images as listed, settings.
Out   UserError for what `prepare` would refuse; sentences on what later stages would, and on the time that
      training without a GPU takes.
"""

from pathlib import Path

import numpy as np

from cxrscore.errors import UserError
from cxrscore.folds import assign, refuse_unclear_patients
from cxrscore.inputs.folder import Listing
from cxrscore.label_table import LabelTable
from cxrscore.labels import read_labels
from cxrscore.metrics import auc_by_finding, macro
from cxrscore.params import Params
from cxrscore.prepare import Files, find_files
from cxrscore.resources import usable_cores

PIXEL_CORE_S = 2.4e-5  # of seresnext101_32x4d, forward and backward in bf16: 3.5 core seconds at 380 px
LONG_H = 6.0  # of training; less is not worth a word


def preview(
    labels_csv: Path, images: Path, listing: Listing, params: Params
) -> tuple[LabelTable, Files, list[str]]:
    """-> labels, files, and what stands in the way of the stages after `prepare`. Raises UserError for what
    stands in its way.
    """
    table = read_labels(labels_csv, **params.labels.model_dump())
    files = find_files(images, listing, table.ids, max_unreadable=params.prepare.max_unreadable)
    return table, files, _later(table, params)


def _later(table: LabelTable, params: Params) -> list[str]:
    """The first refusal of folds or of training that can be known now."""
    from cxrscore.weights import weights_path  # timm takes seconds to import

    k, batch = params.folds.k, params.train.batch_size
    try:
        if params.folds.method == "patient":
            refuse_unclear_patients(table, params.labels)
        fold = assign(table, method=params.folds.method, k=k, seed=params.folds.seed)
    except UserError as error:
        return list(error.lines)
    left = len(table) - int(np.bincount(fold).max())
    if batch > left:
        return [f"train.batch_size: {batch} is more than the {left} images to train on; set a smaller one."]
    try:
        weights_path(params.train.backbone, params.train.init, fetch=False)
    except UserError as error:
        return list(error.lines)
    for number in params.folds.train:
        y, mask = table.y[fold == number], table.mask[fold == number]
        if np.isnan(macro(auc_by_finding(y, mask, y))):
            return [
                f"fold {number}: no finding has both positives and negatives there; set a smaller folds.k."
            ]
    return []


def cpu_note(params: Params, images: int) -> list[str]:
    """The time that training takes here without a GPU, where it is long."""
    import torch

    folds, train = params.folds, params.train
    trained = len(folds.train) * images * (folds.k - 1) / folds.k * train.epochs
    hours = trained * PIXEL_CORE_S * params.prepare.size**2 / usable_cores() / 3600
    if hours < LONG_H or train.backbone == "resnet10t" or torch.cuda.is_available():
        return []
    length = f"{hours / 24:,.0f} days" if hours > 48 else f"{hours:.0f} hours"
    return [
        f"no GPU here: {train.backbone} at {params.prepare.size} px, {len(folds.train)} folds, up to "
        f"{train.epochs} epochs of {images:,} images would take about {length} on {usable_cores()} cores; "
        "--preset demo trains a small model in minutes"
    ]
