"""Figures of groups of images, such as those of women and of men, and how far apart the groups are.

In    a Sample and, for each of its rows, the group that it is in; names of measures.
Out   Subgroups: per group figures with intervals; gaps, each group's figure less that of the reference, the
      group of most patients. One set of resamples of all patients serves every group: a patient whose images
      lie in two groups carries the same weight into both, and the interval of a gap is a paired one.

A figure that too few patients of a group support, by the rules that intervals have everywhere
(interval_rules.py), is not shown there. The mean over findings is over those that have one; of a gap, over
those that have one in both groups.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cxrscore.core.errors import UserError, counted
from cxrscore.core.progress import Progress
from cxrscore.evaluation.group_columns import BANDS, SEVERAL, UNKNOWN, Grouping, groupings
from cxrscore.evaluation.joined_scores import Scored, label_settings
from cxrscore.statistics.bootstrap import Prepared, replicates
from cxrscore.statistics.estimates import MACRO, RESAMPLES, SEED, Base, Estimate, Key, estimate_of
from cxrscore.statistics.interval_rules import TABLE, Support, supports
from cxrscore.statistics.intervals import pooled_freedom
from cxrscore.statistics.measures import MEASURES, Prepare
from cxrscore.statistics.roc_area import Floats, quotient
from cxrscore.statistics.sample import Sample

if TYPE_CHECKING:
    from cxrscore.project.params import LabelParams

DEFAULT = ("auc",)  # 14 findings, 107,000 images, 1,000 resamples: 3 s of processor time; all measures 70
ALL = "all"
MOST_RESAMPLES = 100_000
UNITS = {"patient": "patients", "study": "studies", "image": "images"}  # whom intervals are over


@dataclass(frozen=True)
class Figure:
    """An estimate, and over how many findings it is a mean (of one: 1). `shown` and `unshown`: patients of
    the group who show the finding, and who do not; who has images of both kinds counts in both.
    """

    estimate: Estimate
    findings: int = 1
    shown: int = 0
    unshown: int = 0


@dataclass(frozen=True)
class Group:
    """`gaps`: this group's figures less the reference's; none of the reference itself."""

    name: str
    patients: int
    images: int
    figures: Mapping[Key, Figure]
    gaps: Mapping[Key, Figure]


@dataclass(frozen=True)
class Subgroups:
    """Of one column. `unit`: whom the intervals are over, patients or, where nobody knows them, images."""

    column: str
    reference: str
    groups: tuple[Group, ...]
    unit: str


@dataclass(frozen=True)
class _Part:
    """A figure prepared from some of the rows alone; they are neighbours, so their weights need no copy."""

    rows: slice
    inner: Prepared

    def values(self, weights: Floats) -> Floats:
        return self.inner.values(weights[self.rows])


@dataclass(frozen=True)
class _Made:
    """A figure, its resamples (none: empty), and what it was made of: what each part rests on, and its
    resamples.
    """

    value: float
    drawn: Floats
    sources: tuple[tuple[Support, Floats], ...]


def checked_measures(names: Sequence[str]) -> tuple[str, ...]:
    """Raises UserError for a name that is none; `all` stands for all."""
    if list(names) == [ALL]:
        return tuple(MEASURES)
    unknown = [name for name in names if name not in MEASURES]
    if unknown or not names:
        given = repr(unknown[0]) if unknown else "none"
        raise UserError(f"--by-measures: {given}; choose from {', '.join(MEASURES)}, or {ALL}.")
    return tuple(dict.fromkeys(names))


def subgroups_of(
    scored: Scored,
    labels_csv: Path,
    by: Sequence[str],
    *,
    id_column: str,
    labels: "LabelParams | None",
    bands: Sequence[int] = BANDS,
    measures: Sequence[str] = DEFAULT,
    resamples: int = RESAMPLES,
    progress: Progress,
) -> tuple[list[Subgroups], list[str]]:
    """Of what was measured, by columns of the labels -> one for each column, and notes. `id_column`: of the
    scores; `labels`: the project's settings, if there are any. Raises UserError.
    """
    names = checked_measures(measures)
    settings, _ = label_settings(labels_csv, id_column, labels)
    found = groupings(scored, labels_csv, by, id_column=settings["id"], bands=bands)
    sample, unit = scored.sample(), "patient"
    notes = [note for grouping in found for note in grouping.notes]
    if scored.table.patient is None:
        unit = "study" if scored.images else "image"
        notes.append(f"{labels_csv}: patients are not known; intervals take each {unit} for a patient.")
    progress.start("groups", len(found) * resamples)
    how: dict[str, Any] = {"unit": unit, "resamples": resamples, "after": progress.advance}
    return [subgroups(sample, grouping, names, **how) for grouping in found], notes


def subgroups(
    sample: Sample,
    grouping: Grouping,
    measures: Sequence[str] = DEFAULT,
    *,
    unit: str = "patient",
    resamples: int = RESAMPLES,
    after: Callable[[int], None] = lambda drawn: None,
) -> Subgroups:
    """`resamples` 0: no intervals. `after` is called with each chunk's number of resamples."""
    sample, rows = _sorted(sample, grouping)
    alone = [_alone(sample, mine) for mine in rows]
    support = [supports(one, measures) for one in alone]
    patients = [one.clusters for one in alone]
    bases = {
        (i, *key): one
        for i, (mine, rests_on) in enumerate(zip(rows, support, strict=True))
        for key, one in _bases(sample, mine, rests_on).items()
    }
    once = {key: one.values(np.ones((len(sample), 1))) for key, one in bases.items()}
    drawn: Mapping[tuple[int, Prepare, str], Floats] = {}
    if resamples and bases:
        generator = np.random.default_rng(SEED)
        drawn = replicates(bases, sample.cluster, resamples=resamples, generator=generator, after=after)
    made: list[dict[Key, _Made]] = [{} for _ in rows]
    for i, rests_on in enumerate(support):
        for (name, of), one in rests_on.items():
            key, figured = (i, MEASURES[name].base, of), MEASURES[name].figured
            if not one.few:
                spread = figured(drawn[key]) if key in drawn else np.empty(0)
                made[i][name, of] = _Made(float(figured(once[key])[0]), spread, ((one, spread),))
    reference = _reference(grouping, patients)

    def group(i: int) -> Group:
        figures = _figures(sample.findings, made[i], measures)
        shown = dict(zip(sample.findings, zip(*alone[i].shown(), strict=True), strict=True))
        figures = {key: _told(one, key, shown, support[i], unit) for key, one in figures.items()}
        gaps = _gaps(sample.findings, made[i], made[reference], measures) if i != reference else {}
        return Group(grouping.groups[i], patients[i], rows[i].stop - rows[i].start, figures, gaps)

    groups = tuple(map(group, range(len(rows))))
    return Subgroups(grouping.name, grouping.groups[reference], groups, unit)


