"""A figure's resamples -> the interval that is shown for it, and from how many patients on there is one.

In    a figure, its values (R,) in resamples of the patients, as bootstrap.py makes them, and how many
      patients that rests on.
Out   the two ends: the standard deviation of the resamples times a quantile of Student's t; on the scale of
      log odds where a figure lies in 0 to 1. tests/programs/coverage.py chose it, and docs/decisions.md has
      the table: percentiles leave the truth out too often where a finding is rare, since there resamples
      vary less than samples do, and by how much is not known well.
Sources: Efron & Tibshirani, An Introduction to the Bootstrap, 1993, chapter 12 (standard errors with t);
Pepe, The Statistical Evaluation of Medical Tests, 2003 (log odds of an area); Kish, Survey Sampling, 1965
(effective sample size); Satterthwaite, Biometrics Bulletin 2, 1946 (freedom of a sum of variances).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cxrscore.core.errors import promise
from cxrscore.statistics.roc_area import Floats

# patients of either class from which intervals of areas and of most figures held the truth 92 to 97 times of
# 100; measures.py has the figures that need more, docs/decisions.md the table
FEWEST = 20


@dataclass(frozen=True)
class Freedom:
    """Of a figure's standard deviation: its degrees of freedom, and how much larger it is than among
    resamples, where the variance of a mean of n is (n - 1) / n of its own.
    """

    degrees: float = np.inf
    widening: float = 1.0


def patients_of(rows: NDArray[np.bool_], patient: NDArray[np.int64]) -> NDArray[np.int64]:
    """(n, L) images that count, and whose each is -> (L,) patients who have any."""
    return np.array([len(np.unique(patient[column])) for column in rows.T], dtype=np.int64)


def patients_by_class(y: np.ndarray, mask: np.ndarray, patient: NDArray[np.int64]) -> NDArray[np.int64]:
    """(n, L) 0/1, (n, L) and (n,) -> (2, L) patients who show each finding, and who do not, masked labels
    apart; one with images of both kinds is in both.
    """
    return np.stack([patients_of(mask & (y == value), patient) for value in (1, 0)])


def effective_patients(rows: NDArray[np.integer | np.bool_], patient: NDArray[np.int64]) -> float:
    """(n,) whether an image counts, or how often, and whose it is: how many patients with equally many images
    are as good as these. Ten patients of one image each are ten; with one who has ninety beside them, hardly
    more than one. 0: no row.
    """
    images = np.bincount(patient, weights=rows)
    return float(images.sum() ** 2 / np.square(images).sum()) if images.any() else 0.0


def freedom_of(*patients: float) -> Freedom:
    """Effective patients of each class -> of a figure whose variance is the sum of one from each class, the
    larger the fewer they are (Welch's formula). One class: of a mean.
    """
    shares = 1 / np.maximum(np.array(patients), 1)
    free = np.maximum(1 / shares - 1, 0.5)  # of one patient alone nothing is known
    degrees = shares.sum() ** 2 / (shares**2 / free).sum()
    return Freedom(float(degrees), float(shares.sum() / (shares * free / (1 + free)).sum()) ** 0.5)


def pooled_freedom(each: Sequence[Freedom], resampled: Floats) -> Freedom:
    """Of L findings, and (L, R) resamples of their figures -> of the mean of the figures. A finding that no
    resample defines is left out.
    """
    defined = ~np.isnan(resampled).all(axis=1)
    degrees, widening = (
        np.array([getattr(one, name) for one in each], dtype=float)[defined]
        for name in ("degrees", "widening")
    )
    variances = np.nanvar(resampled[defined], axis=1)
    if not variances.any():
        return Freedom(float(degrees.min(initial=np.inf)))
    wider = variances * widening**2
    together = wider.sum() ** 2 / (wider**2 / degrees).sum()
    return Freedom(float(together), float((wider.sum() / variances.sum()) ** 0.5))


def interval(
    estimate: float,
    resampled: Floats,
    *,
    scale: str = "plain",
    freedom: Freedom | None = None,
    trials: float | None = None,
    coverage: float = 0.95,
) -> tuple[float, float]:
    """`resampled` (R,): those without a value are left out. `scale`: values lie in 0 to 1 (unit) or anywhere
    (plain), as differences do. `freedom`: without, that of endless patients. `trials`: as of around.
    """
    defined = resampled[~np.isnan(resampled)]
    promise(len(defined) > 0, "folds in which nothing is defined are refused before they are trained")
    freedom = freedom or Freedom()
    error = freedom.widening * float(defined.std(ddof=1)) if len(defined) > 1 else 0.0
    return around(estimate, error, scale=scale, degrees=freedom.degrees, trials=trials, coverage=coverage)


def around(
    estimate: float,
    error: float,
    *,
    scale: str = "plain",
    degrees: float = np.inf,
    trials: float | None = None,
    coverage: float = 0.95,
) -> tuple[float, float]:
    """The same of a standard error, from wherever. A figure at 0 or 1 has no log odds: its interval is
    Clopper's and Pearson's of `trials`, the effective patients of whom it is a share. Without them each
    degree of freedom, and one more, is a trial, as of a mean over patients of one kind.
    """
    from scipy.special import expit, logit

    if scale == "unit" and not 0 < estimate < 1:
        inner = ((1 - coverage) / 2) ** (1 / (degrees + 1 if trials is None else max(trials, 1)))
        return (inner, 1.0) if estimate >= 1 else (0.0, 1 - inner)
    reach = quantile((1 + coverage) / 2, degrees)
    if scale == "plain":
        return estimate - reach * error, estimate + reach * error
    reach *= error / (estimate * (1 - estimate))
    return float(expit(logit(estimate) - reach)), float(expit(logit(estimate) + reach))


def quantile(share: float, degrees: float) -> float:
    """Of Student's t; of the normal distribution where degrees are endless."""
    from scipy.special import ndtri, stdtrit

    return float(ndtri(share) if np.isinf(degrees) else stdtrit(max(degrees, 1.0), share))


def tail(times: float, degrees: float) -> float:
    """The share of Student's t, as in `quantile`, that is further from 0 than so many standard errors, on
    either side.
    """
    from scipy.special import ndtr, stdtr

    return 2 * float(ndtr(-times) if np.isinf(degrees) else stdtr(max(degrees, 1.0), -times))
