"""Files on disk: whole-or-nothing writes, content hashes, strict CSV tables of text.

In    paths, bytes, rows of text.
Out   the same, never half-written and never coerced: every cell stays the text it was.
"""

import csv
import difflib
import gzip
import hashlib
import io
import json
import os
import re
import stat
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from cxrscore.errors import UserError

LARGE = 32_000_000  # characters of a table; a smaller one csv has read before polars is imported
MAX_TABLE_BYTES = 1 << 29  # of text, once unpacked: a .gz of 3 MB can hold 3 GB of nothing
READ_BYTES = 1 << 20  # of a table at once
DEEPEST = 20  # lists and dictionaries within each other; our files have at most 7
MAX_CELL = 1_000_000  # characters; a longer cell is a quote that was never closed, or an attack


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success fsync it and rename it over `path`, else remove it."""
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
            raise ValueError("no regular file")
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


@dataclass(frozen=True)
class Table:
    """A CSV file as text: `columns[name][i]` is a cell, `lines[i]` the line on which row i ends."""

    path: Path
    columns: dict[str, list[str]]
    lines: list[int]

    def __len__(self) -> int:
        return len(self.lines)

    def column(self, name: str) -> list[str]:
        """The cells under exactly this name. Raises UserError with the nearest name there is."""
        if name not in self.columns:
            raise UserError(f"{self.path}:1: no column {name!r}; {nearest(name, self.columns)}.")
        return self.columns[name]


def nearest(name: str, names: Iterable[str]) -> str:
    """A clause for an error: the name that was probably meant, else all there are."""
    plain = {_plain(other): other for other in names}
    close = difflib.get_close_matches(_plain(name), plain, n=1, cutoff=0.7)
    if close:
        return f"the nearest is {plain[close[0]]!r}, and case, spaces and marks count"
    return f"there are {', '.join(map(repr, plain.values()))}"


def _plain(name: str) -> str:
    return name.strip().casefold().replace("_", " ")


def read_names(path: Path) -> list[str]:
    """The first column of a table that this program wrote and that may have no row."""
    with path.open(encoding="utf-8", errors="surrogateescape", newline="") as file:
        return [row[0] for row in csv.reader(file)][1:]


def read_table(path: Path) -> Table:
    """A UTF-8 CSV file, plain or `.gz`: a header and at least one row. A BOM, CRLF and blank lines are fine.

    Raises UserError with file and line for anything else: no row is padded, cut or guessed.
    """
    text = _text(path)
    large = _read_large(path, text) if len(text) >= LARGE else None
    return large or _read_strictly(path, text)


def _read_large(path: Path, text: str) -> Table | None:
    """None where only a strict reader may read it, or has to say what is wrong."""
    from cxrscore.frames import plain_columns

    header = text.partition("\n")[0].removesuffix("\r").split(",")
    columns = plain_columns(text, longest=MAX_CELL) if len(set(header)) == len(header) else None
    if columns is None:
        return None
    return Table(path, dict(zip(header, columns, strict=True)), list(range(2, len(columns[0]) + 2)))


def _read_strictly(path: Path, text: str) -> Table:
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    usual_limit = csv.field_size_limit(MAX_CELL)
    cells: list[str] = []  # row after row; slices of one list are twice as fast as zip over rows
    lines = [0]
    try:
        header = next(reader, [])
        _check_header(path, header)
        lines = [reader.line_num]
        for row in reader:
            if row and len(row) != len(header):
                raise UserError(
                    f"{path}:{reader.line_num}: {len(row)} cells under a header of {len(header)}; "
                    "a comma inside a cell needs quotes around the cell."
                )
            if row:
                cells += row
                lines.append(reader.line_num)
    except csv.Error as error:
        raise UserError(
            f"{path}:{lines[-1] + 1}: {error}, in the row that starts here; close its quotes, "
            f'and write a quote inside a cell as "". Cells hold at most {MAX_CELL:,} characters.'
        ) from error
    finally:
        csv.field_size_limit(usual_limit)
    if not cells:
        raise UserError(f"{path}: a header and no rows; add the rows, or name another file.")
    return Table(path, {name: cells[i :: len(header)] for i, name in enumerate(header)}, lines[1:])


def _text(path: Path) -> str:
    """The whole file as text. Raises UserError where it is missing, damaged, not UTF-8 or not text."""
    try:
        data = _bounded(path)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise UserError(f"{path}: damaged gzip ({error}); fetch the file again.") from error
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}; a CSV file was expected.") from error
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise UserError(f"{path}: this is UTF-16; save it as UTF-8 (in a spreadsheet: 'CSV UTF-8').")
    nul = data.find(b"\0")
    if nul >= 0:
        raise UserError(
            f"{path}:{_line(data, nul)}: a NUL byte, so this is no text file; export the table again as CSV."
        )
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        byte = f"byte 0x{data[error.start]:02x} is not UTF-8"
        raise UserError(
            f"{path}:{_line(data, error.start)}: {byte}; save it as UTF-8 (in a spreadsheet: 'CSV UTF-8')."
        ) from error


def _bounded(path: Path) -> bytearray:
    """The bytes of a table, unpacked. Raises UserError as soon as there are more than MAX_TABLE_BYTES."""
    is_packed = path.suffix.lower() == ".gz"
    data = bytearray()
    with path.open("rb") as raw, gzip.GzipFile(fileobj=raw) if is_packed else raw as file:
        too_large = not is_packed and path.stat().st_size > MAX_TABLE_BYTES
        while not too_large and (chunk := file.read(READ_BYTES)):
            too_large = len(data) + len(chunk) > MAX_TABLE_BYTES
            data += chunk
    if too_large:
        raise UserError(
            f"{path}: more than {MAX_TABLE_BYTES:,} bytes{' once unpacked' if is_packed else ''}; split the "
            "table, or see whether this is the right file."
        )
    return data


def _line(data: bytes | bytearray, position: int) -> int:
    return data.count(b"\n", 0, position) + 1


def _check_header(path: Path, header: list[str]) -> None:
    if not header:
        raise UserError(f"{path}: empty; a header of column names was expected.")
    for mark, name in ((";", "semicolons"), ("\t", "tabs")):
        if len(header) == 1 and mark in header[0]:
            raise UserError(f"{path}:1: cells are separated by {name}; save it with commas.")
    twice = sorted({name for name in header if header.count(name) > 1})
    if twice:
        raise UserError(f"{path}:1: {', '.join(map(repr, twice))} names two columns; rename one of them.")


def write_table(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """RFC 4180 quoting where needed, `\\n` line ends, UTF-8; other names come out as they came in."""
    lines = csv.writer(_Echo(), lineterminator="\r\n")  # so that csv quotes a cell with a bare \r, too
    with (
        replacing(path) as temporary,
        temporary.open("w", encoding="utf-8", errors="surrogateescape", newline="") as file,
    ):
        file.writelines(lines.writerow(row)[:-2] + "\n" for row in chain([header], rows))


class _Echo:
    """A file for csv.writer that hands each line back."""

    def write(self, line: str) -> str:
        return line
