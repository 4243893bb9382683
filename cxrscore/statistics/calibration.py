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
CLOSE = 1e-5  # of a step; what is left is of the order of its square
WIDTH = 0.005  # of a group, in standard deviations of the logits
GROUPS = 4000  # more different logits than this are put into groups
ENDS = 64  # images of a class, from either end, among which most resamples have its first and its last
IN_CACHE = 131_072  # groups by resamples
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
class Groups:
    """Images of neighbouring logits, (K,): a middle of each group and, in R resamples, (K, R) the sums of the
    weights, of those times the distance from the middle, and of those times its square.
    """

    middle: Floats
    weight: Floats
    first: Floats
    second: Floats

    def some(self, of: slice | NDArray[np.bool_]) -> "Groups":
        """Those resamples alone."""
        return Groups(self.middle, *(sums[:, of] for sums in (self.weight, self.first, self.second)))


@dataclass(frozen=True)
class Recalibration:
    """The best a with b = 1, and the best b with its own a, of logit P(y = 1) = a + b logit. `x` (n,): the
    logits, from `centre` on and by `scale`, 0 where masked; `group` (n,) where each is, masked ones behind
    the last; `apart` (n,) its distance from the group's middle. `shown`, `others`: rows by rising x.
    """

    x: Floats
    shown: NDArray[np.int64]
    others: NDArray[np.int64]
    group: NDArray[np.int64]
    middle: Floats
    apart: Floats
    centre: float
    scale: float
    start: tuple[float, float, float] = (0.0, 0.0, 0.0)  # a of b = 1; a and b, both of x

    def values(self, weights: Floats) -> Floats:
        """(n, R) -> (2, R) a and b."""
        alone, _, slope = self.fitted(weights)
        return np.stack([alone - self.centre, slope / self.scale])

    def fitted(self, weights: Floats) -> Floats:
        """(n, R) -> (3, R) as `start`, a few resamples at a time; NaN where the best is not finite."""
        step = max(1, IN_CACHE // (len(self.middle) + 1), IN_CACHE // max(1, len(self.x)))
        parts = range(0, weights.shape[1], step)
        return np.concatenate([self._fitted(weights[:, at : at + step]) for at in parts], axis=1)

    def _fitted(self, weights: Floats) -> Floats:
        found = np.full((3, weights.shape[1]), np.nan)
        if not len(self.shown) or not len(self.others):
            return found
        (low, high, there), (other_low, other_high, others_there) = (
            _ends(weights, self.x, rows) for rows in (self.shown, self.others)
        )
        both = there & others_there
        if not both.any():
            return found
        mine = weights[self.shown]
        goal, groups = np.stack([mine.sum(0), self.x[self.shown] @ mine]), self._groups(weights)
        fixed, free = np.array(self.start)[:1], np.array(self.start)[1:]
        first = np.stack([np.broadcast_to(fixed, both.shape), np.full(both.shape, self.scale)])
        found[0, both] = _climb(first[:, both], groups.some(both), goal[:, both], free=False)[0]
        overlap = both & (low < other_high) & (other_low < high)
        if overlap.any():
            first = np.repeat(free[:, None], int(overlap.sum()), axis=1)
            found[1:, overlap] = _climb(first, groups.some(overlap), goal[:, overlap], free=True)
        return found

    def _groups(self, weights: Floats) -> Groups:
        width, count = len(self.middle) + 1, weights.shape[1]
        boxes = (self.group + width * np.arange(count)[:, None]).ravel()
        mine = np.ascontiguousarray(weights.T)
        sums: list[Floats] = []
        for power in range(3):
            if power and not self.apart.any():
                sums.append(np.zeros_like(sums[0]))
                continue
            mine = mine * self.apart if power else mine
            counts = np.bincount(boxes, mine.ravel(), minlength=width * count)
            sums.append(counts.astype(float, copy=False).reshape(count, width)[:, :-1].T)
        return Groups(self.middle, *sums)


def _ends(weights: Floats, x: Floats, rows: NDArray[np.int64]) -> tuple[Floats, Floats, NDArray[np.bool_]]:
    """(n, R), (n,) and a class's rows, by rising x -> (R,) the lowest and the highest x in each resample, and
    whether any is there.
    """
    low, high = rows[:ENDS], rows[-ENDS:]
    if not all((weights[side] > 0).any(0).all() for side in (low, high)):
        low = high = rows
    there = np.asarray((weights[low] > 0).any(0))
    return _first(weights, x, low), _first(weights, x, high[::-1]), there


def _first(weights: Floats, x: Floats, rows: NDArray[np.int64]) -> Floats:
    found: Floats = x[rows[(weights[rows] > 0).argmax(0)]]
    return found


def _climb(ab: Floats, groups: Groups, goal: Floats, *, free: bool) -> Floats:
    """Newton on the likelihood, which is concave; a step that overshoots is halved. (2, R) from where; (2, R)
    the sums of y and x y, by weight -> (2, R), NaN where no step becomes small.
    """
    step, gain = np.zeros_like(ab), np.zeros(ab.shape[1])
    for _ in range(STEPS):
        gradient, newton = _newton(ab, groups, goal, free=free)
        over = _far(step) & ((gradient * step).sum(0) < -gain / 2)
        step = np.where(over, -step / 2, newton)
        ab = ab + step
        if not (_far(step) | over).any():
            break
        step[:, over] *= -1  # what is left of it
        gain = np.where(over, gain / 2, (gradient * step).sum(0))
    return np.where(_far(step), np.nan, ab)


def _newton(ab: Floats, groups: Groups, goal: Floats, *, free: bool) -> tuple[Floats, Floats]:
    """(2, R) the likelihood's gradient, and the step to the top of the parabola that fits there. In a group
    the expected y is a parabola, too: its curve there differs by less than 1e-7.
    """
    from scipy.special import expit  # takes a moment

    c, b, weight, first, second = groups.middle[:, None], ab[1], groups.weight, groups.first, groups.second
    p = expit(c * b + ab[0])
    slope = p * (1 - p)
    expected = weight * p + slope * (b * first + (0.5 - p) * b * b * second)
    g0 = goal[0] - expected.sum(0)
    g1 = goal[1] - (c * expected + first * p + b * second * slope).sum(0)
    least = FLAT * weight.sum(0)
    h0 = (weight * slope).sum(0) + least
    h1 = (slope * (c * weight + first)).sum(0)
    h2 = (slope * (c * (c * weight + 2 * first) + second)).sum(0) + least
    if not free:
        g1, h1 = 0 * g1, 0 * h1
    step = np.stack([h2 * g0 - h1 * g1, h0 * g1 - h1 * g0]) / (h0 * h2 - h1 * h1)
    return np.stack([g0, g1]), step / np.maximum(1, np.abs(step).max(0) / LARGEST)


def _far(step: Floats) -> NDArray[np.bool_]:
    """(2, R) -> (R,)."""
    found: NDArray[np.bool_] = np.abs(step).max(0) >= CLOSE
    return found


def recalibration(y: np.ndarray, mask: np.ndarray, scores: np.ndarray) -> Recalibration:
    probs = np.clip(scores.astype(float), CLIP, 1 - CLIP)
    logits = np.log(probs) - np.log1p(-probs)
    known = logits[mask]
    centre, scale = (float(known.mean()), float(known.std()) or 1.0) if len(known) else (0.0, 1.0)
    x = np.where(mask, (logits - centre) / scale, 0.0)
    order = np.argsort(x, kind="stable")
    shown, others = (order[(mask & (y == value))[order]] for value in (1, 0))
    group, middle = _grouped(x[mask])
    of_image = np.full(len(x), len(middle))
    of_image[mask] = group
    apart = np.where(mask, x - np.append(middle, 0.0)[of_image], 0.0)
    figure = Recalibration(x, shown, others, of_image, middle, apart, centre, scale, (centre, 0.0, 0.0))
    best = figure.fitted(np.ones((len(y), 1)))[:, 0]  # from there resamples need fewer steps
    a, b, c = np.where(np.isnan(best), figure.start, best).tolist()
    return replace(figure, start=(a, b, c))


def _grouped(x: Floats) -> tuple[NDArray[np.int64], Floats]:
    """(n,) -> (n,) each one's group, and (K,) the groups' middles. Of few different numbers each is one."""
    levels, group = np.unique(x, return_inverse=True)
    if len(levels) <= GROUPS:
        return group.astype(np.int64), levels
    cells, group = np.unique(np.floor(x / WIDTH), return_inverse=True)
    return group.astype(np.int64), (cells + 0.5) * WIDTH
