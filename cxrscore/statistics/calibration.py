"""Probabilities and truth of one finding -> how far apart they are: Brier score, calibration error, the
intercept and slope of recalibration.

In    y, mask and scores, (n,) each; scores are probabilities.
Out   figures that can be resampled. Intercept and slope are NaN where no finite one fits best: with a single
      class; the slope also where a threshold separates the classes.
Source: Brier, Monthly Weather Review 78, 1950. Calibration error: Guo, Pleiss, Sun & Weinberger, "On
calibration of modern neural networks", ICML 2017 (ECE), with their 15 bins of equal width, of one finding's
probability instead of the likeliest class's. It is biased upwards: with few images in a bin, noise counts
as error. Intercept and slope: Cox, Biometrika 45, 1958, as defined by Van Calster et al., "Calibration: the
Achilles heel of predictive analytics", BMC Medicine 17, 2019. Right are 0 and 1; a slope below 1 is
overconfidence.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from cxrscore.statistics.roc_area import Floats, quotient
from cxrscore.statistics.weighted_ratio import Ratio, mean_of

BINS = 15
CLIP = 1e-7  # the logit of 0 and 1 is infinite; the last float32 before 1 is 1 - 6e-8
STEPS = 50  # of Newton; from the fit of all images it takes 3 or 4
CLOSE = 1e-5  # of a step; what is left is of the order of its square
FLAT = 1e-8  # of the weight, added to the curvature: where all probabilities are near 0 and 1 it rounds to 0
LARGEST = 4.0  # step, in logits, or logits per standard deviation of them; a longer one may overshoot


def brier(y: np.ndarray, mask: np.ndarray, scores: np.ndarray) -> Ratio:
    """The mean of (probability - truth) squared."""
    return mean_of((scores.astype(float) - y) ** 2, mask)


@dataclass(frozen=True)
class Binned:
    """Images by bin of their probability: row, truth less probability, and where each bin begins."""

    rows: NDArray[np.int64]
    residual: Floats
    starts: NDArray[np.int64]

    def values(self, weights: Floats) -> Floats:
        """(n, R) -> (R,) sum over bins of |sum of residuals|, by the number of images."""
        mine = weights[self.rows]
        gaps = np.add.reduceat(self.residual[:, None] * mine, self.starts, axis=0)
        return quotient(np.abs(gaps).sum(0), mine.sum(0))


def calibration_error(y: np.ndarray, mask: np.ndarray, scores: np.ndarray) -> Binned:
    """Bin m of M holds probabilities above (m - 1) / M up to m / M, the first one 0 as well."""
    rows = np.flatnonzero(mask)
    probs = scores[rows].astype(float)
    bins = np.clip(np.ceil(probs * BINS) - 1, 0, BINS - 1).astype(np.int64)
    order = np.argsort(bins, kind="stable")
    starts = np.flatnonzero(np.diff(bins[order], prepend=-1))
    return Binned(rows[order], (y[rows] - probs)[order], starts)


@dataclass(frozen=True)
class Recalibration:
    """The best a, and b where it is free, of logit P(y = 1) = a + b x. Images by rising x, the logit of the
    score, as it is or scaled to mean 0 and standard deviation 1. `start`: a and b to begin with.
    """

    rows: NDArray[np.int64]
    x: Floats
    y: NDArray[np.bool_]
    free: bool
    start: tuple[float, float]
    scale: float = 1.0

    def values(self, weights: Floats) -> Floats:
        """(n, R) -> (R,) b by the logit where it is free, and else a."""
        a, b = self.fitted(weights)
        found: Floats = b / self.scale if self.free else a
        return found

    def fitted(self, weights: Floats) -> Floats:
        """(n, R) -> (2, R) a and b."""
        mine = weights[self.rows]
        found = np.full((2, weights.shape[1]), np.nan)
        fits = self._fits(mine)
        if fits.any():
            found[:, fits] = self._fit(mine[:, fits])
        return found

    def _fits(self, mine: Floats) -> NDArray[np.bool_]:
        """(R,) whether the best is finite: both classes are there and, where b is free, overlap."""
        found: NDArray[np.bool_] = np.minimum(mine[self.y].sum(0), mine[~self.y].sum(0)) > 0
        if self.free and found.any():
            (low, high), (other_low, other_high) = (self._ends(mine, one) for one in (self.y, ~self.y))
            found &= (low < other_high) & (other_low < high)
        return found

    def _ends(self, mine: Floats, one: NDArray[np.bool_]) -> tuple[Floats, Floats]:
        """(R,) the lowest and highest x of a class; anything where it has no weight."""
        present, x = mine[one] > 0, self.x[one]
        first, last = present.argmax(0), len(present) - 1 - present[::-1].argmax(0)
        return x[first], x[last]

    def _fit(self, mine: Floats) -> Floats:
        """Newton on the likelihood, which is concave; a step that overshoots is halved."""
        shown = mine[self.y]
        goal = np.stack([shown.sum(0), self.x[self.y] @ shown])
        ab: Floats = np.repeat(np.array(self.start)[:, None], mine.shape[1], axis=1)
        step, gain = np.zeros_like(ab), np.zeros(mine.shape[1])
        for _ in range(STEPS):
            gradient, newton = self._newton(ab, mine, goal)
            over = _far(step) & ((gradient * step).sum(0) < -gain / 2)
            step = np.where(over, -step / 2, newton)
            ab += step
            if not (_far(step) | over).any():
                break
            step[:, over] *= -1  # what is left of it
            gain = np.where(over, gain / 2, (gradient * step).sum(0))
        ab[:, _far(step)] = np.nan
        return ab

    def _newton(self, ab: Floats, mine: Floats, goal: Floats) -> tuple[Floats, Floats]:
        """(2, R) the likelihood's gradient, and the step to where its square has its maximum."""
        p = _sigmoid(self.x[:, None] * ab[1] + ab[0])
        mine_p = mine * p
        g0, g1 = goal - np.stack([mine_p.sum(0), self.x @ mine_p])
        np.subtract(1, p, out=p)
        mine_p *= p
        least = FLAT * mine.sum(0)
        h0, h1, h2 = mine_p.sum(0) + least, self.x @ mine_p, self.x * self.x @ mine_p + least
        if not self.free:
            g1, h1 = 0 * g1, 0 * h1
        step = np.stack([h2 * g0 - h1 * g1, h0 * g1 - h1 * g0]) / (h0 * h2 - h1 * h1)
        return np.stack([g0, g1]), step / np.maximum(1, np.abs(step).max(0) / LARGEST)


