"""One place -> pixels, or the fault that takes their place: the work of a decoding process.

In    where the bytes of one image lie, and the rows its pixels go to.
Out   a Decoded; the rows are written when the decode is complete, and not before.

A file is opened once, and read once unless it changes meanwhile or the storage stumbles.

What nobody knew a decoder to raise (MemoryError, a fault of ours) is kept to its file too: WORKER_CRASH, with
the exception's type and place. A run of 100,000 files does not end for one, nobody scores it, and the list of
errors names it. The words of such an exception are left out: they may quote what the file holds.
"""

import errno
import os
import stat
import time
import zlib
from dataclasses import dataclass
from pathlib import Path
from traceback import walk_tb

import numpy as np
from numpy.typing import NDArray

from cxrscore.core.errors import Unreadable
from cxrscore.core.files import sha256_bytes
from cxrscore.images.inputs.byte_source import Place, identity_of
from cxrscore.images.reading import decode_copies, read_header

MAX_FILE_BYTES = 256_000_000  # twice what a picture may take once it is decompressed
PASSING = (errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.EINTR, errno.EAGAIN, errno.EHOSTDOWN)
PAUSES_S = (0.1, 0.4, 1.6)  # before each new try: a server that changes over is back within seconds


@dataclass(frozen=True)
class Wanted:
    """What is wanted of each file beside its pixels, and the depth that is declared for samples stored in 16
    bits. `larger`: the side of a second copy, 0 for none.
    """

    bit_depth: int | None = None
    larger: int = 0
    look_for_colours: bool = False


PIXELS_ALONE = Wanted()


@dataclass(frozen=True)
class Decoded:
    """One file. Its name and number travel with its pixels; `pixels` is None exactly where `fault` is not."""

    index: int
    path: str
    pixels: NDArray[np.uint8] | None = None  # (S, S), a view of the row
    sha256: str = ""
    width: int = 0
    height: int = 0
    orientation: int = 1
    fault: Unreadable | None = None
    bytes: int = 0  # of the file
    larger: NDArray[np.uint8] | None = None  # (T, T), a view of its row, where a second copy is wanted
    coloured: bool = False  # where colours are looked for


def decode_into(
    row: NDArray[np.uint8],
    index: int,
    path: str,
    place: Place,
    *,
    wanted: Wanted = PIXELS_ALONE,
    larger: NDArray[np.uint8] | None = None,
) -> Decoded:
    """`row` is (S, S) and `larger` (T, T), where one is wanted; where the result has a fault both are as they
    were.
    """
    sha256, count = "", 0
    rows = [row, larger] if wanted.larger and larger is not None else [row]
    try:
        data = read_place(place)
        sha256, count = sha256_bytes(data), len(data)
        header = read_header(data)
        copies, coloured = decode_copies(
            data,
            header,
            sizes=[len(one) for one in rows],
            bit_depth=wanted.bit_depth,
            look_for_colours=wanted.look_for_colours,
        )
        for one, copy in zip(rows, copies, strict=True):
            one[:] = copy
    except Unreadable as error:
        fault = Unreadable(error.kind, str(error))  # the caught one holds on to the bytes by its traceback
    except Exception as error:  # noqa: BLE001 - see the module's words
        fault = Unreadable("WORKER_CRASH", _unexpected(error))
    else:
        facts = (sha256, header.width, header.height, header.orientation)
        second = larger if wanted.larger else None
        return Decoded(index, path, row, *facts, bytes=count, larger=second, coloured=coloured)
    return Decoded(index, path, sha256=sha256, fault=fault, bytes=count)


def _unexpected(error: Exception) -> str:
    *_, (frame, line) = walk_tb(error.__traceback__)
    code = frame.f_code
    return f"unexpected {type(error).__name__} in {code.co_name} ({Path(code.co_filename).name}:{line})"


def read_place(place: Place) -> bytes:
    """All bytes of a regular file, or of a stretch of one, that held still. Raises Unreadable."""
    for pause_s in (*PAUSES_S, None):
        try:
            data = _read(place)
            break
        except (FileNotFoundError, NotADirectoryError) as error:
            raise Unreadable("VANISHED", "there is no such file") from error
        except OSError as error:
            if error.errno not in PASSING or pause_s is None:
                raise Unreadable("IO_ERROR", f"the file cannot be read: {error.strerror}") from error
            time.sleep(pause_s)
    return _check_member(_inflate(data, place) if place.deflated else data, place)


def sha256_of(place: Place) -> str:
    """Of its bytes, or a sentence where they cannot be read."""
    try:
        return sha256_bytes(read_place(place))
    except Unreadable as fault:
        return str(fault)


def _read(place: Place) -> bytes:
    """The bytes as they are stored. Raises OSError, Unreadable."""
    handle = os.open(place.file, os.O_RDONLY | os.O_NONBLOCK)  # a FIFO in the file's place would hold us
    with os.fdopen(handle, "rb") as file:
        for _ in range(2):
            before = os.fstat(handle)
            if not stat.S_ISREG(before.st_mode):
                raise Unreadable("IO_ERROR", "not a regular file; put the image in its place")
            _check_identity(before, place)
            expected = before.st_size if place.stored < 0 else place.stored
            _check_count(max(expected, place.size))
            file.seek(place.offset)
            data = file.read(place.stored)  # -1: to the end
            after = os.fstat(handle)
            still = before.st_size == after.st_size and before.st_mtime_ns == after.st_mtime_ns
            if still and len(data) == expected:
                return data
            if still and place.stored >= 0:
                raise Unreadable("TRUNCATED", f"the archive ends after {len(data):,} of {expected:,} bytes")
    raise Unreadable("CHANGED", "the file was being written while it was read, twice")


def _check_identity(about: os.stat_result, place: Place) -> None:
    """What was listed is what is read, or nothing is. Raises Unreadable."""
    if not place.is_still(identity_of(about)):
        what = "file" if place.stored < 0 else "archive"
        raise Unreadable(
            "CHANGED", f"the {what} was replaced or written to after it was listed; score it again"
        )


def _check_count(count: int) -> None:
    if count > MAX_FILE_BYTES:
        raise Unreadable("TOO_LARGE", f"{count:,} bytes, and at most {MAX_FILE_BYTES:,} are read")


def _inflate(data: bytes, place: Place) -> bytes:
    """One byte more than the archive declares is inflated at most: it tells of a bomb. Raises Unreadable."""
    limit = place.size if place.size >= 0 else MAX_FILE_BYTES
    stream = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        inflated = stream.decompress(data, limit + 1)
    except zlib.error as error:
        raise Unreadable("CORRUPT_DATA", "the archive's deflate stream is damaged") from error
    if not stream.eof and len(inflated) <= limit:
        raise Unreadable("TRUNCATED", "the archive's deflate stream does not end")
    return inflated


def _check_member(data: bytes, place: Place) -> bytes:
    _check_count(len(data))
    if 0 <= place.size < len(data):
        raise Unreadable("CORRUPT_DATA", f"the archive holds more than the {place.size:,} bytes it declares")
    if len(data) < place.size:
        raise Unreadable(
            "TRUNCATED", f"the archive holds {len(data):,} of the {place.size:,} bytes it declares"
        )
    if place.crc32 is not None and zlib.crc32(data) != place.crc32:
        raise Unreadable("CORRUPT_DATA", "the bytes do not have the CRC-32 that the archive declares")
    return data