def _sorted(sample: Sample, grouping: Grouping) -> tuple[Sample, list[slice]]:
    """The rows group by group, and where each group is."""
    order = np.argsort(grouping.member, kind="stable")
    arrays = {name: getattr(sample, name)[order] for name in ("y", "mask", "scores", "cluster")}
    ends = np.cumsum(np.bincount(grouping.member, minlength=len(grouping.groups))).tolist()
    return replace(sample, **arrays), [slice(a, b) for a, b in zip([0, *ends], ends, strict=False)]


def _alone(sample: Sample, rows: slice) -> Sample:
    keep = np.zeros(len(sample), dtype=bool)
    keep[rows] = True
    return sample.rows(keep)


def _reference(grouping: Grouping, patients: Sequence[int]) -> int:
    """The group of most patients, the first of equals, that is one group."""
    named = [i for i, name in enumerate(grouping.groups) if name not in (SEVERAL, UNKNOWN)]
    return max(named or range(len(patients)), key=lambda i: patients[i])


def _bases(sample: Sample, rows: slice, support: Mapping[Key, Support]) -> dict[Base, Prepared]:
    """Of one group, what the figures are made of that patients enough support."""
    found: dict[Base, Prepared] = {}
    for (name, of), rests_on in support.items():
        base = MEASURES[name].base
        if not rests_on.few and (base, of) not in found:
            j = slice(None) if of == TABLE else sample.findings.index(of)
            truth = (array[rows, j] for array in (sample.y, sample.mask, sample.scores))
            found[base, of] = _Part(rows, base(*truth))
    return found


