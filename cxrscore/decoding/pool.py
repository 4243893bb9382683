"""Listed files -> batches of pixels, in order, decoded by processes that may die.

In    a listing, which knows where each path lies; the paths, in order.
Out   Batches: a Decoded a file, never one missing, and their pixels in shared memory.

The pixels are a ring of `depth` batches: one is the consumer's, workers write into the others.
"""

import os
from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cxrscore.decoding.decode import Decoded, decode_into
from cxrscore.decoding.dispatch import Dispatcher
from cxrscore.decoding.process import Task
from cxrscore.decoding.ring import map_ring, reserve_ring
from cxrscore.errors import UserError
from cxrscore.inputs.place import Places
from cxrscore.resources import DECODER_BYTES, most_decoders


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
    bit_depth: int | None = None,
) -> Generator[Batch, None, None]:
    """Batches of paths[start:], in order, the same for any number of workers.

    A batch's pixels are valid until the next one is asked for. With `workers=0` the caller decodes in its own
    process, and a file that crashes or hangs takes it along. Who leaves early closes it, and with that the
    workers. Raises UserError where there is no memory for `depth` batches or so many workers, WorkersLost
    where workers cannot start.
    """
    assert depth >= 2, "one batch is the consumer's, others are to be filled"
    if workers > most_decoders():
        needed = f"{workers} decoding processes may need {workers * DECODER_BYTES / 1e9:.1f} GB"
        raise UserError(f"{needed}, more than half of this machine's memory; use {most_decoders()}.")
    starts = range(start, len(paths), batch_size)
    depth = min(depth, len(starts)) if workers else 1
    if not starts:
        return
    shape = (depth, batch_size, size, size)
    tasks = (_tasks(listing, paths, first, batch_size, i % depth) for i, first in enumerate(starts))
    file = reserve_ring(shape)
    try:
        ring = map_ring(file, shape)
        if workers == 0:
            for first, batch in zip(starts, tasks, strict=True):
                items = [
                    decode_into(ring[0, task.row], task.index, task.path, task.place, bit_depth=bit_depth)
                    for task in batch
                ]
                yield _batch(first, items, ring[0])
            return
        how: dict[str, Any] = {"workers": workers, "timeout_s": timeout_s, "bit_depth": bit_depth}
        with closing(Dispatcher(tasks, file, ring, **how)) as dispatcher:
            for i, first in enumerate(starts):
                yield _batch(first, dispatcher.take(), ring[i % depth])
                dispatcher.give_back()
    finally:
        os.close(file)


def _tasks(listing: Places, paths: Sequence[str], first: int, batch_size: int, buffer: int) -> list[Task]:
    chosen = paths[first : first + batch_size]
    return [Task(first + row, path, listing.place(path), buffer, row) for row, path in enumerate(chosen)]


def _batch(first: int, items: Sequence[Decoded], pixels: NDArray[np.uint8]) -> Batch:
    """Nobody writes to these pixels any more: rows that no file answers for are wiped."""
    for row, one in enumerate(items):
        assert one.index == first + row and (one.fault is None) == (one.pixels is not None), one
        if one.fault is not None:
            pixels[row] = 0  # of an older batch, or half-written by a worker that died
    pixels[len(items) :] = 0
    return Batch(first, tuple(items), pixels)
