"""What the folds' heads learned -> tables of one number per row, the folds' scenes in one order.

In    out/learned/fold{k}.json and the fold's scores.
Out   name of a table -> columns and rows. Raises UserError for a mixture of trainings.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cxrscore.core.errors import UserError
from cxrscore.core.paths import Layout
from cxrscore.evaluation.head_pictures import (
    PICTURES,
    Learned,
    Picture,
    read_learned,
    sparsity_rows,
    tidy_rows,
)
from cxrscore.evaluation.joined_scores import Scored
from cxrscore.evaluation.scene_matching import (
    PROFILE,
    aligned,
    entropies,
    share_rows,
    surest_rows,
    view_rows,
)

INPUTS = "attention_inputs"


def learned_tables(
    layout: Layout, folds: Mapping[int, Scored]
) -> dict[str, tuple[list[str], list[list[Any]]]]:
    """What each fold's head learned -> name of a table -> columns and rows, the folds' scenes in one order:

    <picture>             fold, its axes, value: findings and further inputs by name, no row where nothing is
                          defined
    <picture>_shares      fold, axis, mean, share: of scenes, or whatever else has a value per image, the mean
                          and the share of images whose largest it is
    <picture>_by_view     fold, axis, view, images: counted, where the labels tell views
    scenes_entropy        fold, per_image, of_mean, of_shares: how certain and how even (entropies)
    scenes_images         scene, rank, fold, image, share: the images that are most surely of each scene
    coupling_sparsity     fold, below, share: of the entries of A off the diagonal with |A| < below; those
                          that are zero exactly stand at below = 0
    """
    if not any(layout.learned(fold).exists() for fold in folds):
        return {}
    learned_by = {fold: _learned(layout.learned(fold), scored) for fold, scored in folds.items()}
    _refuse_mixture(learned_by, layout)
    inputs = next(iter(learned_by.values())).head.get("inputs", ())  # of a mixture there are none
    found = aligned([learned.pictures for learned in learned_by.values()])
    tables: dict[str, tuple[list[str], list[list[Any]]]] = {}
    for (fold, scored), learned in zip(folds.items(), found, strict=True):
        for name, picture in learned.items():
            for table, columns, rows in _tables(name, picture, scored, inputs):
                tables.setdefault(table, (["fold", *columns], []))[1].extend([fold, *row] for row in rows)
    scenes = {
        fold: (learned["scenes"], scored.table.ids)
        for (fold, scored), learned in zip(folds.items(), found, strict=True)
        if "scenes" in learned
    }
    tables["scenes_images"] = (["scene", "rank", "fold", "image", "share"], list(surest_rows(scenes)))
    return tables


def _tables(
    name: str, picture: Picture, scored: Scored, inputs: Sequence[str]
) -> Iterator[tuple[str, Iterable[str], Iterable[Any]]]:
    if picture.axes[0] != "image":
        yield name, (*picture.axes, "value"), tidy_rows(picture, scored.findings, inputs)
    else:
        yield f"{name}_shares", (picture.axes[1], "mean", "share"), share_rows(picture)
        if scored.table.view is not None:
            columns = (picture.axes[1], "view", "images")
            yield f"{name}_by_view", columns, view_rows(picture, scored.table.view)
    if name == "scenes":
        of = entropies(picture)
        yield "scenes_entropy", of.keys(), [[f"{value:.6g}" for value in of.values()]]
    if name == "coupling":
        yield "coupling_sparsity", ("below", "share"), sparsity_rows(picture)


def _learned(path: Path, scored: Scored) -> Learned:
    """Raises UserError for what a head of other findings, or of other images, has learned."""
    learned = read_learned(path)
    images = {len(picture.values) for picture in learned.pictures.values() if picture.axes[0] == "image"}
    if learned.findings != list(scored.findings) or images - {len(scored.scores)}:
        raise UserError(f"{path}: from another training than the scores beside it; run `dvc repro train`.")
    for name, picture in learned.pictures.items():
        defined = name != PROFILE or np.isfinite(picture.values).all()
        defined &= name != INPUTS or picture.values.shape[2] == len(learned.head.get("inputs", ()))
        if PICTURES.get(name) != picture.axes or not defined:
            raise UserError(f"{path}: holds {name!r} in a form that no head writes; run `dvc repro train`.")
    return learned


def _refuse_mixture(folds: Mapping[int, Learned], layout: Layout) -> None:
    first, *others = folds
    for fold in others:
        mine, theirs = folds[first].head, folds[fold].head
        if mine != theirs:
            raise UserError(
                f"{layout.learned(fold)}: of the head {theirs}, but fold {first} is of {mine}: a mixture of "
                "trainings; run `dvc repro train`."
            )
    told = {fold: _told(learned.pictures) for fold, learned in folds.items()}
    for fold, pictures in told.items():
        if pictures != told[first]:
            raise UserError(
                f"{layout.learned(fold)}: holds {pictures}, but fold {first} holds {told[first]}: a mixture "
                "of trainings; run `dvc repro train`."
            )


def _told(pictures: Mapping[str, Picture]) -> str:
    """Names and sizes: `scenes (image x 2 scene)`."""
    sizes = {
        name: [
            axis if axis == "image" else f"{n} {axis}" for axis, n in zip(p.axes, p.values.shape, strict=True)
        ]
        for name, p in pictures.items()
    }
    return ", ".join(f"{name} ({' x '.join(sizes[name])})" for name in sorted(sizes)) or "nothing"
