"""The fold checkpoints of a folder -> the ensemble that scores: complete, of one training, in fold order.

In    a folder of .safetensors files, perhaps the folds to use.
Out   loaded folds; UserError for a missing fold, the same file twice, or folds of different trainings.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from cxrscore.core.device import Machine
from cxrscore.core.errors import UserError
from cxrscore.model.checkpoint import Card, Fold, load_fold, read_card
from cxrscore.model.predict import VIEWS

AGREE = (
    "findings",
    "id_column",
    "size",
    "preprocessing",
    "bit_depth",
    "k",
    "backbone",
    "head",
    "params",
    "sha256",
)


def load_ensemble(folder: Path, machine: Machine, *, folds: Sequence[int] | None = None) -> list[Fold]:
    """The fold checkpoints of a folder, in fold order: all k of them, or exactly those named in `folds`.

    Raises UserError for a missing fold, the same file twice, folds that do not score the same thing in the
    same way, or a file that is replaced meanwhile.
    """
    paths = checkpoint_paths(folder)
    cards = {path: read_card(path) for path in paths}
    if folds is not None:
        cards = {path: card for path, card in cards.items() if card.fold in folds}
    paths = sorted(cards, key=lambda path: cards[path].fold)
    _refuse_incomplete(folder, [cards[path] for path in paths], folds)
    _refuse_mixture(cards, paths)
    loaded = [load_fold(path, machine) for path in paths]
    _refuse_replaced(loaded, cards)
    _refuse_twins(loaded)
    return loaded


def trained_views(ensemble: Sequence[Fold]) -> list[str]:
    """The views that the folds were validated with. Raises UserError where they differ or are unknown."""
    first, *others = ensemble
    for other in others:
        mine, theirs = first.card.views, other.card.views
        if mine != theirs:
            raise UserError(
                f"{other.path}: views is {','.join(theirs)}, but {','.join(mine)} in {first.path}; "
                "choose the views with --views."
            )
    unknown = [name for name in first.card.views if name not in VIEWS]
    if unknown:
        raise UserError(
            f"{first.path}: this version does not have the view {', '.join(unknown)}; update cxrscore, or "
            "choose the views with --views."
        )
    return first.card.views


def checkpoint_paths(folder: Path) -> list[Path]:
    """The checkpoints in a folder, by name. Raises UserError where there is none."""
    paths = sorted(folder.glob("*.safetensors"))
    if not paths:
        raise UserError(
            f"{folder}: no checkpoints (*.safetensors) there; train some with `dvc repro`, or name --models."
        )
    return paths


def _refuse_incomplete(folder: Path, cards: Sequence[Card], folds: Sequence[int] | None) -> None:
    found = [card.fold for card in cards]
    wanted = sorted(folds) if folds is not None else list(range(cards[0].k))
    if found != wanted:
        raise UserError(
            f"{folder}: folds {found} were found, {wanted} are needed; train the missing ones, "
            "or name those to use with --folds."
        )


def _refuse_mixture(cards: Mapping[Path, Card], paths: Iterable[Path]) -> None:
    """Folds of one ensemble agree on what they score, what they see, and the data and settings behind."""
    first, *others = paths
    for other in others:
        for name in AGREE:
            mine, theirs = _fact(cards[first], name), _fact(cards[other], name)
            if mine != theirs:
                name, mine, theirs = _first_difference(name, mine, theirs)
                raise UserError(
                    f"{other}: {name} is {theirs}, but {mine} in {first}; an ensemble needs folds of one "
                    "training; choose them with --folds."
                )


def _fact(card: Card, name: str) -> Any:
    """What folds agree on, without the views: those may differ where --views says which. Encodings are each
    fold's own, from the rows that it was trained on.
    """
    fact = getattr(card, name)
    if name == "head":
        return {key: value for key, value in fact.items() if key != "encodings"}
    if name == "params" and "train" in fact:
        return fact | {"train": {key: value for key, value in fact["train"].items() if key != "views"}}
    return fact


def _first_difference(name: str, mine: Any, theirs: Any) -> tuple[str, Any, Any]:
    """The setting, by its dotted name, in which two settings first differ, and its two values."""
    if isinstance(mine, dict) and isinstance(theirs, dict):
        unlike = [key for key in mine.keys() | theirs.keys() if mine.get(key) != theirs.get(key)]
        key = "kind" if "kind" in unlike else min(unlike)  # the settings of another kind say less
        return _first_difference(f"{name}.{key}", mine.get(key), theirs.get(key))
    return name, mine, theirs


def _refuse_replaced(loaded: Sequence[Fold], cards: Mapping[Path, Card]) -> None:
    """What was checked is what was loaded: cards are read before the weights, which take longer."""
    for fold in loaded:
        if fold.card != cards[fold.path]:
            raise UserError(
                f"{fold.path}: replaced by another checkpoint while it was read; repeat the command when "
                "nothing writes there."
            )


def _refuse_twins(loaded: Sequence[Fold]) -> None:
    seen: dict[str, Path] = {}
    for fold in loaded:
        if fold.file_sha256 in seen:
            raise UserError(f"{fold.path}: the same file as {seen[fold.file_sha256]}; name each fold once.")
        seen[fold.file_sha256] = fold.path
