"""A difference, its interval and the verdict on it -> one plain sentence.

In    Estimate of B's figure less A's; Verdict.
Out   text that says no more than the interval does: one that holds 0 shows neither a difference nor that
      there is none (Altman & Bland, "Absence of evidence is not evidence of absence", BMJ 311, 1995, 485).
"""

from math import isnan

from cxrscore.statistics.estimates import Estimate
from cxrscore.statistics.verdicts import MOST, Verdict

DIGITS = 4


def sentence(
    what: str, difference: Estimate, verdict: Verdict, *, unit: str, family: int = 1, why: str = ""
) -> str:
    """`unit`: patients or images. `family`: how many figures the verdict was given together with. `why`
    there is no interval.
    """
    if isnan(difference.low):
        return f"{what}: cannot tell; there is no interval ({why})."
    ends = f"{_signed(difference.low)} to {_signed(difference.high)}"
    if verdict.word != "cannot tell":
        return f"{what}: B is {verdict.word} than A, by {abs(difference.value):.{DIGITS}f} (interval {ends})."
    if difference.low == difference.high == 0:
        return f"{what}: cannot tell; the figures of A and B are the same in every resample."
    if verdict.seen:
        return (
            f"{what}: cannot tell; {verdict.seen} is higher, by {abs(difference.value):.{DIGITS}f} (interval "
            f"{ends}), but its models have seen other images of the patients whom they score."
        )
    needed = _needed(difference, verdict, unit)
    if verdict.chance:
        return (
            f"{what}: cannot tell; the interval ({ends}) leaves out 0, but of {family} that are looked at "
            f"together, one may by chance. {needed}"
        )
    return f"{what}: cannot tell whether B is better or worse than A; the interval ({ends}) holds 0. {needed}"


def _needed(difference: Estimate, verdict: Verdict, unit: str) -> str:
    if not difference.value:
        return f"The difference that was found is 0: how many {unit} would show one cannot be said."
    size = f"a difference of {abs(difference.value):.{DIGITS}f}"
    if verdict.more is None:
        return f"To tell {size}, more than {MOST} times as many {unit} would be needed."
    return f"To tell {size}, at least about {verdict.more:,} more {unit} would be needed."


def _signed(value: float) -> str:
    return f"{value:+.{DIGITS}f}"
