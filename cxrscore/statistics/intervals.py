"""A figure's resamples -> the interval that is shown for it, and from how many patients on there is one.

In    a figure, and its values (R,) in resamples of the patients, as bootstrap.py makes them.
Out   the two ends: the standard deviation of the resamples times a quantile of Student's t, with as many
      degrees of freedom as the patients of the rarer class are worth, less one; on the scale of log odds
      where a figure lies in 0 to 1. tests/programs/coverage.py chose it: docs/decisions.md has the table.
Sources: Efron & Tibshirani, An Introduction to the Bootstrap, 1993, chapter 12 (standard errors with t);
Pepe, The Statistical Evaluation of Medical Tests, 2003 (log odds of an area); Kish, Survey Sampling, 1965
(what unequal shares are worth).
"""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from cxrscore.core.errors import promise
from cxrscore.statistics.roc_area import Floats

FEWEST = 10  # patients of either class from which intervals held the truth 93 to 97 times of 100

Scale = Literal["unit", "plain"]


def interval(
    estimate: float,
    resampled: Floats,
    *,
    scale: str = "plain",
    patients: float = np.inf,
    coverage: float = 0.95,
) -> tuple[float, float]:
    """`resampled` (R,): those without a value are left out. `scale`: values lie in 0 to 1 (unit) or anywhere
    (plain), as differences do. `patients`: what those of the rarer class are worth.
    """
    defined = resampled[~np.isnan(resampled)]
    promise(len(defined) > 0, "folds in which nothing is defined are refused before they are trained")
    error = float(defined.std(ddof=1)) if len(defined) > 1 else 0.0
    return around(estimate, error, scale=scale, patients=patients, coverage=coverage)


def around(
    estimate: float, error: float, *, scale: str = "plain", patients: float = np.inf, coverage: float = 0.95
) -> tuple[float, float]:
    """The same of a standard error, from wherever. A figure at 0 or 1 has no log odds: its interval is
    Clopper's and Pearson's, as if each patient of the rarer class were a trial.
    """
    from scipy.special import expit, logit

    if scale == "unit" and not 0 < estimate < 1:
        inner = ((1 - coverage) / 2) ** (1 / patients)
        return (inner, 1.0) if estimate >= 1 else (0.0, 1 - inner)
    reach = _quantile((1 + coverage) / 2, patients - 1)
    if scale == "plain":
        return estimate - reach * error, estimate + reach * error
    reach *= error / (estimate * (1 - estimate))
    return float(expit(logit(estimate) - reach)), float(expit(logit(estimate) + reach))


def worth(rows: NDArray[np.bool_], patient: NDArray[np.int64]) -> float:
    """(n,) each: how many patients with equally many images are as good as those of these rows. Ten patients
    of one image each are ten; with one who has ninety beside them, hardly more than one. 0: no row.
    """
    images = np.bincount(patient[rows]).astype(float)
    return float(images.sum() ** 2 / np.square(images).sum()) if images.any() else 0.0


def pooled(patients: Floats, resampled: Floats) -> float:
    """Of findings (L,) what the patients of the rarer class are worth, and (L, R) resamples of their figures
    -> how many patients the mean of the figures is known from: the degrees of freedom of a sum of variances.

    Source: Satterthwaite, Biometrics Bulletin 2, 1946. A finding that no resample defines is left out.
    """
    defined = ~np.isnan(resampled).all(axis=1)
    degrees = np.maximum(patients[defined] - 1, 1)
    variances = np.nanvar(resampled[defined], axis=1)
    if not variances.any():
        return 1 + float(degrees.min(initial=np.inf))
    return 1 + float(variances.sum() ** 2 / (variances**2 / degrees).sum())


def _quantile(share: float, degrees: float) -> float:
    """Of Student's t; of the normal distribution where degrees are endless."""
    from scipy.special import ndtri, stdtrit

    return float(ndtri(share) if np.isinf(degrees) else stdtrit(max(degrees, 1.0), share))
