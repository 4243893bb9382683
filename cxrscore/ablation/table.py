"""Out-of-fold tables of several heads -> one row per head: its macro-AUC, and how far from the reference's.

In    score tables by head, seed and fold; the label table.
Out   rows and notes for JSON; the same as cells of text, for printing and table.csv.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from cxrscore.ablation.sweep import Sweep, shown
from cxrscore.core.errors import UserError
from cxrscore.core.paths import Layout
from cxrscore.core.text_table import Block, TextTable, column_widths
from cxrscore.statistics.average_precision import average_precision_by_finding
from cxrscore.statistics.bootstrap import (
    FEWEST_IN_FOLD,
    Truth,
    freedoms,
    rarer_patients,
    resampled_areas,
    shown_by_fold,
    together,
    well_shown,
)
from cxrscore.statistics.intervals import FEWEST, Freedom, interval, pooled_freedom
from cxrscore.statistics.roc_area import Floats, auc_by_finding, macro
from cxrscore.tables.label_table import LabelTable
from cxrscore.tables.polars_frames import places
from cxrscore.tables.score_table import read_scores

DIGITS = 5
RESAMPLES = 2000
SEED = 0  # of the resamples


@dataclass(frozen=True)
class Scored:
    """The truth of each fold, and `ways`: name -> seed -> fold -> scores (n, L) of the same images; the first
    is the `reference`, which the others are compared with.

    What too few patients show in a fold, or in all (bootstrap.shown_by_fold), is masked there: `left_out`,
    finding -> folds.
    """

    folds: Sequence[int]
    seeds: Sequence[int]
    findings: Sequence[str]
    truth: Sequence[Truth]
    ways: Mapping[str, Sequence[Sequence[np.ndarray]]]
    left_out: Mapping[str, Sequence[int]]

    @property
    def reference(self) -> str:
        return next(iter(self.ways))

    @property
    def clusters(self) -> int:
        return 1 + max(int(fold.patient.max()) for fold in self.truth)

    @property
    def images(self) -> int:
        return sum(len(fold.y) for fold in self.truth)


def read_scored(
    layouts: Mapping[str, Mapping[int, Layout]], folds: Sequence[int], labels: LabelTable
) -> Scored:
    """`layouts`: name -> seed -> where its score tables are. Without patients each image is one. Raises
    UserError where tables are not of the same images.
    """
    of_reference = next(iter(layouts.values()))
    seeds = list(of_reference)
    first = of_reference[seeds[0]]
    ids = [read_scores(first.scores(fold, views=False)).ids for fold in folds]
    ways = {
        name: [
            [
                _read(own.scores(fold, views=False), mine, labels)
                for fold, mine in zip(folds, ids, strict=True)
            ]
            for own in of_name.values()
        ]
        for name, of_name in layouts.items()
    }
    parts = [labels.rows(places(mine, labels.ids)) for mine in ids]
    patients = [name for part in parts for name in part.patient or part.ids]
    numbers = np.split(
        np.unique(patients, return_inverse=True)[1], np.cumsum([len(part) for part in parts[:-1]])
    )
    whole = [Truth(part.y, part.mask, mine) for part, mine in zip(parts, numbers, strict=True)]
    truth: list[Truth] = []
    left_out: dict[str, list[int]] = {}
    for fold, one, counted in zip(folds, whole, _counted(whole), strict=True):
        truth.append(replace(one, mask=one.mask & counted))
        for name, defined in zip(labels.findings, ~counted & _defined(one), strict=True):
            if defined:
                left_out.setdefault(name, []).append(fold)
    return Scored(folds, seeds, labels.findings, truth, ways, left_out)


def _counted(folds: Sequence[Truth]) -> list[np.ndarray]:
    """(L,) for each fold, the findings to compare by: those that enough patients show or, where none is,
    those that enough show in the fold or, where there is none of these either, all.
    """
    choices = [
        (enough, well_shown(fold), np.ones_like(enough))
        for fold, enough in zip(folds, shown_by_fold(folds), strict=True)
    ]
    return [next(one for one in mine if one.any()) for mine in choices]


def _defined(fold: Truth) -> np.ndarray:
    """(L,) whether there is an area: an image of either class."""
    zero, one = ((fold.mask & (fold.y == value)).any(0) for value in (0, 1))
    both: np.ndarray = zero & one
    return both


def _read(path: Path, ids: Sequence[str], labels: LabelTable) -> np.ndarray:
    _, found, findings, scores, *_ = read_scores(path)
    if found != ids or not set(found) <= set(labels.ids) or tuple(findings) != labels.findings:
        raise UserError(
            f"{path}: holds other images or findings than the reference table or {labels.path}; remove it, "
            "and repeat the command."
        )
    return scores


def compare(
    scored: Scored, *, sweep: Sweep | None = None, after: Callable[[int], None] = lambda drawn: None
) -> dict[str, dict[str, Any]]:
    """Name -> `macro_auc`, the mean over findings, then folds and seeds; of `folds` and of `seeds` each, the
    mean over the others; `seed_sd`, the seeds' standard deviation; `difference` from the reference, its 95 %
    interval; `gains`, the same of each finding's area, the mean over folds and seeds, without an interval
    where fewer than FEWEST patients show the finding, or do not.
    Rows of a `sweep` have `mean_ap`, the mean average precision, and those after its first `from_first`,
    their difference from that. `after`: as of bootstrap.resampled_areas.
    """
    generator = np.random.default_rng(SEED)
    resampled = resampled_areas(
        scored.truth, scored.ways, resamples=RESAMPLES, generator=generator, after=after
    )
    whole = together(scored.truth)
    few = rarer_patients(whole.y, whole.mask, whole.patient) < FEWEST
    each = freedoms(whole.y, whole.mask, whole.patient)
    by_finding = {name: _areas(scored.truth, seeds) for name, seeds in scored.ways.items()}
    areas = {
        name: np.array([[macro(fold) for fold in seed] for seed in area]) for name, area in by_finding.items()
    }

    def difference(name: str, other: str) -> dict[str, float]:
        estimate = areas[name].mean() - areas[other].mean()
        of_mean = pooled_freedom(each, resampled[name].findings - resampled[other].findings)
        return _with_interval("macro_auc", estimate, resampled[name].macro - resampled[other].macro, of_mean)

    reference = scored.reference
    swept = list(sweep.rows) if sweep else []
    rows = {}
    for name, area in areas.items():
        by_seed, by_fold = area.mean(1), area.mean(0)
        row: dict[str, Any] = {
            "macro_auc": _round(area.mean()),
            "folds": {str(fold): _round(mean) for fold, mean in zip(scored.folds, by_fold, strict=True)},
            "seeds": {str(seed): _round(mean) for seed, mean in zip(scored.seeds, by_seed, strict=True)},
        }
        if len(by_seed) > 1:
            row["seed_sd"] = _round(by_seed.std(ddof=1))
        if name != reference:
            row["difference"] = difference(name, reference)
            more = resampled[name].findings - resampled[reference].findings
            apart = by_finding[name] - by_finding[reference]
            row["gains"] = _gains(scored.findings, apart, more, each, few)
        if name in swept:
            row["mean_ap"] = _round(_mean_ap(scored.truth, scored.ways[name]))
        if name in swept[1:]:
            row["from_first"] = difference(name, swept[0])
        rows[name] = row
    return rows


def _gains(
    findings: Sequence[str],
    differences: np.ndarray,
    resampled: Floats,
    each: Sequence[Freedom],
    few: np.ndarray,
) -> dict[str, dict[str, float]]:
    """(seeds, folds, L) differences in area, and (L, R) of resamples -> finding -> mean and interval, where a
    fold defines it.
    """
    found = {}
    for j, finding in enumerate(findings):
        defined = differences[..., j][~np.isnan(differences[..., j])]
        if len(defined) and not few[j]:
            found[finding] = _with_interval("auc", defined.mean(), resampled[j], each[j])
        elif len(defined):
            found[finding] = {"auc": _round(defined.mean())}
    return found


def _with_interval(name: str, estimate: float, resampled: Floats, freedom: Freedom) -> dict[str, float]:
    low, high = interval(estimate, resampled, freedom=freedom)
    return {name: _round(estimate), "low": _round(low), "high": _round(high)}


def _areas(truth: Sequence[Truth], seeds: Sequence[Sequence[np.ndarray]]) -> Floats:
    """-> (seeds, folds, L)."""
    return np.array(
        [
            [auc_by_finding(fold.y, fold.mask, s) for fold, s in zip(truth, folds, strict=True)]
            for folds in seeds
        ]
    )


def _mean_ap(truth: Sequence[Truth], seeds: Sequence[Sequence[np.ndarray]]) -> float:
    """As macro_auc, of average precision."""
    means = [
        macro(average_precision_by_finding(fold.y, fold.mask, s))
        for folds in seeds
        for fold, s in zip(truth, folds, strict=True)
    ]
    return float(np.mean(means))


def sweep_points(rows: Mapping[str, Mapping[str, Any]], sweep: Sweep) -> list[dict[str, float]]:
    """What `compare` found -> of each value `macro_auc` and `mean_ap`, and but for the first the difference
    in macro-AUC from it, with its interval.
    """
    points = []
    for name, value in sweep.rows.items():
        row = rows[name]
        ends = row.get("from_first", {})
        point = {"value": value, "macro_auc": row["macro_auc"], "mean_ap": row["mean_ap"]}
        if ends:
            point |= {"difference": ends["macro_auc"], "low": ends["low"], "high": ends["high"]}
        points.append(point)
    return points


def notes_of(scored: Scored, *, patients: bool, timed: str) -> list[str]:
    """What the numbers rest on, and what they do not say."""
    others, seeds = len(scored.ways) - 1, ", ".join(map(str, scored.seeds))
    unit = "patients" if patients else "images"
    notes = [
        f"difference: from {scored.reference}, with a 95 % interval (low, high) from {RESAMPLES:,} resamples "
        f"of {scored.clusters:,} {unit} ({scored.images:,} images), the same for every head",
        f"the interval covers which {unit} were sampled, not the randomness of training (seed {seeds}); it "
        "holds for this data alone",
        f"ms: what the head adds an image, {timed}; minutes: all trainings of the row, on this machine",
    ]
    if scored.left_out:
        told = "; ".join(f"{name} in {_folds(k)}" for name, k in scored.left_out.items())
        notes.append(
            f"left out, as fewer than {FEWEST_IN_FOLD} {unit} of the fold or {FEWEST} of such folds show it, "
            f"or do not: {told}"
        )
    enough = shown_by_fold(scored.truth)
    few = [k for k, there in zip(scored.folds, enough, strict=True) if not there.any()]
    if few:
        notes.append(
            f"{_folds(few)}: no finding is shown by {FEWEST_IN_FOLD} {unit}, and by {FEWEST} of all folds, "
            "and not shown by as many, so rarer ones are counted; intervals say too little there"
        )
    if others:
        notes.append(
            f"gains.csv: each head's gain per finding over that of {scored.reference}, with the same "
            "resamples; of so many intervals some leave out 0 by chance; there is none where fewer than "
            f"{FEWEST} {unit} show the finding, or do not"
        )
    notes.append(
        "each score is of a training's best epoch by macro-AUC on these very images, as the train stage "
        "picks it: that flatters heads whose epochs scatter more, and no interval here covers it"
    )
    if others > 1:
        notes.append(f"each interval stands for itself: of {others}, some may leave out 0 by chance")
    if not patients:
        notes.append("labels.patient is null: where patients have several images, intervals are too narrow")
    return notes


def _folds(numbers: Sequence[int]) -> str:
    return f"fold{'s' if len(numbers) > 1 else ''} {', '.join(map(str, numbers))}"


def cells(result: Mapping[str, Any]) -> list[list[str]]:
    """The result as text, a header and one row per head. Blank: not defined for it."""
    rows, first = result["heads"], next(iter(result["heads"].values()))
    folds, several = list(first["folds"]), "seed_sd" in first
    header = ["head", "macro_auc", *(f"fold{fold}" for fold in folds), *["seed_sd"] * several]
    table = [[*header, "difference", "low", "high", "parameters", "ms", "minutes"]]
    for name, row in rows.items():
        areas = [row["macro_auc"], *row["folds"].values(), *[row.get("seed_sd")] * several]
        ends = row.get("difference", {})
        differences = [ends.get(end) for end in ("macro_auc", "low", "high")]
        minutes = row.get("minutes")
        cost = [f"{row['parameters']:d}", f"{row['ms']:.3g}", "" if minutes is None else f"{minutes:.1f}"]
        table.append(
            [name, *(f"{area:.{DIGITS}f}" for area in areas)]
            + ["" if end is None else f"{end:+.{DIGITS}f}" for end in differences]
            + cost
        )
    return table


def gain_cells(rows: Mapping[str, Mapping[str, Any]]) -> list[list[str]]:
    """One row for each head and finding: how much the finding's area is above the reference's. Blank: of too
    few patients.
    """
    table = [["head", "finding", "gain", "low", "high"]]
    for name, row in rows.items():
        for finding, ends in row.get("gains", {}).items():
            numbers = (f"{ends[end]:+.{DIGITS}f}" if end in ends else "" for end in ("auc", "low", "high"))
            table.append([name, finding, *numbers])
    return table


def sweep_cells(points: Sequence[Mapping[str, float]]) -> list[list[str]]:
    """One row per value. Blank: the first differs from nothing."""
    table = [["value", "macro_auc", "mean_ap", "difference", "low", "high"]]
    for point in points:
        ends = [f"{point[name]:+.{DIGITS}f}" if name in point else "" for name in table[0][3:]]
        areas = [f"{point[name]:.{DIGITS}f}" for name in ("macro_auc", "mean_ap")]
        table.append([shown(point["value"]), *areas, *ends])
    return table


def table_blocks(result: Mapping[str, Any]) -> list[Block]:
    """For a person: the table, then the notes."""
    rows = cells(result)
    blocks: list[Block] = [TextTable(rows, headed=True, widths=column_widths(rows)), ""]
    if "sweep" in result:
        swept = sweep_cells(result["sweep"]["points"])
        key, first = result["sweep"]["key"], swept[1][0]
        blocks += [f"{key}, with differences from {first}:"]
        blocks += [TextTable(swept, headed=True, widths=column_widths(swept)), ""]
    return [*blocks, *result["notes"]]


def _round(value: float) -> float:
    return round(float(value), DIGITS)
