"""What `dvc repro` would say of a label table, its images and the settings, before any of it runs.

In    the label table, the images as listed, settings.
Out   UserError for what `prepare` would refuse; sentences on what later stages would, and on the time that
      training without a GPU takes.
"""

from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np

from cxrscore.core.errors import UserError, counted
from cxrscore.core.resources import usable_cores
from cxrscore.folds import assign, refuse_unclear_patients
from cxrscore.images.decoding.decode import Wanted
from cxrscore.images.decoding.pool import decode_batches
from cxrscore.images.inputs.file_list import Listing
from cxrscore.prepare import Files, find_files
from cxrscore.project.params import Params, PrepareParams
from cxrscore.statistics.roc_area import auc_by_finding, macro
from cxrscore.tables.label_table import LabelTable
from cxrscore.tables.labels import read_labels

# Core seconds per pixel of an image, forward and backward, of what presets train; 3.5 s at 380 px, in bf16.
PIXEL_CORE_S = {"seresnext101_32x4d": 2.4e-5, "resnet10t": 2e-6}
GUIDE = "seresnext101_32x4d"  # for any other backbone
LONG_H = 6.0  # of training; less is not worth a note
LOOKED_AT = 64  # images that are decoded at once, spread over the table


def preview(
    labels_csv: Path, images: Path, listing: Listing, params: Params, *, workers: int
) -> tuple[LabelTable, Files, list[str]]:
    """-> labels, files, and what stands in the way of the stages after `prepare`. Raises UserError for what
    stands in its way.
    """
    table = read_labels(labels_csv, **params.labels.model_dump())
    files = find_files(images, listing, table.ids, max_unreadable=params.prepare.max_unreadable)
    return (
        table,
        files,
        [*_unreadable(listing, files.paths, params.prepare, workers=workers), *_later(table, params)],
    )


def _unreadable(listing: Listing, paths: Sequence[str], params: PrepareParams, *, workers: int) -> list[str]:
    """Where so many of the images looked at cannot be read that `prepare` would stop."""
    some = paths[:: max(1, len(paths) // LOOKED_AT)]
    how: dict[str, Any] = {"size": 32, "wanted": Wanted(params.bit_depth), "workers": workers}
    with closing(decode_batches(listing.places, some, batch_size=len(some), **how)) as batches:
        faults = [(one.path, one.fault) for batch in batches for one in batch.items if one.fault is not None]
    enough = 1 if len(some) == len(paths) else 2  # one of a few may be the only one of many
    if len(faults) < enough or len(faults) / len(some) <= params.max_unreadable:
        return []
    path, fault = faults[0]
    return [
        f"{len(faults)} of {counted(len(some), 'image')} in a sample cannot be read, such as {path!r} "
        f"({fault.kind}: {fault}); repair them, or raise prepare.max_unreadable"
    ]


def _later(table: LabelTable, params: Params) -> list[str]:
    """The first refusal of folds or of training that can be known now."""
    from cxrscore.model.initial_weights import weights_path  # timm takes seconds to import

    k, batch = params.folds.k, params.train.batch_size
    try:
        if params.folds.method == "patient":
            refuse_unclear_patients(table, params.labels)
        fold = assign(table, method=params.folds.method, k=k, seed=params.folds.seed)
    except UserError as error:
        return list(error.lines)
    left = len(table) - int(np.bincount(fold).max())
    if batch > left:
        return [
            f"train.batch_size: {batch} is more than the {counted(left, 'image')} to train on; set a "
            "smaller one."
        ]
    try:
        weights_path(params.train.backbone, params.train.init, fetch=False)
    except UserError as error:
        return list(error.lines)
    for number in params.folds.train:
        y, mask = table.y[fold == number], table.mask[fold == number]
        if np.isnan(macro(auc_by_finding(y, mask, y))):
            return [
                f"fold {number}: none of the findings has both positives and negatives in it; set a smaller "
                "folds.k."
            ]
    return []


def cpu_note(params: Params, images: int) -> list[str]:
    """The time that training takes here without a GPU, where it is long."""
    import torch

    folds, train = params.folds, params.train
    trained = len(folds.train) * images * (folds.k - 1) / folds.k * train.epochs
    each = PIXEL_CORE_S.get(train.backbone, PIXEL_CORE_S[GUIDE]) * params.prepare.size**2
    hours = trained * each / usable_cores() / 3600
    if hours < LONG_H or torch.cuda.is_available():
        return []
    length = f"{hours / 24:,.0f} days" if hours > 48 else f"{hours:.0f} hours"
    like = "" if train.backbone in PIXEL_CORE_S else f", if it is as fast as {GUIDE}"
    return [
        f"no GPU here: training {train.backbone} at {params.prepare.size} px, {len(folds.train)} folds, up "
        f"to {train.epochs} epochs of {images:,} images, would take about {length} on {usable_cores()} "
        f"cores{like}; --preset demo trains a small model in minutes"
    ]
