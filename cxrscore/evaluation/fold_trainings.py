"""Whether out-of-fold tables are whole, and of one training: rows against out/folds.csv, checkpoints by their
cards and files by their SHA-256; and whether a model has seen the patients whom it scores.

In    out/folds.csv; the ids that each fold's tables hold; out/models/fold{k}.safetensors.
Out   notes on what could not be compared and on versions that differ. Raises UserError for a table with other
      rows than its fold, and for folds that were trained with other settings or data.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cxrscore.core.errors import UserError, counted
from cxrscore.core.fold_summary import OF_A_TRAINING, read_summary, refuse_other_files
from cxrscore.core.paths import Layout
from cxrscore.tables.fold_table import Folds, read_folds, split_patients
from cxrscore.tables.label_table import LabelTable

CARD = "cxrscore"  # the one entry of a checkpoint's metadata, see core/safetensors_digest.py
MANY = 5  # settings that a refusal names


def check_tables(layout: Layout, ids: Mapping[tuple[int, bool], Sequence[str]]) -> list[str]:
    """All checks of out-of-fold tables. `ids` of each fold's table of the image as it is (False), or of all
    views (True), or of both.
    """
    for views in {views for _, views in ids}:
        every = [name for (_, own), found in ids.items() if own == views for name in found]
        if len(set(every)) != len(every):
            raise UserError(
                f"{layout.oof}: an image was validated in two folds: tables of different splits; train again."
            )
    folds = list(dict.fromkeys(fold for fold, _ in ids))
    return check_rows(layout, ids) + check_trainings(layout, folds)


def check_rows(layout: Layout, ids: Mapping[tuple[int, bool], Sequence[str]]) -> list[str]:
    """`ids` of each fold's table of the image as it is (False) and of all views (True)."""
    if not layout.folds.exists():
        return [f"{layout.folds}: not there; whether the score tables hold all rows is not checked."]
    folds = read_folds(layout.folds)
    for (fold, views), found in ids.items():
        wanted = {name for name, own in zip(folds.ids, folds.fold.tolist(), strict=True) if own == fold}
        lost, other = len(wanted.difference(found)), len(set(found) - wanted)
        if lost or other:
            table = layout.scores(fold, views=views)
            has = f"lacks {counted(lost, 'image')} of the {len(wanted):,} that {layout.folds} has in it"
            more = f"holds {counted(other, 'image')} that {layout.folds} does not have in it"
            raise UserError(
                f"{table}: fold {fold} {' and '.join([has] * bool(lost) + [more] * bool(other))}, so it was "
                f"edited, or is of other folds; restore it with `dvc checkout {table}`, or train again with "
                "`dvc repro train`."
            )
    return []


def notes_on_patients(table: LabelTable, fold: NDArray[np.int64]) -> list[str]:
    """`fold` (n,): of each row of the table."""
    split = split_patients(Folds(table.ids, table.patient, fold))
    return [
        f"{counted(len(split), 'patient is', 'patients are')} in more than one fold: models have seen other "
        "images of patients whom they score, so figures out of fold are too high"
    ] * bool(split)


def check_trainings(layout: Layout, folds: Sequence[int]) -> list[str]:
    """Raises UserError where a table or checkpoint is not of the training that says so, and where a setting,
    or the data, differs that all these folds state.
    """
    untold = [str(fold) for fold in folds if not refuse_other_files(layout, fold)]
    notes = [
        f"{layout.summary(folds[0]).parent}: tells nothing of the files of fold {', '.join(untold)}; "
        "whether scores and checkpoints are of one training is not checked."
    ] * bool(untold)
    cards = {fold: card for fold in folds if (card := _card_of(layout, fold)) is not None}
    gone = [str(fold) for fold in folds if fold not in cards]
    notes += [
        f"{layout.models}: no checkpoint of fold {', '.join(gone)}; whether its settings were those of the "
        "other folds is not checked."
    ] * bool(gone)
    if len(cards) < 2:
        return notes
    (first, mine), *others = cards.items()
    for fold, theirs in others:
        path = layout.checkpoint(fold)
        differing = list(_differing(_facts(mine), _facts(theirs)))
        if differing:
            named = ", ".join(f"{name} ({b}, not {a})" for name, a, b in differing[:MANY])
            more = f" and {len(differing) - MANY} more" if len(differing) > MANY else ""
            raise UserError(
                f"{path}: trained otherwise than fold {first}: {named}{more}; the folds are not "
                "of one training; run `dvc repro train`."
            )
        versions = list(_differing(mine.get("versions", {}), theirs.get("versions", {})))
        if versions:
            told = ", ".join(f"{name} {b} instead of {a}" for name, a, b in versions)
            notes.append(f"{path}: trained with {told} of fold {first}.")
    return notes


def notes_on_settings(layout: Layout, folds: Sequence[int], settings: Mapping[str, Any]) -> list[str]:
    """Where the `settings` of params.yaml are not those the folds were trained with: changed, and not run."""
    for fold in folds:
        card = _card_of(layout, fold) or {}
        of_files = {"prepare": {"size": card.get("size")}, "folds": {"k": card.get("k")}} if card else {}
        differing = list(_differing(card.get("params", {}) | of_files, dict(settings)))
        if differing:
            named = ", ".join(f"{name} ({then}, now {now})" for name, then, now in differing[:MANY])
            more = f" and {len(differing) - MANY} more" if len(differing) > MANY else ""
            return [
                f"params.yaml is not what fold {fold} was trained with: {named}{more}; the figures are of "
                "the training"
            ]
    return []


def _card_of(layout: Layout, fold: int) -> dict[str, Any] | None:
    """Of the checkpoint; where there is none, what the summary has of it."""
    if layout.checkpoint(fold).exists():
        return _card(layout.checkpoint(fold))
    told: dict[str, Any] | None = (read_summary(layout, fold) or {}).get("training")
    return told


def _facts(card: Mapping[str, Any]) -> dict[str, Any]:
    return {name: card[name] for name in OF_A_TRAINING if name in card}


def _differing(one: Any, other: Any, name: str = "") -> Iterator[tuple[str, str, str]]:
    """Names of what both state, and state differently; a key that only one has is of another version."""
    if isinstance(one, dict) and isinstance(other, dict):
        for key, value in one.items():
            if key in other:
                yield from _differing(value, other[key], f"{name}.{key}" if name else key)
    elif one != other:
        yield name.removeprefix("params."), _short(one), _short(other)


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= 30 else f"{text[:27]}..."


def _card(path: Path) -> dict[str, Any]:
    """As the file says it, unproved: its seal is for those who load weights. Without torch."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            entry = json.loads((file.metadata() or {})[CARD])
        card = entry.get("facts", entry)["card"]  # files without a seal have no facts around it
        if isinstance(card, dict):
            return card
    except (SafetensorError, OSError, LookupError, TypeError, AttributeError, ValueError):
        pass
    raise UserError(f"{path}: damaged, or no checkpoint; restore it with `dvc checkout`, or train again.")
