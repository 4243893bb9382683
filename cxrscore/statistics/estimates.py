"""A sample, or two of the same images -> figures with intervals over patients, and their differences.

In    Sample; names of measures.
Out   Estimate or Difference by measure and finding. Beside findings there are MACRO, the mean over those that
      have the figure; SHOWN, the same over those that enough patients show, where these are others; and
      TABLE, a figure of all findings together. The same resamples serve every figure, and both samples.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from cxrscore.core.errors import promise
from cxrscore.statistics.bootstrap import Prepared, freedoms, replicates
from cxrscore.statistics.intervals import (
    FEWEST,
    Freedom,
    effective_patients,
    freedom_of,
    interval,
    pooled_freedom,
)
from cxrscore.statistics.measures import MEASURES
from cxrscore.statistics.roc_area import Floats, quotient
from cxrscore.statistics.sample import Sample

MACRO, SHOWN, TABLE = "macro", "macro of the findings shown often enough", "all findings"
RESAMPLES = 1000
SEED = 0
MOST_UNDEFINED = (
    0.05  # of the resamples: an interval is of those that are defined, which differ from the rest
)

K = TypeVar("K")
Key = tuple[str, str]  # measure; finding, or MACRO, SHOWN or TABLE


@dataclass(frozen=True)
class Estimate:
    """A figure and the ends of its 95 % interval. NaN: undefined, or no interval, and then `why` says so."""

    value: float
    low: float = np.nan
    high: float = np.nan
    why: str = ""


@dataclass(frozen=True)
class Difference:
    """The figure of either sample, and the second's less the first's."""

    a: float
    b: float
    difference: Estimate


def estimates(
    sample: Sample,
    measures: Sequence[str] = tuple(MEASURES),
    *,
    resamples: int = RESAMPLES,
    after: Callable[[int], None] = lambda drawn: None,
) -> dict[Key, Estimate]:
    """`resamples` 0: no intervals. `after` is called with each chunk's number of resamples."""
    enough = _enough(sample)
    prepared = _prepared(sample, measures)
    values = _with_means(_once(prepared, len(sample)), sample.findings, enough)
    drawn = _resampled(prepared, sample, resamples, after)
    replicated = _with_means(drawn, sample.findings, enough)
    freedoms_of, few = _freedom(sample, replicated, enough), _too_few(sample)
    return {
        key: _estimate(key, value, replicated.get(key), freedoms_of.get(key), few)
        for key, value in _scalars(values).items()
    }


def differences(
    a: Sample,
    b: Sample,
    measures: Sequence[str] = tuple(MEASURES),
    *,
    resamples: int = RESAMPLES,
    after: Callable[[int], None] = lambda drawn: None,
) -> dict[Key, Difference]:
    """Of two ways of scoring the same images, row by row; only figures that both have."""
    promise(np.array_equal(a.y, b.y) and np.array_equal(a.mask, b.mask), "samples of other truth")
    promise(np.array_equal(a.cluster, b.cluster), "samples of other patients")
    enough = _enough(a)
    prepared = {
        (way, *key): one for way, s in (("a", a), ("b", b)) for key, one in _prepared(s, measures).items()
    }
    once = _once(prepared, len(a))
    drawn = _resampled(prepared, a, resamples, after)

    def of(way: str, values: Mapping[tuple[str, str, str], Floats]) -> dict[Key, Floats]:
        mine = {(key[1], key[2]): value for key, value in values.items() if key[0] == way}
        return _with_means(mine, a.findings, enough)

    first, second = of("a", once), of("b", once)
    less = {key: second[key] - first[key] for key in first.keys() & second.keys()}
    spread_a, spread_b = of("a", drawn), of("b", drawn)
    spread = {key: spread_b[key] - spread_a[key] for key in spread_a.keys() & spread_b.keys()}
    freedoms_of, few = _freedom(a, spread, enough), _too_few(a)
    return {
        key: Difference(
            float(first[key][0]),
            float(second[key][0]),
            _estimate(
                key,
                float(less[key][0]),
                spread.get(key),
                freedoms_of.get(key),
                few,
                difference=True,
            ),
        )
        for key in first
        if key in less
    }


def _enough(sample: Sample) -> dict[str, bool]:
    """Whether enough patients show a finding, and enough do not."""
    often = (bool(least >= FEWEST) for least in np.minimum(*sample.shown()))
    return dict(zip(sample.findings, often, strict=True))


