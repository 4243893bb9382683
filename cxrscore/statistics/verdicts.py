"""Differences with their intervals -> what may be said: better, worse, the same, or cannot tell, and then how
many more patients it would take.

In    differences with 95 % intervals, all of one family: looked at together, so chance has as many tries.
Out   Verdict of each. Where nothing differs, at most 5 % of samples give a family a "better" or "worse".
Source: a p-value from an interval, Altman & Bland, BMJ 343, 2011, d2304, with the Student's t that the
interval was made with in place of the normal distribution: of 20 degrees of freedom, what the normal calls
.05 / 14 is .0056. A family: Holm, "A simple sequentially rejective multiple test procedure", Scandinavian
Journal of Statistics 6, 1979. Patients: the usual (quantile of 1 - alpha / 2 + quantile of power)^2 variance
/ difference^2, for two areas in Hajian-Tilaki, Journal of Biomedical Informatics 48, 2014, with the variance
as observed: it falls with the number of patients, with which the degrees of freedom grow.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from cxrscore.statistics.estimates import Estimate
from cxrscore.statistics.intervals import quantile, tail

ALPHA = 0.05  # of a family
POWER = 0.8  # the chance to tell the difference with as many patients as are said to be needed
MOST = 100  # times the patients there are; an answer beyond that helps nobody
DIGITS = 2  # of a number of patients, which is a guess
ROUNDS = 20  # each brings a number of patients at least four times nearer to the one that solves for itself
Word = Literal["better", "worse", "same", "cannot tell", "no interval"]
Better = Literal["higher", "lower"]
Seen = Literal["", "A", "B"]


@dataclass(frozen=True)
class Verdict:
    """`chance`: an interval that leaves out 0, as that of one among so many may by chance. `more`: patients,
    where the verdict is "cannot tell" and they can be counted. `seen`: the side that is higher, and of which
    nobody knows how much of it comes from models that have seen other images of the patients they score.
    """

    word: Word
    chance: bool = False
    more: int | None = None
    seen: Seen = ""

    def unless(self, seen: Seen) -> "Verdict":
        """The same, unless the side that would be the better one is `seen`."""
        if (seen, self.word) in {("A", "worse"), ("B", "better")}:
            return Verdict("cannot tell", seen=seen)
        return self


def verdicts(family: Sequence[Estimate], *, patients: int, better: Better = "higher") -> list[Verdict]:
    """Of differences of as many `patients` in a figure of which more, or less, is `better`. Those without an
    interval are not counted in the family.
    """
    known = [i for i, one in enumerate(family) if not math.isnan(one.low)]
    adjusted = dict(zip(known, holm([p_value(family[i]) for i in known]), strict=True))
    words = [_word(one, adjusted.get(i, 1.0), better) for i, one in enumerate(family)]
    untold = sum(words[i] == "cannot tell" for i in known)
    found = []
    for one, word in zip(family, words, strict=True):
        if word != "cannot tell":
            found.append(Verdict(word))
        else:
            more = more_patients(one, patients=patients, alpha=ALPHA / untold)
            found.append(Verdict(word, chance=one.low > 0 or one.high < 0, more=more))
    return found


def p_value(one: Estimate) -> float:
    """Two-sided, from a 95 % interval."""
    error = _standard_error(one)
    if not error:
        return 0.0 if one.value else 1.0
    return tail(abs(one.value) / error, one.degrees)


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjusted p-values, in the order given: of the n, the k-th smallest times n - k + 1, and no less than
    those before it.
    """
    found, so_far = [0.0] * len(p_values), 0.0
    for k, i in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        so_far = max(so_far, min(1.0, (len(p_values) - k) * p_values[i]))
        found[i] = so_far
    return found


def more_patients(one: Estimate, *, patients: int, alpha: float) -> int | None:
    """How many to add to `patients`, rounded up to two digits, so that a true difference of this size shows
    at `alpha` with a chance of POWER; None where there is no difference, or it would take MOST times as many.
    """
    error = _standard_error(one)
    if not one.value or not error:
        return None
    times = 1.0  # as many patients as there are
    for _ in range(ROUNDS):
        degrees = one.degrees * times
        wanted = quantile(1 - alpha / 2, degrees) + quantile(POWER, degrees)
        times = (wanted * error / abs(one.value)) ** 2
    if times > MOST:
        return None
    more = max(1, math.ceil(patients * (times - 1)))
    unit: int = 10 ** max(0, len(str(more)) - DIGITS)
    return -(-more // unit) * unit


def _standard_error(one: Estimate) -> float:
    return (one.high - one.low) / (2 * quantile(0.975, one.degrees))


def _word(one: Estimate, adjusted: float, better: Better) -> Word:
    if math.isnan(one.low):
        return "no interval"
    if one.value == one.low == one.high == 0:
        return "same"
    if adjusted > ALPHA or one.low <= 0 <= one.high:
        return "cannot tell"
    return "better" if (one.low > 0) == (better == "higher") else "worse"
