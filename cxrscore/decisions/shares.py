"""Which cells of a table have something -> the share that has it, with an interval over patients.

In    of each image, how many of its cells count, and how many have it; whose image it is.
Out   Share.
"""

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from cxrscore.statistics.bootstrap import replicates
from cxrscore.statistics.intervals import FEWEST, effective_patients, freedom_of, interval
from cxrscore.statistics.weighted_ratio import Ratio

RESAMPLES = 1000
Key = TypeVar("Key", bound=Hashable)


@dataclass(frozen=True)
class Counted:
    """(n,) how many cells of each image count, and how many of those have something. `one_together`: a
    patient's cells weigh one together, instead of one each.
    """

    cells: NDArray[np.integer | np.bool_]
    having: NDArray[np.integer | np.bool_]
    one_together: bool = False


class Share(NamedTuple):
    """With the ends of its 95 % interval, NaN where too few patients."""

    value: float
    low: float
    high: float
    patients: int


def shares(counted: Mapping[Key, Counted], cluster: NDArray[np.int64]) -> dict[Key, Share]:
    """The share of the cells that have it, by key. `cluster` (n,): numbers of patients from 0."""
    ratios = {key: _ratio(one, cluster) for key, one in counted.items()}
    if not ratios:
        return {}
    generator, once = np.random.default_rng(0), np.ones((len(cluster), 1))
    drawn = replicates(ratios, cluster, resamples=RESAMPLES, generator=generator)
    found = {}
    for key, one in counted.items():
        value, patients = float(ratios[key].values(once)[0]), len(np.unique(cluster[one.cells > 0]))
        worth = patients if one.one_together else effective_patients(one.cells, cluster)
        ends = (np.nan, np.nan)
        if patients >= FEWEST:
            ends = interval(value, drawn[key], scale="unit", freedom=freedom_of(worth))
        found[key] = Share(value, *ends, patients)
    return found


def _ratio(counted: Counted, cluster: NDArray[np.int64]) -> Ratio:
    having, cells = counted.having.astype(np.float64), counted.cells.astype(np.float64)
    if counted.one_together:
        own = np.maximum(np.bincount(cluster, weights=cells), 1)[cluster]
        having, cells = having / own, cells / own
    return Ratio(having, cells)