def _figures(
    findings: Sequence[str],
    made: Mapping[Key, _Made],
    measures: Sequence[str],
    *,
    difference: bool = False,
) -> dict[Key, Figure]:
    """Of each finding and their mean, or of all findings together; NaN where there is none."""
    found = {}
    for measure in measures:
        whole = MEASURES[measure].of == "table"
        mine = {of: made[measure, of] for of in (TABLE, *findings) if (measure, of) in made}
        defined = [one for one in mine.values() if not np.isnan(one.value)]
        for of in [TABLE] if whole else [*findings, MACRO]:
            over = defined if of == MACRO else [one for name, one in mine.items() if name == of]
            found[measure, of] = Figure(_estimate(measure, over, difference=difference), len(over))
    return found


def _gaps(
    findings: Sequence[str], mine: Mapping[Key, _Made], other: Mapping[Key, _Made], measures: Sequence[str]
) -> dict[Key, Figure]:
    """The first group less the second, of what both have."""
    less = {key: _less(one, other[key]) for key, one in mine.items() if key in other}
    found = _figures(findings, less, measures, difference=True)
    nothing = Estimate(np.nan, why="no figure in one of the groups")
    return {
        key: replace(gap, estimate=nothing) if np.isnan(gap.estimate.value) else gap
        for key, gap in found.items()
    }


def _less(one: _Made, other: _Made) -> _Made:
    return _Made(one.value - other.value, one.drawn - other.drawn, one.sources + other.sources)


def _estimate(measure: str, over: Sequence[_Made], *, difference: bool) -> Estimate:
    """Of the mean of these, in each resample over what is defined there."""
    if not over:
        return Estimate(np.nan, why="undefined")
    value = float(np.mean([one.value for one in over]))
    drawn = np.stack([one.drawn for one in over])
    mean = quotient(np.nansum(drawn, 0), (~np.isnan(drawn)).sum(0).astype(float)) if drawn.size else None
    each, spreads = zip(*(source for one in over for source in one.sources), strict=True)
    freedom = pooled_freedom([one.freedom for one in each], np.stack(spreads))
    support = Support(freedom, min(one.trials for one in each))
    return estimate_of(measure, value, mean, support, difference=difference)


def _told(
    figure: Figure,
    key: Key,
    shown: Mapping[str, tuple[int, int]],
    support: Mapping[Key, Support],
    unit: str,
) -> Figure:
    """With the patients behind it and, where those are too few, words in the place of the figure."""
    of = key[1]
    if of == MACRO:
        missing = "too few for any finding"
        return figure if figure.findings else replace(figure, estimate=Estimate(np.nan, why=missing))
    why = support[key].few
    if of == TABLE:
        return replace(figure, estimate=Estimate(np.nan, why=why)) if why else figure
    yes, no = map(int, shown[of])
    if why:
        fewer, verb = (yes, "show") if "shown" in support[key].rare and yes <= no else (no, "do not show")
        one = {"show": "shows", "do not show": "does not show"}[verb]
        few = f"{counted(fewer, unit, UNITS[unit])} {one if fewer == 1 else verb} it"
        figure = replace(figure, estimate=Estimate(np.nan, why=f"too few ({few})"))
    return replace(figure, shown=yes, unshown=no)
