"""The run itself: batches decoded ahead, scored on the device, kept in the journal, until all are done.

A file that took too long is no fault yet: once all have been through it is tried again, with more time, and
its row in the journal is replaced.

In    a plan, a journal that may hold its first rows already, an engine.
Out   the journal with all rows; Stopped where a signal, the device or too many faults end the run before.
"""

import time
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from cxrscore.core.errors import BrokenPromise, Stopped, UserError, promise, with_remedy
from cxrscore.core.malloc import reused_memory
from cxrscore.core.progress import Progress
from cxrscore.core.signals import Asked
from cxrscore.images.decoding.decode import Decoded
from cxrscore.images.decoding.pool import Batch, decode_batches, may_stall, once_more, second_try
from cxrscore.scoring.compute import Engine, Pending
from cxrscore.scoring.faults import TOO_SLOW, Cause, fault_of
from cxrscore.scoring.journal import File, Journal, Rows
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
    files that took too long and wait for their second try.
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


@dataclass(frozen=True)
class Reading:
    """How files become pixels, in the first try and the second."""

    size: int
    batch_size: int
    workers: int
    timeout_s: float
    bit_depth: int | None


def score_all(run: Run, engine: Engine, reading: Reading) -> None:
    """Score the files that the journal does not hold yet. On a GPU one batch is under way while the next is
    brought and the last is kept. Raises Stopped; UserError for a fault where `fail` was asked for.
    """
    whole = run.journal.done // reading.batch_size  # batches, so that a stop changes no row's company
    start = whole * reading.batch_size
    batches = decode_batches(run.plan.listing, run.plan.paths, start=start, **asdict(reading))
    under_way: deque[_UnderWay] = deque()
    with reused_memory(), closing(batches):
        while (batch := _next(run, batches)) is not None:
            under_way.append(_begin(run, batch, engine))
            if len(under_way) > engine.ahead:
                _keep(run, under_way.popleft(), engine)
            _stop_if_asked(run)
        while under_way:
            _keep(run, under_way.popleft(), engine)
    with run.clock.on("write"):
        run.journal.commit()


def try_again(run: Run, engine: Engine, reading: Reading) -> None:
    """Read files that took too long once more, now that all others are done. Raises as `score_all` does.

    After a stop or a kill the same files are tried again, but for those that have a score by then.
    """
    waiting = sorted(run.slow)
    if not waiting:
        return
    run.progress.say(f"{len(waiting):,} files {once_more(reading.timeout_s, reading.workers)}")
    run.progress.start("second try", len(waiting))
    paths, failures = [run.plan.paths[i] for i in waiting], may_stall(len(run.plan.paths))
    batches = second_try(run.plan.listing, paths, failures=failures, **asdict(reading))
    with reused_memory(), closing(batches):
        while (batch := _next(run, batches)) is not None:
            _replace(run, _begin(run, batch, engine), engine, waiting)
            _stop_if_asked(run)
    if run.slow:
        run.progress.say(f"{len(run.slow):,} files are not tried again: the storage does not answer")
    while run.slow:
        run.quarantine(*run.slow.popitem())
    refuse_faults(run)


@dataclass(frozen=True)
class _UnderWay:
    """A batch on the device, `pending` unless none of its files could be read. Its pixels are a copy."""

    start: int
    items: Sequence[Decoded]
    pixels: NDArray[np.uint8]
    pending: Pending | None

    def only(self, i: int) -> "_UnderWay":
        """Its i-th file alone."""
        one = slice(i, i + 1)
        pending = self.pending and Pending(self.pending.probs[:, one], self.pending.done)
        return _UnderWay(self.start + i, self.items[one], self.pixels[one], pending)


def _next(run: Run, batches: Iterator[Batch]) -> Batch | None:
    with run.clock.on("decode"):
        return next(batches, None)


