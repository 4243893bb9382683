"""Progress for a person: rich bars on a terminal, plain lines every few seconds elsewhere; always on
stderr.
"""

import sys
import time

QUIET_S = 10.0  # between plain progress lines


class Terminal:
    """The Progress of the door. Plain text where stderr is no terminal, so that logs stay readable."""

    def __init__(self) -> None:
        from rich.console import Console

        self.console = Console(stderr=True, highlight=False)
        self.bars = _Bars(self.console) if self.console.is_terminal else None
        self.what, self.total, self.done = "", 0, 0
        self.started = self.told = 0.0

    def start(self, what: str, total: int) -> None:
        self.what, self.total, self.done = what, total, 0
        self.started = self.told = time.monotonic()
        if self.bars:
            self.bars.start(what, total)

    def advance(self, steps: int = 1, note: str = "") -> None:
        self.done += steps
        if self.bars:
            self.bars.advance(steps, note)
            return
        now = time.monotonic()
        if now - self.told >= QUIET_S:
            self.told = now
            rate = self.done / (now - self.started)
            left = (self.total - self.done) / rate
            self.say(f"{self.what}: {self.done:,} of {self.total:,}, {rate:.1f}/s, {left:.0f} s left; {note}")

    def say(self, text: str) -> None:
        if self.bars:
            self.console.print(text, markup=False)
        else:
            sys.stderr.write(text + "\n")
            sys.stderr.flush()

    def close(self) -> None:
        if self.bars:
            self.bars.close()


class _Bars:
    """One live bar for the work under way."""

    def __init__(self, console: "object") -> None:
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (
            "[progress.description]{task.description}",
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
        )
        rate = TextColumn("{task.fields[rate]} {task.fields[note]}")
        self.progress = Progress(*columns, rate, console=console, transient=True)  # type: ignore[arg-type]
        self.task: int | None = None

    def start(self, what: str, total: int) -> None:
        if self.task is not None:
            self.progress.remove_task(self.task)  # type: ignore[arg-type]
        self.progress.start()
        self.task = self.progress.add_task(what, total=total, rate="", note="")

    def advance(self, steps: int, note: str) -> None:
        speed = self.progress.tasks[0].speed
        rate = f"{speed:.1f}/s" if speed else ""
        self.progress.update(self.task, advance=steps, rate=rate, note=note)  # type: ignore[arg-type]

    def close(self) -> None:
        self.progress.stop()
