"""Paths -> pixels, in the order of the paths, whatever the number of workers.

In    a folder, relative paths in it.
Out   one Decoded a path: its pixels, or the fault that takes their place. Each file is opened once, and
      read once unless it changes meanwhile; a bounded number of files is in memory.
"""

import os
import stat
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cxrscore.errors import Unreadable
from cxrscore.files import sha256_bytes
from cxrscore.images import decode, read_header

AHEAD = 4  # files under way a worker: enough that one slow file does not idle the others
MAX_FILE_BYTES = 8 * 64_000_000  # 64 million pixels of four 16-bit channels


@dataclass(frozen=True)
class Decoded:
    """One file. Its name and number travel with its pixels; `pixels` is None exactly where `fault` is not."""

    index: int
    path: str
    pixels: NDArray[np.uint8] | None = None  # (S, S)
    sha256: str = ""
    width: int = 0
    height: int = 0
    orientation: int = 1
    fault: Unreadable | None = None


def decode_all(
    root: Path, paths: Iterable[str], *, size: int, workers: int, depth: int | None = None
) -> Iterator[Decoded]:
    """`depth` files at most are read and not yet taken. With `workers=0` the caller decodes, when it asks."""
    work = partial(_decode_one, root, size)
    if workers == 0:
        yield from map(work, enumerate(paths))
        return
    # threads: libjpeg-turbo, Pillow and zlib let go of the GIL (2 workers: 4.4 ms an image instead of 9.0)
    pool = ThreadPoolExecutor(workers, thread_name_prefix="decode")
    try:
        numbered = iter(enumerate(paths))
        waiting: deque[Future[Decoded]] = deque()
        waiting.extend(pool.submit(work, item) for item in islice(numbered, depth or AHEAD * workers))
        while waiting:
            yield waiting.popleft().result()
            waiting.extend(pool.submit(work, item) for item in islice(numbered, 1))
    finally:
        pool.shutdown(cancel_futures=True)  # also when the caller stops early


def _decode_one(root: Path, size: int, item: tuple[int, str]) -> Decoded:
    index, path = item
    sha256 = ""
    try:
        data = read_file(root / path)
        sha256 = sha256_bytes(data)
        header = read_header(data)
        pixels = decode(data, header, size=size)
    except Unreadable as fault:
        bare = Unreadable(fault.kind, str(fault))  # the caught one holds on to the bytes by its traceback
        return Decoded(index, path, sha256=sha256, fault=bare)
    return Decoded(index, path, pixels, sha256, header.width, header.height, header.orientation)


def read_file(path: Path) -> bytes:
    """All bytes of a regular file that held still. Raises Unreadable."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK)  # a FIFO in the file's place would hold us
        with os.fdopen(handle, "rb") as file:
            for _ in range(2):
                before = os.fstat(handle)
                _check(before)
                file.seek(0)
                data = file.read()
                after = os.fstat(handle)
                if len(data) == before.st_size == after.st_size and before.st_mtime_ns == after.st_mtime_ns:
                    return data
    except (FileNotFoundError, NotADirectoryError) as error:
        raise Unreadable("VANISHED", "there is no such file") from error
    except OSError as error:
        raise Unreadable("IO_ERROR", f"the file cannot be read: {error.strerror}") from error
    raise Unreadable("CHANGED", "the file was being written while it was read, twice")


def _check(about: os.stat_result) -> None:
    if not stat.S_ISREG(about.st_mode):
        raise Unreadable("IO_ERROR", "not a regular file")
    if about.st_size > MAX_FILE_BYTES:
        raise Unreadable("TOO_LARGE", f"{about.st_size:,} bytes; at most {MAX_FILE_BYTES:,} are read")
