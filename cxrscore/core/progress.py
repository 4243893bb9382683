"""How work in progress is told: stages call this, the door decides what a person sees."""

from typing import Protocol


class Progress(Protocol):
    def start(self, what: str, total: int) -> None:
        """A new piece of work of `total` steps begins."""

    def advance(self, steps: int = 1, note: str = "") -> None:
        """`steps` more are done; `note` is a short state such as a loss."""

    def say(self, text: str) -> None:
        """A line that stays."""


class Silent:
    """Tells nobody: for callers that only want the result."""

    def start(self, what: str, total: int) -> None: ...

    def advance(self, steps: int = 1, note: str = "") -> None: ...

    def say(self, text: str) -> None: ...
