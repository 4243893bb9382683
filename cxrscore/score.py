"""A folder of radiographs -> a table: the ensemble's mean probability over flips and folds, a row a file.

In    a folder, fold checkpoints, perhaps a template (a sample submission).
Out   the table, by rename; beside it <out>.errors.csv when a file could not be scored.
listed = scored + quarantined, always: a file never gets a neighbour's pixels, a black image or silence.
Source of the rule (mean of probabilities over flips, then over folds): sparse label couplings, III-F.
"""

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import torch

from cxrscore.checkpoint import Card, Fold
from cxrscore.ensemble import load_ensemble
from cxrscore.errors import Unreadable, UserError
from cxrscore.images import PREPROCESSING
from cxrscore.machine import Machine
from cxrscore.model import CXRModel
from cxrscore.predict import mean, pad, predict_folds
from cxrscore.progress import Progress
from cxrscore.scoring.decode import Decoded, decode_all
from cxrscore.scoring.listing import Listing, list_images
from cxrscore.scoring.output import check_output, write_errors
from cxrscore.scoring.rows import Template, ids_of, match_template, read_template
from cxrscore.submission import write_scores

Quarantined = tuple[str, str, str, str]  # path, stage, kind, message


@dataclass(frozen=True)
class Options:
    """How to score; none of it changes which pixels belong to which row."""

    template: Path | None = None
    id_kind: str = "relpath"
    folds: tuple[int, ...] | None = None
    flip: bool = True
    batch_size: int = 16
    workers: int = 2
    overwrite: bool = False
    follow_symlinks: bool = False
    on_error: str = "quarantine"  # fail: write nothing | fill: the prevalence of the training rows


@dataclass(frozen=True)
class Plan:
    """What will be scored: files and their ids, in the order of the table's rows; the table's columns."""

    root: Path
    paths: Sequence[str]
    ids: Sequence[str]
    id_column: str
    columns: Sequence[str]
    faults: Sequence[Quarantined]


@dataclass(frozen=True)
class Outcome:
    """What a run did. `errors_csv` is there exactly where something is quarantined."""

    listed: int
    scored: int
    quarantined: Sequence[Quarantined]
    notes: Sequence[str]
    errors_csv: Path | None


def score(
    folder: Path, out_csv: Path, options: Options, *, models: Path, machine: Machine, progress: Progress
) -> Outcome:
    """Raises UserError, and then nothing was written."""
    errors_csv = out_csv.with_name(out_csv.name + ".errors.csv")
    for path in (out_csv, errors_csv):
        check_output(path, overwrite=options.overwrite)
    template = read_template(options.template) if options.template else None
    listing = list_images(folder, exclude=[out_csv, errors_csv], follow_symlinks=options.follow_symlinks)
    ensemble = load_ensemble(models, machine, folds=options.folds)
    card = ensemble[0].card
    plan, notes = make_plan(listing, card, template=template, id_kind=options.id_kind)
    progress.start("score", len(plan.paths))
    probs, quarantined = run(plan, ensemble, options, machine=machine, progress=progress)
    quarantined = [*plan.faults, *quarantined]
    scored = np.isfinite(probs).all(1)
    _refuse_nothing(folder, scored, quarantined, on_error=options.on_error)
    outcome = Outcome(
        listed=len(plan.paths) + len(plan.faults),
        scored=int(scored.sum()),
        quarantined=quarantined,
        notes=notes,
        errors_csv=errors_csv if quarantined else None,
    )
    assert outcome.listed == outcome.scored + len(quarantined), "a file is neither scored nor quarantined"
    if options.on_error == "fill":
        probs[~scored] = np.mean([fold.card.prevalence for fold in ensemble], axis=0)
    rows = scored | (options.on_error == "fill")
    ids = [name for name, row in zip(plan.ids, rows, strict=True) if row]
    order = [card.findings.index(name) for name in plan.columns]
    write_scores(out_csv, plan.id_column, ids, plan.columns, probs[rows][:, order])
    if quarantined:
        write_errors(errors_csv, quarantined)
    else:
        errors_csv.unlink(missing_ok=True)  # an older run's list would speak of this one
    return outcome


