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
STEPS = 50  # of Newton; usual are 3 or 4
CLOSE = 1e-3  # of a step; what is left is of the order of its square
GROUPS = 200
IN_CACHE = 131_072  # images by resamples
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
        """(n, R) -> (2, R) a and b, a few resamples at a time."""
        step = max(1, IN_CACHE // max(1, len(self.rows)))
        parts = range(0, weights.shape[1], step)
        return np.concatenate([self._fitted(weights[:, at : at + step]) for at in parts], axis=1)

    def _fitted(self, weights: Floats) -> Floats:
        mine = weights[self.rows]
        found = np.full((2, weights.shape[1]), np.nan)
        fits = self._fits(mine)
        if fits.any():
            found[:, fits] = self._fit(mine[:, fits])
        return found

    def _fits(self, mine: Floats) -> NDArray[np.bool_]:
        """(R,) whether the best is finite: both classes are there and, where b is free, overlap."""
        if self.y.all() or not self.y.any():
            return np.zeros(mine.shape[1], dtype=bool)
        present = mine > 0
        (low, high, there), (other_low, other_high, others_there) = (
            _ends(present[one], self.x[one]) for one in (self.y, ~self.y)
        )
        overlap = (low < other_high) & (other_low < high) if self.free else True
        return there & others_there & overlap

    def _fit(self, mine: Floats) -> Floats:
        """First with the images of each of GROUPS neighbourhoods at their mean x; from there one exact step
        is most often enough.
        """
        x = self.x[:, None]
        goal = np.stack([self.y, self.y * self.x]) @ mine
        starts = np.unique(np.linspace(0, len(x), GROUPS, endpoint=False).astype(np.int64))
        weight, sums = (np.add.reduceat(values, starts, axis=0) for values in (mine, mine * x))
        first = np.repeat(np.array(self.start)[:, None], mine.shape[1], axis=1)
        near = _climb(first, sums / np.maximum(weight, 1e-300), weight, goal, free=self.free)
        return _climb(np.where(np.isnan(near), first, near), x, mine, goal, free=self.free)


def _ends(present: NDArray[np.bool_], x: Floats) -> tuple[Floats, Floats, NDArray[np.bool_]]:
    """(m, R) which images of a class are there, by rising x (m,) -> (R,) the lowest and the highest x, and
    whether any is there.
    """
    first, last = present.argmax(0), len(present) - 1 - present[::-1].argmax(0)
    there: NDArray[np.bool_] = present[first, np.arange(len(first))]
    return x[first], x[last], there


def _climb(ab: Floats, x: Floats, weight: Floats, goal: Floats, *, free: bool) -> Floats:
    """Newton on the likelihood, which is concave; a step that overshoots is halved. (2, R) from where; x and
    weight (m, R); (2, R) the sums of y and x y, by weight -> (2, R), NaN where no step becomes small.
    """
    step, gain = np.zeros_like(ab), np.zeros(ab.shape[1])
    for _ in range(STEPS):
        gradient, newton = _newton(ab, x, weight, goal, free=free)
        over = _far(step) & ((gradient * step).sum(0) < -gain / 2)
        step = np.where(over, -step / 2, newton)
        ab = ab + step
        if not (_far(step) | over).any():
            break
        step[:, over] *= -1  # what is left of it
        gain = np.where(over, gain / 2, (gradient * step).sum(0))
    return np.where(_far(step), np.nan, ab)


def _newton(ab: Floats, x: Floats, weight: Floats, goal: Floats, *, free: bool) -> tuple[Floats, Floats]:
    """(2, R) the likelihood's gradient, and the step to the top of the parabola that fits there."""
    from scipy.special import expit  # takes a moment

    p = expit(x * ab[1] + ab[0])
    part = weight * p
    expected = np.stack([part.sum(0), (x * part).sum(0)])
    np.subtract(1, p, out=p)
    part *= p
    least = FLAT * weight.sum(0)
    h0 = part.sum(0) + least
    part *= x
    h1 = part.sum(0)
    part *= x
    h2 = part.sum(0) + least
    g0, g1 = goal - expected
    if not free:
        g1, h1 = 0 * g1, 0 * h1
    step = np.stack([h2 * g0 - h1 * g1, h0 * g1 - h1 * g0]) / (h0 * h2 - h1 * h1)
    return np.stack([g0, g1]), step / np.maximum(1, np.abs(step).max(0) / LARGEST)


def _far(step: Floats) -> NDArray[np.bool_]:
    """(2, R) -> (R,)."""
    found: NDArray[np.bool_] = np.abs(step).max(0) >= CLOSE
    return found


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