def _begin(run: Run, batch: Batch, engine: Engine) -> _UnderWay:
    pixels = batch.pixels.copy()  # the decoders need the place; 0.03 ms an image of 380 x 380
    pending = None
    if any(item.fault is None for item in batch.items):
        with run.clock.on("transfer"):
            gray = engine.send(pixels)
        with run.clock.on("compute"):
            pending = engine.launch(gray)
    return _UnderWay(batch.start, batch.items, pixels, pending)


def _keep(run: Run, batch: _UnderWay, engine: Engine) -> None:
    """A batch's rows go to the journal. Raises Stopped for too many faults."""
    with run.clock.on("compute"):
        rows = _rows(run.plan, batch, engine).behind(run.journal.added)
    with run.clock.on("write"):
        run.journal.add(rows)
    run.note(rows)
    run.progress.advance(len(rows.files), f"{run.faults:,} quarantined, bound by {run.clock.bound_by()}")
    refuse_faults(run)


def _replace(run: Run, batch: _UnderWay, engine: Engine, positions: Sequence[int]) -> None:
    """A batch's files take their rows in the journal, each with its own counts. `positions`: in the plan."""
    with run.clock.on("compute"):
        alone = [_rows(run.plan, batch.only(i), engine) for i in range(len(batch.items))]
        tried = [replace(rows, start=positions[rows.start]) for rows in alone]
    with run.clock.on("write"):
        run.journal.replace(tried)
    for rows in tried:
        del run.slow[rows.start]
        run.note(rows, tried_twice=True)
    run.progress.advance(len(tried), f"{run.faults:,} quarantined")
    refuse_faults(run)


def refuse_faults(run: Run) -> None:
    """Raises UserError for the first fault where `fail` was asked for; Stopped for too many, now or before a
    stop. Files that wait for a second try count once they are too many for a storage that answers.
    """
    if run.fail and run.faults:
        raise UserError(f"{run.first_fault}; mend or remove it; `cxrscore check` names all such files.")
    kinds, question = run.kinds, "is this the right folder?"
    if len(run.slow) > may_stall(len(run.plan.paths)):
        kinds = run.kinds + Counter({TOO_SLOW[1]: len(run.slow)})
        question = "does the storage answer?"
    if kinds.total() + len(run.plan.faults) > run.max_errors:
        run.journal.commit()
        counts = ", ".join(f"{count:,} {kind}" for kind, count in kinds.most_common())
        raise Stopped(
            f"{kinds.total():,} files cannot be scored ({counts}), more than --max-errors "
            f"{run.max_errors:,} allows; {question} `cxrscore check` names them",
            words=("--max-errors", str(len(run.plan.paths) + len(run.plan.faults))),
        )


def _stop_if_asked(run: Run) -> None:
    if run.asked.number:
        run.journal.commit()
        kept = f"{run.journal.done:,} of {len(run.plan.paths):,} files are kept"
        raise Stopped(f"interrupted; {kept}", code=128 + run.asked.number)


def _rows(plan: Plan, batch: _UnderWay, engine: Engine) -> Rows:
    """The batch as the journal keeps it: scores, or why there is none, a file at a time."""
    probs = batch.pending.result() if batch.pending else None
    values = np.full((len(batch.items), *engine.shape), np.nan, dtype=np.float32)
    files, exact = [], 0
    for i, item in enumerate(batch.items):
        promise(item.index == batch.start + i, "a row in another's place")
        fault = fault_of(plan.listing, item, plan.known)
        if fault is None:
            if probs is None:
                raise BrokenPromise("an image that was not computed")
            row = probs[:, i]
            if not np.isfinite(row).all():
                row, exact = engine.exactly(batch.pixels[i]), exact + 1
            if np.isfinite(row).all():
                values[i] = row
            else:
                found = "the models gave no finite score, nor did they in fp32"
                fault = ("compute", "NON_FINITE", with_remedy("NON_FINITE", found))
        files.append(File(item.bytes, item.sha256, fault))
    turned = sum(item.orientation != 1 for item in batch.items)
    return Rows(batch.start, files, values, exact, turned, engine.take_halvings())
