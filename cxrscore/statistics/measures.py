"""The figures that score tables are measured by, each with its name, its range and how it is made.

In    a name in MEASURES.
Out   Measure. `prepare` takes one finding's y, mask and scores, (n,) each, or those of all findings, (n, L).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from cxrscore.statistics.bootstrap import Prepared
from cxrscore.statistics.roc_area import ranked

Prepare = Callable[[np.ndarray, np.ndarray, np.ndarray], Prepared]


@dataclass(frozen=True)
class Measure:
    """`of` says what it is a figure of; `better`: whether more of it is better, or neither; `scale`: its
    values lie in 0 to 1 (unit) or anywhere (plain).
    """

    name: str
    title: str
    of: Literal["finding", "table"]
    better: Literal["higher", "lower", "neither"]
    scale: Literal["unit", "plain"]
    prepare: Prepare


MEASURES = {
    measure.name: measure for measure in (Measure("auc", "AUC", "finding", "higher", "unit", ranked),)
}
