"""For a person at a terminal: progress as a live bar (elsewhere plain lines every few seconds) on stderr, and
results as tables on stdout.
"""

import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from cxrscore.text_table import Block, TextTable

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

QUIET_S = 10.0  # between plain progress lines


def draw(blocks: Sequence[Block], console: "Console | None" = None) -> None:
    """On stdout, unless `console` is another place. What is too wide is folded, not cut."""
    from rich.console import Console
    from rich.text import Text

    console = console or Console(highlight=False)
    for block in blocks:  # a Text: brackets in a name are no markup
        console.print(Text(block, overflow="fold") if isinstance(block, str) else _table(block))


def _table(table: TextTable) -> "Table":
    from rich import box
    from rich.table import Table
    from rich.text import Text

    head, *body = table.rows if table.headed else ([""] * max(map(len, table.rows), default=0), *table.rows)
    drawn = Table(box=box.SIMPLE_HEAD, show_edge=False, show_header=table.headed, pad_edge=False)
    for i, name in enumerate(head):
        drawn.add_column(Text(name), justify="right" if i else "left", overflow="fold")
    for row in body:
        drawn.add_row(*map(Text, row))
    return drawn


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
