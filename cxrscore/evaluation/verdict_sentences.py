"""A difference, its interval and the verdict on it -> one plain sentence.

In    Estimate of B's figure less A's; Verdict.
Out   text that says no more than the interval does: one that holds 0 shows neither a difference nor that
      there is none (Altman & Bland, "Absence of evidence is not evidence of absence", BMJ 311, 1995, 485).
"""

from cxrscore.statistics.estimates import Estimate
from cxrscore.statistics.verdicts import MOST, Verdict

DIGITS = 5  # of a number in JSON
SHOWN_DIGITS = 4


def shown(value: float, *, sign: str = "") -> str:
    """A number as tables and sentences have it, by way of the one in JSON, of which tables are made: without
    it the two round 0.004049 to 0.0041 and to 0.0040. `sign` "+": also before what is no less than 0.
    """
    return f"{round(float(value), DIGITS):{sign}.{SHOWN_DIGITS}f}"


def sentence(
    what: str, difference: Estimate, verdict: Verdict, *, unit: str, family: int = 1, why: str = ""
) -> str:
    """`unit`: patients or images. `family`: how many figures the verdict was given together with. `why`
    there is no interval.
    """
    if verdict.word == "no interval":
        return f"{what}: cannot tell; there is no interval ({why})."
    if verdict.word == "same":
        return f"{what}: the figures of A and B are the same in every resample."
    size = shown(abs(difference.value))
    ends = f"{shown(difference.low, sign='+')} to {shown(difference.high, sign='+')}"
    if verdict.word != "cannot tell":
        return f"{what}: B is {verdict.word} than A, by {size} (interval {ends})."
    if verdict.seen:
        side = "higher" if (difference.value > 0) == (verdict.seen == "B") else "lower"
        return (
            f"{what}: cannot tell; {verdict.seen} is {side}, by {size} (interval {ends}), but its models "
            "have seen other images of the patients whom they score."
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
    size = f"a difference of {shown(abs(difference.value))}"
    if verdict.more is None:
        return f"To tell {size}, more than {MOST} times as many {unit} would be needed."
    return f"To tell {size}, at least about {verdict.more:,} more {unit} would be needed."
