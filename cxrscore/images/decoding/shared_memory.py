"""Memory for pixels that processes share: had whole at the start, or a clear error; never a bus error later.

In    shapes of (depth, B, S, S): one, or one for each copy of an image.
Out   the number of an open file without a name, and its bytes as arrays of uint8, one behind the other.
"""

import math
import mmap
import os
import tempfile
from collections.abc import Sequence
from fcntl import F_DUPFD_CLOEXEC, fcntl
from itertools import accumulate

import numpy as np
from numpy.typing import NDArray

from cxrscore.core.errors import UserError
from cxrscore.core.resources import usable_memory

REMEDY = "use a smaller --batch-size, or prepare smaller images"


Shape = tuple[int, ...]


def ring_shapes(depth: int, batch_size: int, *sizes: int) -> list[Shape]:
    """One for each size, 0 for a copy that nobody wants."""
    return [(depth, batch_size, size, size) for size in sizes]


def reserve_rings(shapes: Sequence[Shape]) -> int:
    """The number of the file, all of zeros. Raises UserError."""
    nbytes = sum(map(math.prod, shapes))
    needed = f"{nbytes / 2**20:,.0f} MiB of memory"
    wanted = ", ".join(str(shape) for shape in shapes if math.prod(shape))
    what = f"--batch-size: {needed} for pixels (batches, images, height, width: {wanted})"
    if nbytes > usable_memory() // 2:
        raise UserError(
            f"{what} are more than half of this machine's {usable_memory() / 2**20:,.0f}; {REMEDY}."
        )
    handle = _nameless_file()
    try:
        os.posix_fallocate(handle, 0, nbytes)  # without it the pages would be looked for when written
    except OSError as error:
        os.close(handle)
        raise UserError(f"{what} cannot be allocated: {error.strerror}; {REMEDY}.") from error
    return handle


def map_rings(handle: int, shapes: Sequence[Shape]) -> list[NDArray[np.uint8]]:
    """The shared memory of an open file, which may be closed after."""
    ends = list(accumulate(map(math.prod, shapes)))
    memory = np.frombuffer(mmap.mmap(handle, ends[-1]), np.uint8)
    return [part.reshape(shape) for part, shape in zip(np.split(memory, ends[:-1]), shapes, strict=True)]


def above_stdio(handle: int) -> int:
    """The same file by a number that a child's stdin, stdout and stderr do not take: ours may be closed."""
    above = fcntl(handle, F_DUPFD_CLOEXEC, 3)
    os.close(handle)
    return above


def _nameless_file() -> int:
    if hasattr(os, "memfd_create"):  # not bounded by the size of /dev/shm, 64 MB in a container
        return above_stdio(os.memfd_create("cxrscore-pixels"))
    with tempfile.TemporaryFile() as file:
        return above_stdio(os.dup(file.fileno()))