def calibration_intercept(y: np.ndarray, mask: np.ndarray, scores: np.ndarray) -> Recalibration:
    """With b = 1, of the logits as they are."""
    return _started(Recalibration(*_by_logit(y, mask, scores), free=False, start=(0.0, 1.0)), len(y))


def calibration_slope(y: np.ndarray, mask: np.ndarray, scores: np.ndarray) -> Recalibration:
    rows, logits, shown = _by_logit(y, mask, scores)
    centre, scale = (float(logits.mean()), float(logits.std())) if len(logits) else (0.0, 0.0)
    scaled = (logits - centre) / (scale or 1.0)
    return _started(Recalibration(rows, scaled, shown, True, (0.0, 0.0), scale or 1.0), len(y))


def _started(figure: Recalibration, images: int) -> Recalibration:
    """From the fit of all images the resamples need fewer steps."""
    a, b = figure.fitted(np.ones((images, 1)))[:, 0]
    return figure if np.isnan(a) else replace(figure, start=(float(a), float(b)))


def _by_logit(
    y: np.ndarray, mask: np.ndarray, scores: np.ndarray
) -> tuple[NDArray[np.int64], Floats, NDArray[np.bool_]]:
    rows = np.flatnonzero(mask)
    rows = rows[np.argsort(scores[rows], kind="stable")]
    probs = np.clip(scores[rows].astype(float), CLIP, 1 - CLIP)
    return rows, np.log(probs) - np.log1p(-probs), y[rows] == 1


def _far(step: Floats) -> NDArray[np.bool_]:
    """(2, R) -> (R,)."""
    found: NDArray[np.bool_] = np.abs(step).max(0) >= CLOSE
    return found


def _sigmoid(logits: Floats) -> Floats:
    """In place."""
    np.negative(np.clip(logits, -700, 700, out=logits), out=logits)
    np.exp(logits, out=logits)
    logits += 1
    return np.reciprocal(logits, out=logits)
