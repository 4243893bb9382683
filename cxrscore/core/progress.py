"""How work in progress is reported: stages call this, the command line decides what a person sees.

In    a piece of work and its steps, one after another; lines that stay.
Out   nothing; `duration` puts seconds into words.
"""

from itertools import pairwise
from typing import Protocol

QUIET_S = 30.0  # between lines of progress where no live bar is seen
UNITS = (("d", 86400), ("h", 3600), ("min", 60), ("s", 1))


def duration(seconds: float) -> str:
    """In its two largest units: 40 s, 3 min 20 s, 2 h 5 min; at least 1 s."""
    for (large, size), (small, part) in pairwise(UNITS):
        if round(seconds) >= size:
            whole, rest = divmod(round(seconds / part), size // part)
            return f"{whole} {large} {rest} {small}" if rest else f"{whole} {large}"
    return f"{max(1, round(seconds))} s"


class Progress(Protocol):
    def start(self, what: str, total: int, *, quiet_s: float = QUIET_S) -> None:
        """A new piece of work of `total` steps begins. `quiet_s`: where no live bar is seen, a line tells of
        it so often at most.
        """

    def advance(self, steps: int = 1, note: str = "") -> None:
        """`steps` more are done; `note` is a short state such as a loss."""

    def say(self, text: str) -> None:
        """A line that stays."""


class Silent:
    """Tells nobody: for callers that only want the result."""

    def start(self, what: str, total: int, *, quiet_s: float = QUIET_S) -> None: ...

    def advance(self, steps: int = 1, note: str = "") -> None: ...

    def say(self, text: str) -> None: ...
