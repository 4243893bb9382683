"""One model's scores of one finding -> probabilities that mean what they say, in the same order.

In    scores (n,) from 0 to 1 and truth (n,) 0/1 of images that the model was not trained on.
Out   CalibrationMap: strictly increasing, so that the area under the ROC curve stays what it was.
Sources: Platt, "Probabilistic outputs for support vector machines", 1999 (LOGISTIC, and the targets, by which
an optimum exists where the scores separate the classes); Kull, Silva Filho & Flach, "Beta calibration",
AISTATS 2017, eq. 3 (BETA). Isotonic regression and Venn-Abers predictors give ties, and ties move the area.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cxrscore.core.errors import promise

Floats = NDArray[np.float64]
LOGISTIC, BETA = "logistic", "beta"
FLATTEST, STEEPEST = 0.05, 50.0  # of a and b: a map that is nearly flat would tie what a table rounds
BELOW_ZERO, ABOVE_ONE = 2.0**-150, 2.0**-25  # for scores of 0 and 1: half of what float32 has beside them


@dataclass(frozen=True)
class CalibrationMap:
    """log-odds(q) = a ln p - b ln(1 - p) + c, with a and b greater than zero; logistic where they are equal,
    the identity at 1, 1 and 0.
    """

    a: float = 1.0
    b: float = 1.0
    c: float = 0.0

    def log_odds(self, scores: NDArray[Any]) -> Floats:
        """Scores of any shape -> log-odds, strictly increasing over all numbers of float32 from 0 to 1."""
        log_p, minus_log_rest = logarithms(scores)
        found: Floats = self.a * log_p + self.b * minus_log_rest + self.c
        return found

    def __call__(self, scores: NDArray[Any]) -> Floats:
        """Scores of any shape -> probabilities, which float64 tells apart up to log-odds of about 30."""
        return expit(self.log_odds(scores))


IDENTITY = CalibrationMap()


def logarithms(scores: NDArray[Any]) -> tuple[Floats, Floats]:
    """Scores p -> ln p and -ln(1 - p), finite at 0 and 1 too."""
    p = np.asarray(scores, dtype=np.float64)
    with np.errstate(divide="ignore"):
        rest = -np.log1p(-p)
    return np.log(np.maximum(p, BELOW_ZERO)), np.minimum(rest, -np.log(ABOVE_ONE))


def expit(log_odds: Floats) -> Floats:
    """-> probabilities; the small ones keep all their digits."""
    small = np.exp(-np.abs(log_odds))
    found: Floats = np.where(log_odds < 0, small, 1.0) / (1 + small)
    return found


def fit(scores: NDArray[Any], y: NDArray[Any], *, kind: str) -> CalibrationMap:
    """(n,) scores and (n,) 0/1 of both classes -> the map of `kind` of the greatest likelihood, with a and b
    from FLATTEST to STEEPEST. Targets are Platt's, (N1 + 1) / (N1 + 2) and 1 / (N0 + 2). Within 1e-5 of the
    optimum.
    """
    from scipy.optimize import minimize

    promise(kind in (LOGISTIC, BETA), f"no map is called {kind}")
    columns = np.stack([*logarithms(scores), np.ones(len(scores))])
    if kind == LOGISTIC:
        columns = np.stack([columns[0] + columns[1], columns[2]])
    means, widths = columns[:-1].mean(1, keepdims=True), columns[:-1].std(1, keepdims=True)
    widths[widths == 0] = 1.0  # all scores are equal
    scaled = np.vstack([(columns[:-1] - means) / widths, columns[-1:]])
    targets = smoothed(y)

    def loss(weights: Floats) -> tuple[float, Floats]:
        z = weights @ scaled
        return float((np.logaddexp(0, z) - targets * z).mean()), scaled @ (expit(z) - targets) / len(z)

    share = targets.mean()
    start = np.append(widths[:, 0], np.log(share / (1 - share)))  # slopes of 1
    bounds = [(FLATTEST * float(width), STEEPEST * float(width)) for width in widths[:, 0]] + [(None, None)]
    done = minimize(
        loss,
        start,
        jac=True,
        method="L-BFGS-B",
        bounds=bounds,
        options={"ftol": 1e-15, "gtol": 1e-9, "maxiter": 2000},
    )
    slopes = np.clip(done.x[:-1] / widths[:, 0], FLATTEST, STEEPEST)
    c = float(done.x[-1] - slopes @ means[:, 0])
    promise(np.isfinite([*slopes, c]).all(), "a calibration map that is not finite")
    return CalibrationMap(float(slopes[0]), float(slopes[-1]), c)


def smoothed(y: NDArray[Any]) -> Floats:
    """(n,) 0/1 -> Platt's targets."""
    positives = int((np.asarray(y) == 1).sum())
    high, low = (positives + 1) / (positives + 2), 1 / (len(y) - positives + 2)
    return np.where(np.asarray(y) == 1, high, low)
