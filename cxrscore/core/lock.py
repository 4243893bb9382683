"""One run an output: a lock that dies with its holder, however that one dies.

In    the path of a lock file, in a folder that is there.
Out   Busy, which names the holder, or the lock for the length of a `with`.
"""

import errno
import fcntl
import json
import os
import socket
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from cxrscore.core.errors import Busy, UserError
from cxrscore.core.files import parse_json

STORAGE = (errno.ENOSPC, errno.EDQUOT, errno.EIO)  # not the person's to correct by another name
BEGINS = b'{"pid": '


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold `path`. Raises Busy where another process does; UserError on a file system without locks."""
    handle = _acquire(path)
    try:
        os.ftruncate(handle, 0)
        os.write(handle, json.dumps(_me()).encode())
        yield
    finally:
        os.close(handle)  # which lets go of the lock; a killed process closes its files, too


def _acquire(path: Path) -> int:
    while True:
        try:
            with suppress(FileExistsError):  # mkdir(exist_ok=True) looks once more, when it may have gone
                path.parent.mkdir()
            handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o644)
        except FileNotFoundError:
            continue  # the holder has finished between the two lines and removed its folder
        except OSError as error:
            if error.errno in STORAGE:
                raise
            raise UserError(
                f"{path}: cannot be written ({error.strerror}); check who owns it, or choose another output."
            ) from error
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = _holder(handle)
            os.close(handle)
            raise Busy(f"{path.parent}: another run is writing there, {holder}.") from error
        except OSError as error:
            os.close(handle)
            raise UserError(
                f"{path.parent}: this file system cannot lock files ({error.strerror}); "
                "write the output to a local disk."
            ) from error
        if _still_there(path, handle):
            return handle
        os.close(handle)


def _still_there(path: Path, handle: int) -> bool:
    """Whether the name still means the file that was locked: its last holder may have removed it."""
    try:
        return os.path.samestat(path.stat(), os.fstat(handle))
    except FileNotFoundError:
        return False


def is_lock(path: Path) -> bool:
    """Whether `locked` may have made the file: its holder's name begins so, if a kill or a power cut did not
    leave it empty or as zeros. No other file is to be locked: its content would be lost.
    """
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)  # a pipe would wait for a writer
    except OSError:
        return False
    try:
        head = os.read(handle, len(BEGINS)).strip(b"\0") if stat.S_ISREG(os.fstat(handle).st_mode) else b"?"
    finally:
        os.close(handle)
    return BEGINS.startswith(head)


def _me() -> dict[str, str | int]:
    started = datetime.now(UTC).isoformat(timespec="seconds")
    return {"pid": os.getpid(), "host": socket.gethostname(), "started": started}


def _holder(handle: int) -> str:
    try:
        who = parse_json(os.pread(handle, 4096, 0))
        return f"process {who['pid']} on {who['host']}, since {who['started']}"
    except (ValueError, KeyError, TypeError):
        return "begun this moment"
