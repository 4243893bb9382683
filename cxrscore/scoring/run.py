"""A run of the scorer under way: what became of its files so far, and where its time went.

In    a plan, its journal, the flag that asks to stop.
Out   Run, which counts rows as the journal takes them; UserError or Stopped where too many files fail.
"""

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from cxrscore.core.errors import Stopped, UserError, counted
from cxrscore.core.progress import Progress
from cxrscore.core.signals import Asked
from cxrscore.images.decoding.pool import may_stall
from cxrscore.scoring.faults import TOO_SLOW, Cause
from cxrscore.scoring.journal import Journal, Rows
from cxrscore.scoring.row_plan import Plan


@dataclass
class Clock:
    """Seconds that the run has waited for each kind of work: what it waits for most is what bounds it."""

    spent: dict[str, float] = field(
        default_factory=lambda: dict.fromkeys(("decode", "transfer", "compute", "write"), 0.0)
    )

    @contextmanager
    def on(self, work: str) -> Iterator[None]:
        begun = time.monotonic()
        try:
            yield
        finally:
            self.spent[work] += time.monotonic() - begun

    def bound_by(self) -> str:
        return max(self.spent, key=self.spent.__getitem__)

    def shares(self) -> str:
        total = max(sum(self.spent.values()), 1e-9)
        return ", ".join(f"{work} {seconds / total:.0%}" for work, seconds in self.spent.items())


@dataclass
class Run:
    """A run under way. `max_errors`: more quarantined files than this stop it. `slow`: position -> cause, of
    files that took too long and wait for their second try. `inputs` (F, n, m): what heads read beside the
    pixels, in the order of the plan.
    """

    plan: Plan
    journal: Journal
    asked: Asked
    progress: Progress
    fail: bool
    max_errors: int
    clock: Clock = field(default_factory=Clock)
    faults: int = 0
    slow: dict[int, Cause] = field(default_factory=dict)
    inputs: NDArray[np.float32] | None = None
    kinds: Counter[str] = field(default_factory=Counter)
    first_fault: str = ""
    exact: int = 0
    turned: int = 0
    halvings: list[int] = field(default_factory=list)

    def note(self, rows: Rows, *, tried_twice: bool = False) -> None:
        """Count what happened to rows that are in the journal."""
        self.exact += rows.exact
        self.turned += rows.turned
        self.halvings += rows.halvings
        for i, file in enumerate(rows.files, rows.start):
            if file.fault is None:
                continue
            if file.fault[:2] == TOO_SLOW and not tried_twice:
                self.slow[i] = file.fault
            else:
                self.quarantine(i, file.fault)

    def quarantine(self, i: int, cause: Cause) -> None:
        _, kind, why = cause
        self.faults += 1
        self.kinds[kind] += 1
        self.first_fault = self.first_fault or f"{self.plan.paths[i]} ({kind}: {why})"


def refuse_faults(run: Run) -> None:
    """Raises UserError for the first fault where `fail` was asked for; Stopped for too many, now or before a
    stop. Files that wait for a second try count once they are too many for a storage that answers.
    """
    if run.fail and run.faults:
        raise UserError(f"{run.first_fault}; repair or remove it; `cxrscore check` lists all such files.")
    kinds, question = run.kinds, "is this the right folder?"
    if len(run.slow) > may_stall(len(run.plan.paths)):
        kinds = run.kinds + Counter({TOO_SLOW[1]: len(run.slow)})
        question = "does the storage answer?"
    if kinds.total() + len(run.plan.faults) > run.max_errors:
        run.journal.commit()
        counts = ", ".join(f"{count:,} {kind}" for kind, count in kinds.most_common())
        raise Stopped(
            f"{counted(kinds.total(), 'file')} cannot be scored ({counts}), more than --max-errors "
            f"{run.max_errors:,} allows; {question} `cxrscore check` lists them",
            words=("--max-errors", str(len(run.plan.paths) + len(run.plan.faults))),
        )