def _too_few(sample: Sample) -> dict[str, str]:
    """Finding that too few patients show, or do not -> how many do, in words; MACRO: of the rarest; TABLE: of
    any finding.
    """
    counts = zip(sample.findings, *(side.tolist() for side in sample.shown()), strict=True)
    rare = sorted((min(yes, no), name, yes, no) for name, yes, no in counts if min(yes, no) < FEWEST)
    words = f"fewer than {FEWEST} patients show"
    found = {name: f"{words} it, or do not: {yes:,} and {no:,}" for _, name, yes, no in rare}
    for _, name, yes, no in rare[:1]:
        found[MACRO] = f"{words} {name}, or do not: {yes:,} and {no:,}"
    rows = ((sample.mask & (sample.y == value)).any(axis=1) for value in (1, 0))
    yes, no = (len(np.unique(sample.cluster[some])) for some in rows)
    if min(yes, no) < FEWEST:
        found[TABLE] = f"{words} a finding, or lack one: {yes:,} and {no:,}"
    return found


def _freedom(
    sample: Sample, resampled: Mapping[Key, Floats], enough: Mapping[str, bool]
) -> dict[Key, Freedom]:
    """Of each figure: a mean's from its findings, a table's from all patients."""
    each = dict(zip(sample.findings, freedoms(sample.y, sample.mask, sample.cluster), strict=True))
    whole = freedom_of(effective_patients(np.asarray(sample.mask.any(axis=1)), sample.cluster))
    found = {}
    for measure, of in resampled:
        names = [name for name in each if (measure, name) in resampled and (of == MACRO or enough[name])]
        if of in (MACRO, SHOWN):
            drawn = np.stack([resampled[measure, name] for name in names])
            found[measure, of] = pooled_freedom([each[name] for name in names], drawn)
        else:
            found[measure, of] = each.get(of, whole)
    return found


def _prepared(sample: Sample, measures: Sequence[str]) -> dict[Key, Prepared]:
    found: dict[Key, Prepared] = {}
    for name in measures:
        measure = MEASURES[name]
        if measure.of == "table":
            found[name, TABLE] = measure.prepare(sample.y, sample.mask, sample.scores)
            continue
        columns = zip(sample.findings, sample.y.T, sample.mask.T, sample.scores.T, strict=True)
        found |= {(name, finding): measure.prepare(*column) for finding, *column in columns}
    return found


def _once(prepared: Mapping[K, Prepared], rows: int) -> dict[K, Floats]:
    """Each figure (1,), every image counted once."""
    once = np.ones((rows, 1))
    return {key: figure.values(once) for key, figure in prepared.items()}


def _resampled(
    prepared: Mapping[K, Prepared], sample: Sample, resamples: int, after: Callable[[int], None]
) -> dict[K, Floats]:
    if not resamples:
        return {}
    generator = np.random.default_rng(SEED)
    return replicates(prepared, sample.cluster, resamples=resamples, generator=generator, after=after)


def _with_means(
    values: Mapping[Key, Floats], findings: Sequence[str], enough: Mapping[str, bool]
) -> dict[Key, Floats]:
    """The figures, and of those by finding the means."""
    found = dict(values)
    often = {name for name in findings if enough[name]}
    for measure in dict.fromkeys(name for name, of in values if of in findings):
        mine = {of: value for (name, of), value in values.items() if name == measure and of in findings}
        found[measure, MACRO] = _mean(list(mine.values()))
        if often and len(often) < len(mine):
            found[measure, SHOWN] = _mean([value for of, value in mine.items() if of in often])
    return found


def _mean(values: Sequence[Floats]) -> Floats:
    """Of what is defined; NaN where nothing is."""
    stacked = np.stack(values)
    defined = (~np.isnan(stacked)).sum(0)
    return quotient(np.nansum(stacked, 0), defined.astype(float))


def _estimate(
    key: Key,
    value: float,
    resampled: Floats | None,
    freedom: Freedom | None,
    few: Mapping[str, str],
    *,
    difference: bool = False,
) -> Estimate:
    measure, of = key
    if np.isnan(value):
        return Estimate(value, why="undefined")
    if resampled is None:
        return Estimate(value)
    if MEASURES[measure].fewest is None:
        return Estimate(value, why=MEASURES[measure].why)
    if of in few:
        return Estimate(value, why=few[of])
    undefined = float(np.isnan(resampled).mean())
    if undefined > MOST_UNDEFINED:
        return Estimate(value, why=f"undefined in {undefined:.0%} of the resamples")
    scale = "plain" if difference else MEASURES[measure].scale
    ends = interval(value, resampled, scale=scale, freedom=freedom)
    return Estimate(value, *ends)


def _scalars(values: Mapping[Key, Floats]) -> dict[Key, float]:
    return {key: float(value[0]) for key, value in values.items()}