def _refuse_nothing(
    folder: Path, scored: np.ndarray, quarantined: Sequence[Quarantined], *, on_error: str
) -> None:
    """Raises UserError where no table should be written: nothing was scored, or all had to be."""
    if quarantined and (on_error == "fail" or not scored.any()):
        first = "; ".join(f"{path} ({kind}: {message})" for path, _, kind, message in quarantined[:10])
        remedy = "mend or remove them." if scored.any() else "is it the folder that holds the radiographs?"
        raise UserError(f"{folder}: {len(quarantined)} files could not be scored; {remedy} First: {first}.")


def make_plan(
    listing: Listing, card: Card, *, template: Template | None, id_kind: str
) -> tuple[Plan, list[str]]:
    """Listing and template -> the files to score, and notes on what is left out. Raises UserError."""
    if card.preprocessing != PREPROCESSING:
        raise UserError(
            f"the models were trained on images prepared as {card.preprocessing}; this version prepares "
            f"{PREPROCESSING}: train again, or score with the version that trained them."
        )
    notes = [f"{count} skipped: {reason}" for reason, count in listing.skipped.items()]
    folders = [fault for fault in listing.faults if (listing.root / fault[0]).is_dir()]
    files = [fault[0] for fault in listing.faults if fault not in folders]  # decoding names their faults
    found = sorted([*listing.paths, *files], key=os.fsencode)
    ids = ids_of(found, id_kind, notes=notes)
    faults = [(path, "list", kind, message) for path, kind, message in folders]
    if template is None:
        return Plan(listing.root, found, ids, card.id_column, card.findings, faults), notes
    chosen = match_template(template, ids, card.findings, notes=notes)
    paths = [found[row] for row in chosen]
    return Plan(listing.root, paths, template.ids, template.id_column, template.columns, faults), notes


def run(
    plan: Plan, ensemble: Sequence[Fold], options: Options, *, machine: Machine, progress: Progress
) -> tuple[np.ndarray, list[Quarantined]]:
    """-> probabilities (n, L), NaN for the quarantined, and those. Decoding runs ahead of the device."""
    card = ensemble[0].card
    models = [fold.model for fold in ensemble]
    probs = np.full((len(plan.paths), len(card.findings)), np.nan, dtype=np.float32)
    quarantined: list[Quarantined] = []
    decoded = decode_all(
        plan.root, plan.paths, size=card.size, workers=options.workers, depth=2 * options.batch_size
    )
    for items in _chunks(decoded, options.batch_size):
        quarantined += [_row(item.path, "decode", item.fault) for item in items if item.fault is not None]
        good = [item for item in items if item.fault is None]
        if good:
            rows = forward(models, good, flip=options.flip, batch_size=options.batch_size, machine=machine)
            finite = np.isfinite(rows).all(1)
            for item, row, sound in zip(good, rows, finite, strict=True):
                if sound:
                    probs[item.index] = row
                else:
                    fault = Unreadable("NON_FINITE", "the models gave no finite score")
                    quarantined.append(_row(item.path, "compute", fault))
        progress.advance(len(items), f"{len(quarantined)} quarantined")
    return probs, quarantined


def forward(
    models: Sequence[CXRModel], items: Sequence[Decoded], *, flip: bool, batch_size: int, machine: Machine
) -> np.ndarray:
    """Decoded images -> (b, L) float32. All forwards have one shape: company never changes a row's bytes."""
    pixels = [item.pixels for item in items if item.pixels is not None]
    assert len(pixels) == len(items), "an image without pixels"
    gray = pad(torch.from_numpy(np.stack(pixels)[:, None]).to(machine.device), batch_size)
    probs: np.ndarray = (
        mean(predict_folds(models, gray, flip=flip, machine=machine))[: len(items)].cpu().numpy()
    )
    return probs


def _row(path: str, stage: str, fault: Unreadable) -> Quarantined:
    return (path, stage, fault.kind, str(fault))


def _chunks(items: Iterable[Decoded], size: int) -> Iterator[list[Decoded]]:
    iterator = iter(items)
    while chunk := list(islice(iterator, size)):
        yield chunk
