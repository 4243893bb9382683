"""Progress for a person: a live bar on a terminal, plain lines every few seconds elsewhere, on stderr."""

import sys
import time
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

QUIET_S = 10.0  # between plain progress lines


class Terminal:
    """The Progress of the door. Where stderr is no terminal it writes plain lines: logs stay readable."""

    def __init__(self) -> None:
        from rich.console import Console

        console = Console(stderr=True, highlight=False)
        self.bar = _Bar(console) if console.is_terminal else None
        self.what, self.total, self.done = "", 0, 0
        self.started = self.told = 0.0

    def start(self, what: str, total: int) -> None:
        self.what, self.total, self.done = what, total, 0
        self.started = self.told = time.monotonic()
        if self.bar:
            self.bar.start(what, total)

    def advance(self, steps: int = 1, note: str = "") -> None:
        self.done += steps
        now = time.monotonic()
        rate = self.done / max(now - self.started, 1e-9)
        if self.bar:
            self.bar.advance(steps, f"{rate:.1f}/s  {note}")
        elif now - self.told >= QUIET_S:
            self.told = now
            left_s = (self.total - self.done) / rate
            self.say(
                f"{self.what}: {self.done:,} of {self.total:,}, {rate:.1f}/s, {left_s:.0f} s left; {note}"
            )

    def say(self, text: str) -> None:
        if self.bar:
            self.bar.say(text)
        else:
            with suppress(OSError, AttributeError):  # stderr may be closed: the work goes on
                sys.stderr.write(text + "\n")
                sys.stderr.flush()

    def close(self) -> None:
        if self.bar:
            self.bar.close()


class _Bar:
    """One live bar for the work under way; it leaves nothing behind."""

    def __init__(self, console: "Console") -> None:
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        name, note = TextColumn("{task.description}"), TextColumn("{task.fields[note]}")
        columns = (name, BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), note)
        self.progress = Progress(*columns, console=console, transient=True)
        self.task = self.progress.add_task("", total=0, visible=False, note="")

    def start(self, what: str, total: int) -> None:
        self.progress.start()
        self.progress.reset(self.task, total=total, description=what, visible=True, note="")

    def advance(self, steps: int, note: str) -> None:
        self.progress.update(self.task, advance=steps, note=note)

    def say(self, text: str) -> None:
        self.progress.console.print(text, markup=False)

    def close(self) -> None:
        self.progress.stop()
