"""Labels and prepared images -> out/folds.csv, and a report on how even and how separate the folds are.

In    data/labels.csv, the index of out/prepared (images that could be read).
Out   the fold of each prepared image, in the order of the index; the balance report as JSON.
"""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cxrscore.core.errors import UserError, counted, promise
from cxrscore.core.files import write_text
from cxrscore.core.paths import Layout
from cxrscore.tables.csv_table import read_names, read_table
from cxrscore.tables.datasets.patient_ids import spellings, told
from cxrscore.tables.fold_table import Folds, write_folds
from cxrscore.tables.label_table import LabelTable
from cxrscore.tables.labels import read_labels
from cxrscore.tables.stratify import stratify, stratify_images

if TYPE_CHECKING:
    from cxrscore.project.params import FoldParams, LabelParams

__all__ = ["balance", "make_folds", "stratify", "stratify_images"]

Counts = NDArray[np.int64]
ENOUGH = 50  # images with both findings, under which a pair's share cannot be even to a few per cent


def balance(labels: LabelTable, sha256: Sequence[str], fold: Counts, *, k: int) -> dict[str, Any]:
    """Counts by name: images, patients, findings, pairs; what lies in two folds; findings that a fold
    lacks.
    """
    y = labels.y.astype(np.int64)
    left, right = np.triu_indices(len(labels.findings), 1)
    singly = np.stack([y[fold == f].sum(0) for f in range(k)], axis=1)  # (L, k)
    together = np.stack(
        [(y[fold == f].T @ y[fold == f])[left, right] for f in range(k)], axis=1
    )  # (pairs, k)
    pairs = [f"{labels.findings[a]} + {labels.findings[b]}" for a, b in zip(left, right, strict=True)]
    copies = _in_two_folds(sha256, fold)
    copied = [name for name, content in zip(labels.ids, sha256, strict=True) if content in copies]
    return {
        "images": {"total": len(fold), "folds": _by_fold(np.bincount(fold, minlength=k))},
        "patients": _whole(labels.patient, fold, k),
        "studies": _whole(labels.study, fold, k),
        "findings": _even(labels.findings, singly, at_least=1),
        "pairs": _even(pairs, together, at_least=ENOUGH),
        "absent": _absent(labels, singly),
        "identical_files": {"across_folds": len(copied), "first": copied[:10]},
    }


def _even(names: Sequence[str], counts: Counts, *, at_least: int) -> dict[str, Any]:
    """counts (names, k) -> the same by name; deviation is the largest |count / (total / k) - 1| of a fold."""
    by_name: dict[str, dict[str, Any]] = {
        name: {
            "total": int(row.sum()),
            "folds": _by_fold(row),
            "deviation": round(float(np.abs(row / row.mean() - 1).max()), 6),
        }
        for name, row in zip(names, counts, strict=True)
        if row.sum() >= at_least
    }
    return {"deviation": max((row["deviation"] for row in by_name.values()), default=0.0), "by_name": by_name}


def _by_fold(counts: Counts) -> dict[str, int]:
    return {str(f): count for f, count in enumerate(counts.tolist())}


def _whole(names: list[str] | None, fold: Counts, k: int) -> dict[str, Any]:
    """Patients or studies: how many a fold holds, and how many lie in more than one."""
    if names is None:
        return {}
    held = np.array([f for _, f in set(zip(names, fold.tolist(), strict=True))])
    return {
        "total": len(set(names)),
        "folds": _by_fold(np.bincount(held, minlength=k)),
        "split": len(_in_two_folds(names, fold)),
    }


def _in_two_folds(names: Iterable[str], fold: Counts) -> set[str]:
    first: dict[str, int] = {}
    return {name for name, f in zip(names, fold.tolist(), strict=True) if first.setdefault(name, f) != f}


def _absent(labels: LabelTable, singly: Counts) -> dict[str, Any]:
    """Findings without a positive in some fold, with those folds and the number of their patients."""
    people = np.array(labels.patient or labels.ids)
    return {
        name: {"patients": len(np.unique(people[y > 0])), "folds": np.flatnonzero(held == 0).tolist()}
        for name, y, held in zip(labels.findings, labels.y.T, singly, strict=True)
        if not held.all()
    }


