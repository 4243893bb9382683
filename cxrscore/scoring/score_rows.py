"""The rows of a run: batches decoded ahead, scored on the device, kept in the journal, until all are done.

A file that took too long is no fault yet: once all have been through it is tried again, with more time, and
its row in the journal is replaced.

In    a run, whose journal may hold its first rows already; what it is (Setup).
Out   the journal with all rows; Stopped where a signal, the device or too many faults end the run before.
"""

import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from cxrscore.core.errors import BrokenPromise, Stopped, counted, promise, with_remedy
from cxrscore.core.malloc import reused_memory
from cxrscore.images.decoding.decode import Decoded
from cxrscore.images.decoding.pool import Batch, decode_batches, may_stall, once_more, second_try
from cxrscore.scoring.compute import Engine, Pending, build_engine
from cxrscore.scoring.faults import fault_of
from cxrscore.scoring.journal import File, Rows
from cxrscore.scoring.row_plan import Plan
from cxrscore.scoring.run import Run, refuse_faults
from cxrscore.scoring.setup import Reading, Setup


def score_rows(run: Run, setup: Setup) -> None:
    """Score what the journal does not hold yet. Raises as `score_all` does."""
    total, done = len(run.plan.paths), run.journal.done
    if done:
        run.progress.say(f"resuming: {done:,} of {counted(total, 'file')} done")
    run.progress.start("score", total - done)
    if done == total and not run.slow:
        return
    folds, views = counted(len(setup.ensemble), "fold"), counted(len(setup.views), "view")
    compiling = "; the first batch compiles the models, which takes minutes" if setup.recipe.compile else ""
    run.progress.say(
        f"scoring {counted(total - done, 'file')}: {folds}, {views}, "
        f"batches of {setup.recipe.batch_size}, on {setup.machine}{compiling}"
    )
    chunk = min(run.halvings, default=None)
    engine = build_engine(setup.ensemble, setup.recipe, setup.machine, views=setup.views, chunk=chunk)
    if done < total:
        begun = time.monotonic()
        score_all(run, engine, setup.reading)
        seconds = time.monotonic() - begun
        rate, shares = (total - done) / max(seconds, 1e-9), run.clock.shares()
        run.progress.say(f"{counted(total - done, 'file')} in {seconds:.1f} s, {rate:.1f}/s; time: {shares}")
    try_again(run, engine, setup.reading)


def score_all(run: Run, engine: Engine, reading: Reading) -> None:
    """Score the files that the journal does not hold yet. On a GPU one batch is under way while the next is
    brought and the last is kept. Raises Stopped; UserError for a fault where `fail` was asked for.
    """
    whole = run.journal.done // reading.batch_size  # batches, so that a stop changes no row's batch
    start = whole * reading.batch_size
    batches = decode_batches(run.plan.listing, run.plan.paths, start=start, **reading.arguments())
    under_way: deque[_UnderWay] = deque()
    with reused_memory(), closing(batches):
        while (batch := _next(run, batches)) is not None:
            places = range(batch.start, batch.start + len(batch.items))
            under_way.append(_begin(run, batch, engine, places))
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
    run.progress.say(once_more(len(waiting), reading.timeout_s, reading.workers))
    run.progress.start("second try", len(waiting))
    paths, failures = [run.plan.paths[i] for i in waiting], may_stall(len(run.plan.paths))
    batches = second_try(run.plan.listing, paths, failures=failures, **reading.arguments())
    with reused_memory(), closing(batches):
        while (batch := _next(run, batches)) is not None:
            places = waiting[batch.start : batch.start + len(batch.items)]
            _replace(run, _begin(run, batch, engine, places), engine, waiting)
            _stop_if_asked(run)
    if run.slow:
        run.progress.say(
            f"{counted(len(run.slow), 'slow file')} not tried again: the storage does not answer"
        )
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
    inputs: NDArray[np.float32] | None = None  # (F, items, m), where heads read more than pixels

    def only(self, i: int) -> "_UnderWay":
        """Its i-th file alone."""
        one = slice(i, i + 1)
        pending = self.pending and Pending(self.pending.probs[:, one], self.pending.done)
        inputs = None if self.inputs is None else self.inputs[:, one]
        return _UnderWay(self.start + i, self.items[one], self.pixels[one], pending, inputs)


def _next(run: Run, batches: Iterator[Batch]) -> Batch | None:
    with run.clock.on("decode"):
        return next(batches, None)


def _begin(run: Run, batch: Batch, engine: Engine, places: Sequence[int]) -> _UnderWay:
    """`places`: of its files in the plan."""
    pixels = batch.pixels.copy()  # the decoders need the place; 0.03 ms per image of 380 x 380
    inputs = None if run.inputs is None else run.inputs[:, list(places)]
    pending = None
    if any(item.fault is None for item in batch.items):
        with run.clock.on("transfer"):
            gray = engine.send(pixels)
        with run.clock.on("compute"):
            pending = engine.launch(gray, inputs)
    return _UnderWay(batch.start, batch.items, pixels, pending, inputs)


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


def _stop_if_asked(run: Run) -> None:
    if run.asked.number:
        run.journal.commit()
        kept = f"{run.journal.done:,} of {counted(len(run.plan.paths), 'file')} done and kept"
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
                own = None if batch.inputs is None else batch.inputs[:, i : i + 1]
                row, exact = engine.exactly(batch.pixels[i], own), exact + 1
            if np.isfinite(row).all():
                values[i] = row
            else:
                found = "the models gave no finite score, nor did they in fp32"
                fault = ("compute", "NON_FINITE", with_remedy("NON_FINITE", found))
        files.append(File(item.bytes, item.sha256, fault))
    turned = sum(item.orientation != 1 for item in batch.items)
    return Rows(batch.start, files, values, exact, turned, engine.take_halvings())
