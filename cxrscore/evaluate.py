"""Score tables and truth -> metrics. No model, no GPU: out-of-fold and competition tables have one shape.

In    out/oof/fold{k}.csv and .views.csv, out/learned, data/labels.csv; or any score table and any labels.
Out   out/metrics.json (nested dicts of numbers only: DVC drops lists and nulls), out/plots: auc.csv, curves
      (roc.csv, pr.csv), and what the heads learned, one table per picture with one number per row (see
      `_learned_tables`).
A finding with a single class has no area: it is absent, counted, and left out of the mean.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cxrscore.core.errors import UserError, counted, promise
from cxrscore.core.files import write_text
from cxrscore.core.paths import Layout
from cxrscore.evaluation.curves import pr_rows, roc_rows
from cxrscore.evaluation.head_pictures import (
    PICTURES,
    TABLES,
    Learned,
    Picture,
    read_learned,
    sparsity_rows,
    tidy_rows,
)
from cxrscore.evaluation.metrics import auc_by_finding, group_means, macro
from cxrscore.evaluation.scene_matching import PROFILE, aligned, share_rows, view_rows
from cxrscore.tables.csv_table import write_table
from cxrscore.tables.datasets.column_names import IDS, named
from cxrscore.tables.foreign_table import read_foreign_table
from cxrscore.tables.image_names import match_names
from cxrscore.tables.label_table import LabelTable
from cxrscore.tables.labels import read_labels
from cxrscore.tables.polars_frames import places
from cxrscore.tables.score_table import read_scores

if TYPE_CHECKING:
    from cxrscore.project.params import LabelParams

DIGITS = 5
PLAIN = {
    "format": "table",
    "patient": None,
    "patient_pattern": None,
    "study": None,
    "patient_ids": "text",
    "blank": "error",
    "uncertain": "error",
    "readers": "error",
}


@dataclass(frozen=True)
class Scored:
    """Scores (n, L) with the truth of the same rows, y and mask (n, L)."""

    findings: Sequence[str]
    scores: np.ndarray
    table: LabelTable
    unscored: int
    notes: Sequence[str] = ()

    def areas(self) -> np.ndarray:
        return auc_by_finding(self.table.y, self.table.mask, self.scores)

    def patients(self) -> int | None:
        return len(set(self.table.patient)) if self.table.patient is not None else None


def evaluate(
    labels_csv: Path, layout: Layout, *, labels: "LabelParams", folds: Sequence[int]
) -> tuple[dict[str, Any], list[str]]:
    """The stage: out-of-fold metrics of the trained folds, as validated (one view), with all views, and
    with all views and images of a study.
    """
    table = read_labels(labels_csv, **labels.model_dump())
    plain = [join(layout.scores(fold, views=False), table) for fold in folds]
    averaged = [join(layout.scores(fold, views=True), table) for fold in folds]
    _refuse_overlap(plain, layout)
    learned = _learned_tables(layout, dict(zip(folds, plain, strict=True)))
    pooled, pooled_views = pool(plain), pool(averaged)
    metrics = summarise(pooled)
    metrics["views"] = _macro(pooled_views)
    metrics |= _by_study(averaged)
    metrics["folds"] = {str(fold): _macro(part) for fold, part in zip(folds, plain, strict=True)}
    metrics["folds"]["mean"] = _mean(metrics["folds"].values())
    write_text(layout.metrics, json.dumps(metrics, indent=1) + "\n")
    parts = [("all", "one", pooled), ("all", "views", pooled_views)]
    parts += [(str(fold), "one", part) for fold, part in zip(folds, plain, strict=True)]
    promise(learned.keys() <= TABLES, f"tables without a name: {sorted(learned.keys() - TABLES)}")
    for name in TABLES:  # by another head, whose pictures the report would show
        (layout.plots / f"{name}.csv").unlink(missing_ok=True)
    _write_areas(layout.plots / "auc.csv", parts)
    _write_pooled(layout.plots / "auc_pooled.csv", pooled)
    _write_curves(layout.plots, pooled)
    for name, (columns, rows) in learned.items():
        if rows:  # of one finding alone there are no pairs
            write_table(layout.plots / f"{name}.csv", columns, rows)
    return metrics, _undefined(pooled)


def evaluate_table(
    scores_csv: Path, labels_csv: Path, *, labels: "LabelParams | None"
) -> tuple[dict[str, Any], list[str]]:
    """Any score table against any label table -> metrics and notes.

    The findings are the score table's columns. Without a project's `labels`, a plain table is expected, and a
    blank or -1 is an error: nobody has said what they mean. Patients and studies are optional.
    """
    joined, notes = join_tables(scores_csv, labels_csv, labels=labels)
    notes += _undefined(joined)
    if joined.unscored:
        total = joined.unscored + len(joined.scores)
        notes.append(f"{joined.unscored} of {counted(total, 'labelled image')} without a score")
    return summarise(joined) | _by_study([joined]), notes


def join_tables(
    scores_csv: Path, labels_csv: Path, *, labels: "LabelParams | None"
) -> tuple[Scored, list[str]]:
    """What `evaluate_table` measures, and notes on how it was read."""
    scored = read_scores(scores_csv)
    settings, notes = _label_settings(labels_csv, scored.id_column, labels)
    table = read_labels(labels_csv, **settings | {"findings": scored.findings})
    joined = join(scores_csv, table)
    return joined, [*notes, *scored.notes, *table.notes, *joined.notes]


def _label_settings(
    labels_csv: Path, id_column: str, labels: "LabelParams | None"
) -> tuple[dict[str, Any], list[str]]:
    """What reads this table of labels, which may have fewer columns than the project's -> settings, notes."""
    settings = labels.model_dump() if labels else PLAIN | {"id": id_column}
    columns, notes = read_foreign_table(labels_csv).columns, []
    if settings["id"] not in columns:
        settings["id"] = id_column if id_column in columns else named(columns, IDS) or settings["id"]
    derived = settings["format"] == "chexpert"  # from the path
    for key in ("patient", "study"):
        name = settings[key]
        if name is not None and name not in columns and not derived and settings["patient_pattern"] is None:
            settings[key] = None
            notes.append(f"{labels_csv}: no column {name!r}; metrics are not grouped by {key}.")
    return settings, notes


