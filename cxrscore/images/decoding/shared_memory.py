"""Memory for pixels that processes share: had whole at the start, or a clear error; never a bus error later.

In    a shape.
Out   the number of an open file without a name, and its bytes as (depth, B, S, S) uint8.
"""

import math
import mmap
import os
import tempfile
from fcntl import F_DUPFD_CLOEXEC, fcntl

import numpy as np
from numpy.typing import NDArray

from cxrscore.core.errors import UserError
from cxrscore.core.resources import usable_memory

REMEDY = "use a smaller --batch-size, or prepare smaller images"


def reserve_ring(shape: tuple[int, ...]) -> int:
    """The number of the file, all of zeros. Raises UserError."""
    nbytes = math.prod(shape)
    needed = f"{nbytes / 2**20:,.0f} MiB of memory"
    what = f"--batch-size: {needed} for pixels (batches, images, height, width: {shape})"
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


def map_ring(handle: int, shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """The shared memory of an open file, which may be closed after."""
    return np.frombuffer(mmap.mmap(handle, math.prod(shape)), np.uint8).reshape(shape)


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
