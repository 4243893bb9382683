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
from cxrscore.statistics.bootstrap import Prepared, replicates
from cxrscore.statistics.interval_rules import TABLE, Support, fewer, rare_in_words, supports
from cxrscore.statistics.intervals import FEWEST, interval, pooled_freedom
from cxrscore.statistics.measures import MEASURES, Prepare
from cxrscore.statistics.roc_area import Floats, quotient
from cxrscore.statistics.sample import Sample

MACRO, SHOWN = "macro", "macro of the findings shown often enough"
RESAMPLES = 1000
SEED = 0
MOST_UNDEFINED = (
    0.05  # of the resamples: an interval is of those that are defined, which differ from the rest
)

K = TypeVar("K")
Key = tuple[str, str]  # measure; finding, or MACRO, SHOWN or TABLE
Base = tuple[Prepare, str]  # of a measure; finding or TABLE


@dataclass(frozen=True)
class Estimate:
    """A figure and the ends of its 95 % interval, of Student's t with `degrees`. NaN: undefined, or no
    interval, and then `why` says so.
    """

    value: float
    low: float = np.nan
    high: float = np.nan
    why: str = ""
    degrees: float = np.inf


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
    support, bases = supports(sample, measures), _bases(sample, measures)
    once = _figured(_once(bases, len(sample)), measures)
    means = _means_over(once, sample.findings, support)
    values = _with_means(once, means)
    drawn = _with_means(_figured(_resampled(bases, sample, resamples, after), measures), means)
    support = _with_supports(support, means, drawn)
    return {
        key: estimate_of(key[0], float(value[0]), drawn.get(key), support[key])
        for key, value in values.items()
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
    bases = {(way, *key): one for way, s in (("a", a), ("b", b)) for key, one in _bases(s, measures).items()}
    once = _once(bases, len(a))
    drawn = _resampled(bases, a, resamples, after)
    others = supports(b, measures)
    support = {key: fewer(one, others[key]) for key, one in supports(a, measures).items()}
    of_a, of_b = (_figured(_of(way, once), measures) for way in ("a", "b"))
    means = _means_over({key: of_b[key] - one for key, one in of_a.items()}, a.findings, support)
    first, second = _with_means(of_a, means), _with_means(of_b, means)
    spread_a, spread_b = (_with_means(_figured(_of(way, drawn), measures), means) for way in ("a", "b"))
    spread = {key: spread_b[key] - one for key, one in spread_a.items()}
    support = _with_supports(support, means, spread)
    found = {}
    for key in first:
        one, other = float(first[key][0]), float(second[key][0])
        apart = estimate_of(key[0], other - one, spread.get(key), support[key], difference=True)
        found[key] = Difference(one, other, apart)
    return found


def estimate_of(
    measure: str, value: float, resampled: Floats | None, support: Support, *, difference: bool = False
) -> Estimate:
    """With an interval, or why there is none; `resampled` None: because nobody asked for one."""
    if np.isnan(value):
        return Estimate(value, why="undefined")
    if resampled is None:
        return Estimate(value)
    if MEASURES[measure].fewest is None:
        return Estimate(value, why=MEASURES[measure].why)
    if support.few:
        return Estimate(value, why=support.few)
    undefined = float(np.isnan(resampled).mean())
    if undefined > MOST_UNDEFINED:
        return Estimate(value, why=f"undefined in {undefined:.0%} of the resamples")
    scale = "plain" if difference else MEASURES[measure].scale
    ends = interval(value, resampled, scale=scale, freedom=support.freedom, trials=support.trials)
    return Estimate(value, *ends, degrees=support.freedom.degrees)


def _of(way: str, values: Mapping[tuple[str, Prepare, str], Floats]) -> dict[Base, Floats]:
    return {(base, of): value for (mine, base, of), value in values.items() if mine == way}


def _bases(sample: Sample, measures: Sequence[str]) -> dict[Base, Prepared]:
    """What the measures are made of, once for all that are made of the same."""
    found: dict[Base, Prepared] = {}
    for name in measures:
        measure = MEASURES[name]
        for j, of in [(slice(None), TABLE)] if measure.of == "table" else enumerate(sample.findings):
            if (measure.base, of) not in found:
                columns = (array[:, j] for array in (sample.y, sample.mask, sample.scores))
                found[measure.base, of] = measure.base(*columns)
    return found


def _figured(values: Mapping[Base, Floats], measures: Sequence[str]) -> dict[Key, Floats]:
    """By measure and finding. One base may serve a figure of a finding and one of all."""
    return {
        (name, of): MEASURES[name].figured(value)
        for name in measures
        for (base, of), value in values.items()
        if base is MEASURES[name].base and (of == TABLE) == (MEASURES[name].of == "table")
    }


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


def _means_over(
    values: Mapping[Key, Floats], findings: Sequence[str], support: Mapping[Key, Support]
) -> dict[Key, list[Key]]:
    """Of each measure by finding, MACRO and perhaps SHOWN -> the figures that these are means of. A finding
    whose figure is undefined, such as the area of one that nobody shows, is no part of either.
    """
    found = {}
    for measure in dict.fromkeys(name for name, of in values if of in findings):
        each = [(measure, name) for name in findings]
        mine = [key for key in each if not np.isnan(values[key]).all()] or each
        often = [key for key in mine if not support[key].rare]
        found[measure, MACRO] = mine
        if often and len(often) < len(mine):
            found[measure, SHOWN] = often
    return found


def _with_means(values: Mapping[Key, Floats], means: Mapping[Key, Sequence[Key]]) -> dict[Key, Floats]:
    """The figures, and those means; nothing of nothing."""
    of = {mean: [values[key] for key in keys] for mean, keys in means.items() if values}
    return dict(values) | {mean: _mean(those) for mean, those in of.items()}


def _with_supports(
    support: Mapping[Key, Support], means: Mapping[Key, Sequence[Key]], resampled: Mapping[Key, Floats]
) -> dict[Key, Support]:
    """And those of the means, which have it from their figures."""
    found = dict(support)
    for mean, keys in means.items():
        those = [support[key] for key in keys]
        drawn = np.stack([resampled.get(key, np.full(1, np.nan)) for key in keys])
        freedom = pooled_freedom([one.freedom for one in those], drawn)
        few = rare_in_words([one.rare for one in those], MEASURES[mean[0]].fewest or FEWEST)
        found[mean] = Support(freedom, min(one.trials for one in those), few=few)
    return found


def _mean(values: Sequence[Floats]) -> Floats:
    """Of what is defined; NaN where nothing is."""
    stacked = np.stack(values)
    defined = (~np.isnan(stacked)).sum(0)
    return quotient(np.nansum(stacked, 0), defined.astype(float))