def _undefined(scored: Scored) -> list[str]:
    """A note that names the findings without an area: one class alone is present."""
    names = [name for name, area in zip(scored.findings, scored.areas(), strict=True) if np.isnan(area)]
    return [f"no AUC, one class alone is present: {', '.join(names)}"] if names else []


def summarise(scored: Scored) -> dict[str, Any]:
    """Numbers by name: macro_auc, auc.<finding>, and the counts they rest on."""
    areas = scored.areas()
    counts = {"images": len(scored.scores), "findings_defined": int((~np.isnan(areas)).sum())}
    patients = scored.patients()
    defined = {
        name: _round(area) for name, area in zip(scored.findings, areas, strict=True) if not np.isnan(area)
    }
    metrics: dict[str, Any] = {"macro_auc": _round(macro(areas))} if defined else {}
    return metrics | counts | ({"patients": patients} if patients is not None else {}) | {"auc": defined}


def join(scores_csv: Path, table: LabelTable) -> Scored:
    """A score table with the labels of its rows, in its order. Raises UserError for rows without labels."""
    _, ids, findings, scores, _ = read_scores(scores_csv)
    if list(findings) != list(table.findings):
        raise UserError(
            f"{scores_csv}: scores {', '.join(findings)}; the labels hold {', '.join(table.findings)}; name "
            "a table of the same findings in the same order."
        )
    rows, notes = places(ids, table.ids), list[str]()
    if (rows < 0).any():
        rows, notes = _matched(ids, table, scores_csv)
    return Scored(findings, scores, table.rows(rows), len(table.ids) - len(rows), notes)


def _matched(ids: Sequence[str], table: LabelTable, scores_csv: Path) -> tuple[np.ndarray, list[str]]:
    """The labelled image that each row means; where labels name images in less than their path, as `prepare`
    matches those to files, the row that each labelled image means. Raises UserError.
    """
    match = match_names(ids, table.ids)
    rows, notes = np.array(match.files), match.notes
    if (rows < 0).any():
        back = match_names(table.ids, ids)
        found = np.full(len(ids), -1)
        found[[at for at in back.files if at >= 0]] = [i for i, at in enumerate(back.files) if at >= 0]
        if (found >= 0).sum() > (rows >= 0).sum():
            rows, notes = found, back.notes
    unknown = [match.told(name) for name, row in zip(ids, rows, strict=True) if row < 0]
    if unknown:
        raise UserError(
            f"{scores_csv}: {counted(len(unknown), 'row is', 'rows are')} not in {table.path}: "
            f"{', '.join(unknown[:10])}; the labels name images like {table.ids[0]!r}: add the missing "
            "images, or remove their scores."
        )
    return rows, [f"{scores_csv}: {note}." for note in notes]


def pool(parts: Sequence[Scored]) -> Scored:
    first = parts[0]
    scores = np.concatenate([part.scores for part in parts])
    y, mask = (np.concatenate([getattr(part.table, name) for part in parts]) for name in ("y", "mask"))
    ids = [name for part in parts for name in part.table.ids]
    patient = (
        [name for part in parts for name in part.table.patient or []]
        if first.table.patient is not None
        else None
    )
    table = LabelTable(
        path=first.table.path, ids=ids, findings=first.table.findings, y=y, mask=mask, patient=patient
    )
    return Scored(first.findings, scores, table, 0)


