"""Files on disk: whole-or-nothing writes, content hashes, JSON that is no attack.

In    paths, bytes.
Out   the same, never half-written.
"""

import hashlib
import json
import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

DEEPEST = 20  # lists and dictionaries within each other; our files have at most 7


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success fsync it and rename it over `path`; on failure remove
    it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        move_into_place(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def move_into_place(written: Path, path: Path) -> None:
    """Rename a file over `path`, on the same file system; durable when this returns."""
    with written.open("rb") as file:
        os.fsync(file.fileno())
    written.replace(path)
    _fsync_folder(path.parent)


def half_written(folder: Path, names: str) -> list[Path]:
    """Temporary files of `replacing` whose process was killed, where the file's name matches the pattern."""
    pattern = temporary_name(names)
    return [path for path in folder.iterdir() if pattern.fullmatch(path.name) and is_regular(path)]


def temporary_name(names: str) -> re.Pattern[str]:
    """What `replacing` calls its temporary files, of files whose names match the pattern."""
    return re.compile(rf"\.(?:{names})\.\d+\.tmp")


def is_regular(path: Path) -> bool:
    """A file itself: no link, folder or pipe."""
    return path.is_file() and not path.is_symlink()


def _fsync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)  # the rename itself is durable only once the folder is
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_bytes(path: Path, data: bytes) -> None:
    with replacing(path) as temporary:
        temporary.write_bytes(data)


def write_text(path: Path, text: str) -> None:
    write_bytes(path, text.encode())


def read_json(path: Path, *, most_bytes: int = 1_000_000_000) -> Any:
    """Raises OSError; ValueError for what is no JSON, or no file of ours: a pipe, too large, too deep."""
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK)  # a pipe would wait for somebody who writes to it
    try:
        about = os.fstat(handle)
        if not stat.S_ISREG(about.st_mode):
            raise ValueError("not a regular file")
        if about.st_size > most_bytes:
            raise ValueError(f"{about.st_size:,} bytes, more than {most_bytes:,}")
        with os.fdopen(handle, "rb", closefd=False) as file:
            return parse_json(file.read())
    finally:
        os.close(handle)


def parse_json(text: bytes) -> Any:
    """Of UTF-8 text. Raises ValueError."""
    try:
        value = json.loads(text.decode())
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    if _deeper(value, DEEPEST):
        raise ValueError("nested too deeply")  # who compares or prints it would run out of stack
    return value


def _deeper(value: Any, depth: int) -> bool:
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return any(depth == 0 or _deeper(part, depth - 1) for part in parts if isinstance(part, dict | list))


def is_number(value: Any, *, least: float = -1e15) -> bool:
    """A finite one, neither true nor false, and not so large that it could not be shown."""
    return isinstance(value, int | float) and not isinstance(value, bool) and least <= value <= 1e15


def is_count(value: Any) -> bool:
    """A whole number from 0 on."""
    return isinstance(value, int) and is_number(value, least=0)


def sha256_bytes(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def sha256_file(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
