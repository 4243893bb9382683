"""Listed files -> batches of pixels, in order, decoded by processes that may die.

In    a listing, which knows where each path lies; the paths, in order.
Out   Batches: one Decoded per file, never one missing, and their pixels in shared memory.

The pixels are a ring of `depth` batches: one is the consumer's, workers write into the others. Where a larger
copy is wanted it has a ring of its own, and its rows are those of each Decoded.

A file that took too long may have been held up by its storage: `second_try` reads it once more, with more
time.
"""

import os
from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cxrscore.core.errors import Unreadable, UserError, counted, promise
from cxrscore.core.resources import DECODER_BYTES, most_decoders
from cxrscore.images.decoding.decode import PIXELS_ALONE, Decoded, Wanted, decode_into
from cxrscore.images.decoding.dispatch import Dispatcher
from cxrscore.images.decoding.shared_memory import map_rings, reserve_rings, ring_shapes
from cxrscore.images.decoding.worker_process import Task
from cxrscore.images.inputs.byte_source import Places

SECOND_S, SECOND_TIMES = 60.0, 8  # of a second try: file servers change over in seconds to a minute
MAY_STALL, MAY_STALL_SHARE = 10, 0.01  # files; when more than both together take too long, the storage hangs


@dataclass(frozen=True)
class Batch:
    """Files start, start + 1, ... and their pixels: rows of files with a fault, and rows left over, are 0."""

    start: int
    items: tuple[Decoded, ...]
    pixels: NDArray[np.uint8]  # (B, S, S)


def decode_batches(
    listing: Places,
    paths: Sequence[str],
    *,
    size: int,
    batch_size: int,
    workers: int,
    start: int = 0,
    timeout_s: float = 10.0,
    depth: int = 3,
    wanted: Wanted = PIXELS_ALONE,
) -> Generator[Batch, None, None]:
    """Batches of paths[start:], in order, the same for any number of workers.

    A batch's pixels are valid until the next one is asked for. With `workers=0` the caller decodes in its own
    process, and a file that crashes or hangs takes it along. Who leaves early closes it, and with that the
    workers. Raises UserError where there is no memory for `depth` batches or so many workers, WorkersLost
    where workers cannot start.
    """
    promise(depth >= 2, "one batch is the consumer's, others are to be filled")
    if workers > most_decoders():
        needed = f"{workers * DECODER_BYTES / 1e9:.1f} GB"
        raise UserError(
            f"--workers: {workers} decoding processes may need {needed}, more than half of this machine's "
            f"memory; use at most {most_decoders()}."
        )
    starts = range(start, len(paths), batch_size)
    depth = min(depth, len(starts)) if workers else 1
    if not starts:
        return
    shapes = ring_shapes(depth, batch_size, size, wanted.larger)
    tasks = (_tasks(listing, paths, first, batch_size, i % depth) for i, first in enumerate(starts))
    file = reserve_rings(shapes)
    try:
        ring, larger = map_rings(file, shapes)
        if workers == 0:
            for first, batch in zip(starts, tasks, strict=True):
                items = [_decoded_here(task, ring[0], larger[0], wanted) for task in batch]
                yield _batch(first, items, ring[0])
            return
        how: dict[str, Any] = {"workers": workers, "timeout_s": timeout_s, "wanted": wanted}
        with closing(Dispatcher(tasks, file, ring, larger, **how)) as dispatcher:
            for i, first in enumerate(starts):
                yield _batch(first, dispatcher.take(), ring[i % depth])
                dispatcher.give_back()
    finally:
        os.close(file)


def _tasks(listing: Places, paths: Sequence[str], first: int, batch_size: int, buffer: int) -> list[Task]:
    chosen = paths[first : first + batch_size]
    return [Task(first + row, path, listing.place(path), buffer, row) for row, path in enumerate(chosen)]


def _decoded_here(
    task: Task, pixels: NDArray[np.uint8], larger: NDArray[np.uint8], wanted: Wanted
) -> Decoded:
    row, second = pixels[task.row], larger[task.row]
    return decode_into(row, task.index, task.path, task.place, wanted=wanted, larger=second)


def _batch(first: int, items: Sequence[Decoded], pixels: NDArray[np.uint8]) -> Batch:
    """Nobody writes to these pixels any more: rows that no file answers for are wiped."""
    for row, one in enumerate(items):
        promise(one.index == first + row, "a file in another's row")
        promise((one.fault is None) == (one.pixels is not None), "a file with pixels and a fault, or neither")
        if one.fault is not None:
            pixels[row] = 0  # of an older batch, or half-written by a worker that died
    pixels[len(items) :] = 0
    return Batch(first, tuple(items), pixels)


def timed_out(one: Decoded) -> bool:
    return one.fault is not None and one.fault.kind == "TIMEOUT"


def may_stall(files: int) -> int:
    """How many of so many files may take too long before the storage, and no file, is at fault."""
    return MAY_STALL + int(MAY_STALL_SHARE * files)


def second_limit_s(timeout_s: float) -> float:
    return max(SECOND_S, SECOND_TIMES * timeout_s)


def once_more(files: int, timeout_s: float, workers: int) -> str:
    """The message about files that get a second try."""
    limit = f", for up to {second_limit_s(timeout_s):g} s each" if workers else ""
    return f"{counted(files, 'file')} took longer than {timeout_s:g} s; trying once more{limit}"


def second_try(
    listing: Places,
    paths: Sequence[str],
    *,
    size: int,
    batch_size: int,
    workers: int,
    timeout_s: float,
    failures: int,
    wanted: Wanted = PIXELS_ALONE,
) -> Generator[Batch, None, None]:
    """`decode_batches` of files that took longer than `timeout_s`, with `second_limit_s` of it.

    Batches are no larger than the number of workers: who asks to stop waits for one file and not for a row
    of them. After more than `failures` that took too long again it ends: the storage hangs.
    """
    limit_s = second_limit_s(timeout_s)
    batch_size = min(batch_size, max(1, workers))
    how: dict[str, Any] = {"size": size, "workers": workers, "wanted": wanted}
    batches = decode_batches(listing, paths, batch_size=batch_size, timeout_s=limit_s, **how)
    with closing(batches):
        for batch in batches:
            items = tuple(_tried_twice(one, timeout_s, limit_s) for one in batch.items)
            yield replace(batch, items=items)
            failures -= sum(map(timed_out, items))
            if failures < 0:
                return


def _tried_twice(one: Decoded, first_s: float, second_s: float) -> Decoded:
    if not timed_out(one):
        return one
    message = f"tried twice, for {first_s:g} s and then for {second_s:g} s: {one.fault}"
    return replace(one, fault=Unreadable("TIMEOUT", message))