def _by_study(parts: Sequence[Scored]) -> dict[str, dict[str, float]]:
    """`study`, measured on the same images and labels with each score replaced by the mean over the study's
    images in the same table; nothing where the labels tell no study.
    """
    means = [
        replace(part, scores=group_means(part.scores, part.table.study))
        for part in parts
        if part.table.study is not None
    ]
    return {"study": _macro(pool(means))} if means else {}


def _refuse_overlap(parts: Sequence[Scored], layout: Layout) -> None:
    ids = [name for part in parts for name in part.table.ids]
    if len(set(ids)) != len(ids):
        raise UserError(
            f"{layout.oof}: an image was validated in two folds: tables of different splits; train again."
        )


def _macro(scored: Scored) -> dict[str, float]:
    area = macro(scored.areas())
    return {} if np.isnan(area) else {"macro_auc": _round(area)}


def _mean(folds: Iterable[dict[str, float]]) -> dict[str, float]:
    found = [fold["macro_auc"] for fold in folds if fold]
    return {"macro_auc": _round(float(np.mean(found)))} if found else {}


def _write_areas(path: Path, parts: Sequence[tuple[str, str, Scored]]) -> None:
    """One row for each fold (or all), view and finding; a blank auc is undefined."""
    rows = []
    for fold, view, scored in parts:
        positives = ((scored.table.y == 1) & scored.table.mask).sum(0)
        for finding, area, count in zip(scored.findings, scored.areas(), positives, strict=True):
            cell = "" if np.isnan(area) else f"{area:.{DIGITS}f}"
            rows.append([fold, view, finding, cell, int(count)])
    write_table(path, ["fold", "view", "finding", "auc", "positives"], rows)


def _write_pooled(path: Path, pooled: Scored) -> None:
    """For a plot: the defined areas over all folds, finding by finding."""
    areas = zip(pooled.findings, pooled.areas(), strict=True)
    write_table(path, ["finding", "auc"], [[name, f"{a:.{DIGITS}f}"] for name, a in areas if not np.isnan(a)])


def _write_curves(plots: Path, pooled: Scored) -> None:
    """For plots of lines: the points of each finding's ROC and precision-recall curve over all folds."""
    truth = pooled.findings, pooled.table.y, pooled.table.mask, pooled.scores
    write_table(plots / "roc.csv", ["finding", "fpr", "tpr"], roc_rows(*truth))
    write_table(plots / "pr.csv", ["finding", "recall", "precision"], pr_rows(*truth))


def _learned_tables(
    layout: Layout, folds: Mapping[int, Scored]
) -> dict[str, tuple[list[str], list[list[Any]]]]:
    """What each fold's head learned -> name of a table -> columns and rows, the folds' scenes in one order:

    <picture>             fold, its axes, value: findings by name, no row where nothing is defined
    <picture>_shares      fold, axis, mean, share: of scenes, or whatever else has a value an image, the mean
                          and the share of images whose largest it is
    <picture>_by_view     fold, axis, view, images: counted, where the labels tell views
    coupling_sparsity     fold, below, share: of the entries of A off the diagonal with |A| < below; those
                          that are zero exactly stand at below = 0
    """
    if not any(layout.learned(fold).exists() for fold in folds):
        return {}
    learned_by = {fold: _learned(layout.learned(fold), scored) for fold, scored in folds.items()}
    _refuse_mixture(learned_by, layout)
    found = aligned([learned.pictures for learned in learned_by.values()])
    tables: dict[str, tuple[list[str], list[list[Any]]]] = {}
    for (fold, scored), learned in zip(folds.items(), found, strict=True):
        for name, picture in learned.items():
            for table, columns, rows in _tables(name, picture, scored):
                tables.setdefault(table, (["fold", *columns], []))[1].extend([fold, *row] for row in rows)
    return tables


def _tables(
    name: str, picture: Picture, scored: Scored
) -> Iterator[tuple[str, Iterable[str], Iterable[Any]]]:
    if picture.axes[0] != "image":
        yield name, (*picture.axes, "value"), tidy_rows(picture, scored.findings)
    else:
        yield f"{name}_shares", (picture.axes[1], "mean", "share"), share_rows(picture)
        if scored.table.view is not None:
            columns = (picture.axes[1], "view", "images")
            yield f"{name}_by_view", columns, view_rows(picture, scored.table.view)
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


def _round(value: float) -> float:
    return round(value, DIGITS)
