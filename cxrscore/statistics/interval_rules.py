"""Labels, and which of them are called -> the patients that a figure rests on, and whether they are too few.

In    a Sample and names of measures.
Out   Support of each figure. Samples, comparisons and subgroups have one set of rules.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cxrscore.statistics.intervals import FEWEST, Freedom, effective_patients, freedom_of, patients_of
from cxrscore.statistics.measures import CLASSES, MEASURES, Kind, Measure
from cxrscore.statistics.multilabel import called
from cxrscore.statistics.sample import Sample

TABLE = "all findings"
Key = tuple[str, str]  # measure; finding or TABLE
BY = {"shown": "shown by", "unshown": "not shown by", "called": "called in"}  # of findings, so many patients


@dataclass(frozen=True)
class Support:
    """`freedom`: of the figure's standard deviation. `trials`: of how many patients, in effect, a share.
    `rare`: the kinds of label that too few patients have for an interval; `few`: the same in words.
    """

    freedom: Freedom
    trials: float
    rare: tuple[Kind, ...] = ()
    few: str = ""


@dataclass(frozen=True)
class _Labels:
    """Of one kind, (n, L); of each finding, and of all (L + 1,): patients who have it, and what those are
    worth.
    """

    patients: NDArray[np.int64]
    worth: NDArray[np.float64]


def supports(sample: Sample, measures: Sequence[str]) -> dict[Key, Support]:
    """Of each measure and finding, or TABLE."""
    tops = dict.fromkeys(MEASURES[name].top for name in measures)
    labels = {top: _labels(sample, top) for top in tops}
    found: dict[Key, Support] = {}
    for name in measures:
        measure = MEASURES[name]
        of_kind = labels[measure.top]
        if measure.of == "table":
            found[name, TABLE] = _of_table(measure, of_kind)
            continue
        for j, finding in enumerate(sample.findings):
            found[name, finding] = _of_finding(measure, of_kind, j)
    return found


def fewer(one: Support, other: Support) -> Support:
    """Of the difference of a figure between two ways of scoring the same images, which call other labels."""
    least = min(one, other, key=lambda support: support.freedom.degrees)
    worse = one if one.rare else other
    return Support(least.freedom, least.trials, worse.rare, worse.few)


def rare_in_words(rare: Sequence[tuple[Kind, ...]], fewest: int) -> str:
    """Of each finding that a mean is over, the kinds of label that too few patients have."""
    some = sum(map(bool, rare))
    kinds = [by for kind, by in BY.items() if any(kind in one for one in rare)]
    verb = "is" if some == 1 else "are"
    return f"{some} of {len(rare)} findings {verb} {', or '.join(kinds)} fewer than {fewest} patients" * bool(
        some
    )


def _labels(sample: Sample, top: int | None) -> dict[Kind, _Labels]:
    rows: dict[Kind, NDArray[np.bool_]] = {
        "shown": sample.mask & (sample.y == 1),
        "unshown": sample.mask & (sample.y == 0),
        "known": sample.mask,
        "called": called(sample.mask, sample.scores, top=top),
    }
    found = {}
    for kind, mine in rows.items():
        every = np.column_stack([mine, mine.any(axis=1)])
        worth = [effective_patients(column, sample.cluster) for column in (*mine.T, mine.sum(axis=1))]
        found[kind] = _Labels(patients_of(every, sample.cluster), np.array(worth))
    return found


def _of_finding(measure: Measure, labels: Mapping[Kind, _Labels], j: int) -> Support:
    yes, no = (int(labels[kind].patients[j]) for kind in CLASSES)
    least = measure.fewest or FEWEST
    rare = tuple(kind for kind in CLASSES if labels[kind].patients[j] < least)
    few = f"fewer than {least} patients show it, or do not: {yes:,} and {no:,}" * bool(rare)
    freedom = freedom_of(*(float(labels[kind].worth[j]) for kind in CLASSES))
    return Support(freedom, min(float(labels[kind].worth[j]) for kind in measure.share_of), rare, few)


def _of_table(measure: Measure, labels: Mapping[Kind, _Labels]) -> Support:
    least, share_of = measure.fewest or FEWEST, [labels[kind] for kind in measure.share_of]
    freedom = freedom_of(*(float(one.worth[-1]) for one in share_of))
    if not measure.mean_over:
        counts = {kind: int(labels[kind].patients[-1]) for kind in measure.rests_on}
        rare = tuple(kind for kind, count in counts.items() if count < least)
        return Support(
            freedom, min(float(one.worth[-1]) for one in share_of), rare, _few(counts, rare, least)
        )
    over = np.flatnonzero(sum(labels[kind].patients[:-1] for kind in measure.mean_over))
    each = [tuple(kind for kind in measure.rests_on if labels[kind].patients[j] < least) for j in over]
    trials = min((float(one.worth[j]) for one in share_of for j in over), default=0.0)
    rare = tuple(dict.fromkeys(kind for kinds in each for kind in kinds))
    return Support(freedom, trials, rare, rare_in_words(each, least))


def _few(counts: Mapping[Kind, int], rare: Sequence[Kind], least: int) -> str:
    if "shown" in rare or "unshown" in rare:
        yes, no = (counts[kind] for kind in CLASSES)
        return f"fewer than {least} patients show a finding, or lack one: {yes:,} and {no:,}"
    words = f"fewer than {least} patients have a label that is called: {counts.get('called', 0):,}"
    return words if rare else ""
