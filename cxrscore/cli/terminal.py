"""For a person at a terminal: progress as a live bar (elsewhere a plain line now and then) on stderr, and
results as tables on stdout.

In    lines, tables, the state of the work; they may quote names of files that somebody made up to deceive.
Out   text that moves no cursor, forges no line and can be encoded: all is made `visible`. Nobody else prints.
"""

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, TextIO

from cxrscore.core.progress import QUIET_S, duration
from cxrscore.core.text_table import Block, TextTable, visible

if TYPE_CHECKING:
    from rich.console import Console, Group
    from rich.table import Table

GAP = 1  # between the columns of a table
REFRESHED = 10  # times per second, a live bar


def print_lines(*lines: str) -> None:
    """On stdout. Raises OSError."""
    _write(sys.stdout, lines)


def print_notes(*lines: str) -> None:
    """On stderr, which may be closed: the work continues, and the exit code speaks."""
    with suppress(OSError):
        _write(sys.stderr, lines)


def _write(stream: TextIO | None, lines: Sequence[str]) -> None:
    if stream is not None:  # as it is where it was closed before the start
        encoding = stream.encoding or "utf-8"
        stream.write("".join(visible(line, encoding) + "\n" for line in lines))
        stream.flush()


def notes_encoding() -> str:
    return getattr(sys.stderr, "encoding", None) or "utf-8"


def on_screen() -> bool:
    """Whether a person sees stdout at once."""
    return sys.stdout is not None and sys.stdout.isatty()


def draw(blocks: Sequence[Block], console: "Console | None" = None) -> None:
    """On stdout, unless `console` is another place. Nothing is cut: a long cell is folded, and a table of
    more columns than fit is drawn in parts that all begin with its first column. A cell beside it is folded
    only where the terminal is too narrow for it alone.
    """
    from rich.console import Console
    from rich.text import Text

    console = console or Console(highlight=False)
    for block in blocks:
        if isinstance(block, str):
            # a Text: brackets in a name are no markup
            console.print(Text(visible(block, console.encoding), overflow="fold"))
        elif block.headed:
            for part in _parts(_same_length(block, console.encoding), console.width):
                console.print(part)
        else:  # beside a name and a number there is at most a remark, which may be folded
            rows = _same_length(block, console.encoding)
            console.print(_drawn(rows, [None] * len(rows[0]), headed=False))


def _same_length(table: TextTable, encoding: str) -> list[list[str]]:
    length = max(map(len, table.rows), default=1)
    rows = [[*(visible(cell, encoding) for cell in row), *[""] * (length - len(row))] for row in table.rows]
    return rows or [[""]]


def _parts(rows: Sequence[Sequence[str]], width: int) -> Iterator["Table"]:
    """The first column beside as many others as fit, until all were drawn."""
    needed = [_needed(column) for column in zip(*rows, strict=True)]
    first = min(needed[0], width // 2)
    room = width - first - GAP
    widths = [min(one, room) for one in needed[1:]]
    waiting = list(range(len(widths)))
    while waiting or not widths:
        taken = [waiting.pop(0)] if waiting else []
        while waiting and sum(widths[j] + GAP for j in [*taken, waiting[0]]) - GAP <= room:
            taken.append(waiting.pop(0))
        picked = [[row[0], *(row[1 + j] for j in taken)] for row in rows]
        yield _drawn(picked, [first, *(widths[j] for j in taken)], headed=True)
        if not widths:
            return


def _needed(column: Sequence[str]) -> int:
    """Cells of the terminal, so that nothing below the header and no word of the header is folded."""
    from rich.cells import cell_len

    header, *cells = column
    return max(map(cell_len, [*header.split(), *cells, " "]))


def _drawn(rows: Sequence[Sequence[str]], widths: Sequence[int | None], *, headed: bool) -> "Table":
    from rich import box
    from rich.table import Table
    from rich.text import Text

    head, *body = rows if headed else [[""] * len(rows[0]), *rows]
    drawn = Table(box=box.SIMPLE_HEAD, show_edge=False, show_header=headed, padding=0)
    for j, (name, width) in enumerate(zip(head, widths, strict=True)):
        drawn.add_column(Text(name), justify="right" if j else "left", overflow="fold", width=width)
    for row in body:
        drawn.add_row(*map(Text, row))
    return drawn


class Terminal:
    """The Progress of the commands. Where stderr is no terminal it writes plain lines: logs stay readable."""

    def __init__(self) -> None:
        from rich.console import Console

        console = Console(stderr=True, highlight=False)
        self.bar = _Bar(console) if console.is_terminal else None
        self.what, self.total, self.done = "", 0, 0
        self.started = self.told = 0.0
        self.quiet_s = QUIET_S

    def start(self, what: str, total: int, *, quiet_s: float = QUIET_S) -> None:
        self.what, self.total, self.done, self.quiet_s = what, total, 0, quiet_s
        self.started = self.told = time.monotonic()
        if self.bar:
            self.bar.start(what, total)

    def advance(self, steps: int = 1, note: str = "") -> None:
        self.done += steps
        now = time.monotonic()
        rate = self.done / max(now - self.started, 1e-9)
        left = f"{duration((self.total - self.done) / max(rate, 1e-9))} left"
        if self.bar:
            self.bar.advance(steps, f"{rate:.1f}/s", left, note)
        elif now - self.told >= self.quiet_s:
            self.told = now
            self.say(f"{self.what}: {self.done:,} of {self.total:,}, {rate:.1f}/s, {left}; {note}")

    def say(self, text: str) -> None:
        if self.bar:
            self.bar.say(text)
        else:
            print_notes(text)

    def close(self) -> None:
        if self.bar:
            self.bar.close()


class _Bar:
    """One live bar for the work under way, and a line below it for the note; it leaves nothing behind."""

    def __init__(self, console: "Console") -> None:
        from rich.live import Live
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
        from rich.table import Column

        name, rate, left = (
            TextColumn(f"{{task.{field}}}", markup=False)
            for field in ("description", "fields[rate]", "fields[left]")
        )
        done = MofNCompleteColumn(table_column=Column(no_wrap=True))  # only the bar becomes narrower
        self.progress = Progress(name, BarColumn(), done, rate, left, console=console)
        self.task = self.progress.add_task("", total=0, visible=False, rate="", left="")
        self.note = ""
        self.live = Live(
            get_renderable=self._drawn, console=console, transient=True, refresh_per_second=REFRESHED
        )

    def _drawn(self) -> "Group":
        from rich.console import Group
        from rich.text import Text

        return Group(self.progress, *([Text(self.note, overflow="fold")] if self.note else []))

    def start(self, what: str, total: int) -> None:
        self.note = ""
        self.progress.reset(self.task, total=total, description=what, visible=True, rate="", left="")
        self.live.start()

    def advance(self, steps: int, rate: str, left: str, note: str) -> None:
        self.note = visible(note, self.progress.console.encoding)
        self.progress.update(self.task, advance=steps, rate=rate, left=left)

    def say(self, text: str) -> None:
        from rich.text import Text

        console = self.progress.console
        console.print(Text(visible(text, console.encoding), overflow="fold"))

    def close(self) -> None:
        self.live.stop()
