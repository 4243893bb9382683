"""For a person at a terminal: progress as a live bar (elsewhere plain lines every few seconds) on stderr, and
results as tables on stdout.
"""

import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from cxrscore.text_table import Block, TextTable, column_widths

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

GAP = 1  # between the columns of a table
QUIET_S = 10.0  # between plain progress lines


def draw(blocks: Sequence[Block], console: "Console | None" = None) -> None:
    """On stdout, unless `console` is another place. Nothing is cut: a long cell is folded, and a table of
    more columns than fit is drawn in parts that all begin with its first column.
    """
    from rich.console import Console
    from rich.text import Text

    console = console or Console(highlight=False)
    for block in blocks:
        if isinstance(block, str):
            console.print(Text(block, overflow="fold"))  # a Text: brackets in a name are no markup
        else:
            for columns in _parts(block, console.width):
                console.print(_drawn(block, columns))


def _parts(table: TextTable, width: int) -> list[list[int]]:
    """The columns after the first, divided so that no number of a headed table is folded."""
    if not table.headed:  # beside a name and a number there is at most a remark, which may be folded
        return [list(range(1, max(map(len, table.rows), default=1)))]
    first, *others = column_widths(table.rows[1:])
    left = width - min(first, width // 2)
    parts, used = [[1]], others[0]
    for column, needed in enumerate(others[1:], start=2):
        used += needed + GAP
        if used + GAP > left:
            parts, used = [*parts, []], needed
        parts[-1].append(column)
    return parts


def _drawn(table: TextTable, columns: Sequence[int]) -> "Table":
    from rich import box
    from rich.table import Table
    from rich.text import Text

    rows = [[row[j] if j < len(row) else "" for j in (0, *columns)] for row in table.rows]
    head, *body = rows if table.headed else [[""] * (1 + len(columns)), *rows]
    drawn = Table(box=box.SIMPLE_HEAD, show_edge=False, show_header=table.headed, padding=0)
    drawn.add_column(Text(head[0]), overflow="fold")
    for name, cells in zip(head[1:], zip(*(row[1:] for row in body), strict=True), strict=True):
        least = max(map(len, cells)) if table.headed else None
        drawn.add_column(Text(name), justify="right", overflow="fold", min_width=least)
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