def _notes(report: dict[str, Any]) -> list[str]:
    notes = []
    for name, lack in report["absent"].items():
        folds = ", ".join(map(str, lack["folds"]))
        notes.append(
            f"{name}: no positives in fold {folds}, and "
            f"{counted(lack['patients'], 'patient has', 'patients have')} it overall; no AUC is defined "
            "there."
        )
    copies, split = report["identical_files"]["across_folds"], report["patients"].get("split", 0)
    if copies:
        notes.append(
            f"{counted(copies, 'image has', 'images have')} an identical file in another fold; the report "
            "lists the first."
        )
    if split:
        notes.append(
            f"{counted(split, 'patient is', 'patients are')} in more than one fold, so validation scores "
            "are too high."
        )
    return notes


def make_folds(
    labels_csv: Path,
    index_csv: Path,
    folds_csv: Path,
    report_json: Path,
    *,
    labels: "LabelParams",
    params: "FoldParams",
) -> tuple[str, ...]:
    """The stage -> notes to print. Raises UserError where labels and index do not fit, or k is too large."""
    table = read_labels(labels_csv, **labels.model_dump())
    if params.method == "patient":
        refuse_unclear_patients(table, labels)
    index = read_table(index_csv)
    _refuse_unprepared(table.ids, index.column(labels.id), index_csv)
    table = _in_order_of(index.column(labels.id), table, index_csv)
    fold = assign(table, method=params.method, k=params.k, seed=params.seed)
    report = balance(table, index.column("sha256"), fold, k=params.k)
    promise(params.method == "image" or not report["patients"]["split"], "a patient lies in two folds")
    write_folds(folds_csv, Folds(table.ids, table.patient, fold), id=labels.id, patient=labels.patient)
    write_text(report_json, json.dumps({"method": params.method, **report}, indent=1) + "\n")
    return (*table.notes, *_notes(report))


def assign(table: LabelTable, *, method: str, k: int, seed: int) -> Counts:
    """The fold (n,) of each row. Raises UserError for a k that is too large."""
    if method == "image":
        return stratify_images(table.y, k=k, seed=seed)
    return stratify(table.y, table.patient or [], k=k, seed=seed)


def remove_stale(layout: Layout, *, params: "FoldParams") -> list[str]:
    """Of folds that no longer exist, what was trained goes; of those not asked for it stays -> notes. A model
    of fold 4 of 5 would be scored with those of 3, and its pictures drawn beside theirs.
    """
    notes = []
    if untrained := sorted(set(range(params.k)) - set(params.train)):
        notes.append(
            f"folds.train lists {params.train} of {params.k} folds: {untrained} get no model, and "
            "their images get no out-of-fold score"
        )
    for fold, paths in layout.of_other_folds(params.train).items():
        if fold < params.k:
            notes.append(
                f"{paths[0]}: fold {fold} is not in folds.train; the file is kept, but not used in any metric"
            )
            continue
        for path in paths:
            path.unlink()
        notes.append(f"removed fold {fold} of an earlier split: {', '.join(map(str, paths))}")
    return notes


def refuse_unclear_patients(table: LabelTable, labels: "LabelParams") -> None:
    """Raises UserError where there are no patients, or ids that may be of one and lie in two folds."""
    if table.patient is None or labels.patient is None:
        raise UserError(
            "folds.method is patient, and labels.patient is null; name a column there, or set folds.method "
            "to image."
        )
    numbers = spellings(table.patient) if labels.patient_ids == "text" else []
    if numbers:
        raise UserError(
            f"{table.path}: {told(numbers, labels.patient)}; folds.method: patient needs to know whose "
            "images they are. Write each id in one way, or set labels.patient_ids (`init --patient-ids`) "
            "to number (they are one patient) or distinct (they are different patients)."
        )


def _refuse_unprepared(labelled: list[str], prepared: list[str], index_csv: Path) -> None:
    """Raises UserError where a labelled image was neither prepared nor quarantined: labels changed since."""
    quarantine_csv = index_csv.with_name("quarantine.csv")
    quarantined = read_names(quarantine_csv) if quarantine_csv.exists() else []
    unknown = sorted(set(labelled).difference(prepared, quarantined))
    if unknown:
        raise UserError(
            f"{index_csv}: {counted(len(unknown), 'labelled image')} not prepared, the first is "
            f"{unknown[0]!r}; run `dvc repro prepare`."
        )


def _in_order_of(ids: list[str], table: LabelTable, index_csv: Path) -> LabelTable:
    row = {name: i for i, name in enumerate(table.ids)}
    unknown = [name for name in ids if name not in row]
    if unknown:
        raise UserError(
            f"{index_csv}: {counted(len(unknown), 'image')} without a row in {table.path}, the first is "
            f"{unknown[0]!r}; run `dvc repro prepare`."
        )
    return table.rows([row[name] for name in ids])
