"""What a run has done so far, on disk: shards of rows, each whole or not there.

In    rows in the order of the plan, as they are scored.
Out   the same rows after any kill; the next run resumes behind the last whole shard.

    <out>.journal/lock                 held by the run that writes
                  journal              the mark that the folder is one; see journal_folder.py
                  run.json             its fingerprint: all that decides a row's bytes
                  manifest.jsonl       the files, their sizes and times of change, when the run began
                  000000000.shard ...  a sha256, what happened to each file, float32 (n, F, L)
"""

import json
import time
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cxrscore.core.errors import Stopped, UserError, promise
from cxrscore.core.files import (
    is_count,
    is_regular,
    parse_json,
    read_json,
    replacing,
    sha256_bytes,
    write_bytes,
    write_text,
)
from cxrscore.core.lock import locked
from cxrscore.scoring.journal_folder import LOCK, MANIFEST, RUN, clear, mark, refuse_strange, shard_paths

COMMIT_S = 60.0  # a slow run commits before a shard is full: a kill costs at most about a minute
MAGIC = b"cxrscore shard 1 "
COUNTED = ("start", "exact", "turned", "halvings", "shape")

Fingerprint = Mapping[str, Any]
Listed = tuple[str, int, int, int]  # path, bytes, times of change in ns: of the bytes, of the status


@dataclass(frozen=True)
class File:
    """What became of one file: the bytes that were read, and why it has no score, where it has none."""

    bytes: int
    sha256: str
    fault: tuple[str, str, str] | None = None  # stage, kind, message


@dataclass(frozen=True)
class Rows:
    """Rows `start` to `start + n` of the plan. `values` (n, F, L): each fold's mean over views, NaN where
    the file has a fault.
    """

    start: int
    files: Sequence[File]
    values: NDArray[np.float32]
    exact: int = 0  # how many were computed once more in fp32
    turned: int = 0  # how many were turned upright, as their EXIF orientation says
    halvings: Sequence[int] = ()

    def __post_init__(self) -> None:
        promise(len(self.files) == len(self.values), f"{len(self.files)} files, scores {self.values.shape}")
        faulty = np.array([file.fault is not None for file in self.files], dtype=bool)
        promise((np.isnan(self.values).all((1, 2)) == faulty).all(), "a score for a file with a fault")
        promise((np.isfinite(self.values).all((1, 2)) == ~faulty).all(), "a file without score and fault")

    def behind(self, done: int) -> "Rows":
        """Without the rows before `done`."""
        skip = max(0, done - self.start)
        return self.cut(skip, len(self.files)) if skip else self

    def cut(self, first: int, last: int) -> "Rows":
        """The counts stay with the first part: they are only ever summed."""
        counts = (self.exact, self.turned, self.halvings) if first == 0 else (0, 0, ())
        return Rows(self.start + first, self.files[first:last], self.values[first:last], *counts)

    def with_(self, part: "Rows") -> "Rows":
        """`part` in the place of the rows that it replaces."""
        first = part.start - self.start
        last = first + len(part.files)
        promise(0 <= first <= last <= len(self.files), f"rows from {part.start} in a shard from {self.start}")
        return _joined([self.cut(0, first), part, self.cut(last, len(self.files))])

    def encoded(self) -> bytes:
        about = {
            "start": self.start,
            "shape": self.values.shape,
            "exact": self.exact,
            "turned": self.turned,
            "halvings": list(self.halvings),
            "files": [(file.bytes, file.sha256, file.fault) for file in self.files],
        }
        line = json.dumps(about).encode()
        payload = line + b"\n" + np.ascontiguousarray(self.values, dtype="<f4").tobytes()
        return MAGIC + sha256_bytes(payload).encode() + b"\n" + payload

    @classmethod
    def decoded(cls, data: bytes) -> "Rows | None":
        """None for bytes that are not a whole shard."""
        stated, _, payload = data.partition(b"\n")
        if stated != MAGIC + sha256_bytes(payload).encode():
            return None
        line, _, raw = payload.partition(b"\n")
        try:
            return cls._told(parse_json(line), raw)
        except (ValueError, KeyError, TypeError):
            return None

    @classmethod
    def _told(cls, about: Any, raw: bytes) -> "Rows":
        """Raises ValueError, KeyError or TypeError where no run has written this."""
        start, exact, turned, halvings, shape = (about[name] for name in COUNTED)
        files = [_file(*told) for told in about["files"]]
        texts = [text for file in files for text in (file.sha256, *(file.fault or ()))]
        numbers = [start, exact, turned, *halvings, *shape, *(file.bytes for file in files)]
        if not all(map(is_count, numbers)) or not all(isinstance(text, str) for text in texts):
            raise ValueError("not of their types")
        values = np.frombuffer(raw, dtype="<f4").reshape(shape)
        if values.ndim != 3 or len(values) != len(files) or 0 in halvings:
            raise ValueError("not of one size")
        scored = np.array([file.fault is None for file in files], dtype=bool)
        finite, missing = np.isfinite(values).all((1, 2)), np.isnan(values).all((1, 2))
        if (finite != scored).any() or (missing == scored).any():
            raise ValueError("scores and faults do not match")
        return cls(start, files, values, exact, turned, halvings)


@dataclass
class Journal:
    """A journal whose lock is held, until it is `removed`. `done`: rows that are safe on disk."""

    folder: Path
    shard_rows: int
    done: int = 0
    removed: bool = False
    _waiting: list[Rows] = field(default_factory=list)
    _committed_at: float = field(default_factory=time.monotonic)

    @property
    def begun(self) -> bool:
        return (self.folder / RUN).exists()

    def fingerprint(self) -> dict[str, Any]:
        """What the run that began this journal was. Raises UserError where that cannot be read."""
        try:
            found: dict[str, Any] = read_json(self.folder / RUN)
            other_version = not {"compile", "merge"} <= found["recipe"].keys()
            if is_recipe(found["recipe"]):
                return found
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            other_version = False
        what = "of another version of cxrscore" if other_version else f"{RUN} is damaged"
        raise UserError(f"{self.folder}: {what}; --overwrite starts over.")

    def begin(self, fingerprint: Fingerprint, manifest: Iterator[Listed]) -> None:
        """Start over; what an older run had left is deleted."""
        mark(self.folder)
        (self.folder / RUN).unlink(missing_ok=True)  # first: without it the rest means nothing
        for shard in shard_paths(self.folder):
            shard.unlink()
        with replacing(self.folder / MANIFEST) as temporary, temporary.open("w", encoding="ascii") as file:
            file.writelines(json.dumps(row) + "\n" for row in manifest)  # escapes what is not UTF-8
        write_text(self.folder / RUN, json.dumps(fingerprint, indent=1) + "\n")
        self.done = 0

    def resume(self) -> None:
        """Resume behind the last shard of an unbroken, undamaged row of them; what follows it is deleted."""
        self.done = 0
        for path in shard_paths(self.folder):
            rows = Rows.decoded(path.read_bytes())
            if rows is None or rows.start != self.done:
                path.unlink()
            else:
                self.done += len(rows.files)

    def manifest(self) -> dict[str, tuple[int, int, int]]:
        """Path -> bytes and times of change, of the files that the run began with; empty if damaged."""
        found = {}
        try:
            if not is_regular(self.folder / MANIFEST):
                return {}
            with (self.folder / MANIFEST).open("rb") as file:
                for path, *numbers in map(parse_json, file):
                    size, changed, status = numbers
                    if not (isinstance(path, str) and all(type(one) is int for one in numbers)):
                        return {}
                    found[path] = (size, changed, status)
        except (OSError, ValueError, TypeError):
            return {}
        return found

    @property
    def added(self) -> int:
        """Rows that are on disk or wait for their shard."""
        return self.done + sum(len(rows.files) for rows in self._waiting)

    def add(self, rows: Rows) -> None:
        """Rows that follow those added before; on disk once a shard is full, or after a minute."""
        promise(rows.start == self.added, f"rows from {rows.start} behind {self.added}")
        self._waiting.append(rows)
        late = time.monotonic() - self._committed_at > COMMIT_S
        if late or self.added - self.done >= self.shard_rows:
            self.commit()

    def commit(self) -> None:
        """All rows that were added are on disk when this returns."""
        if not self._waiting:
            return
        rows = _joined(self._waiting)
        for first in range(0, len(rows.files), self.shard_rows):
            part = rows.cut(first, first + self.shard_rows)
            write_bytes(self.folder / f"{part.start:09d}.shard", part.encoded())
            self.done += len(part.files)
        self._waiting.clear()
        self._committed_at = time.monotonic()

    def rows(self) -> Iterator[Rows]:
        """All rows on disk, a shard at a time. Raises Stopped where the disk lost one."""
        return map(_read, shard_paths(self.folder))

    def replace(self, parts: Iterable[Rows]) -> None:
        """Rows on disk become these, none of which lies across two shards; the counts are added. A shard is
        rewritten whole or stays as it was. Raises Stopped where the disk lost one.
        """
        shards = shard_paths(self.folder)
        starts = [int(path.stem) for path in shards]
        new = defaultdict(list)
        for part in parts:
            new[bisect_right(starts, part.start) - 1].append(part)
        for i, several in sorted(new.items()):
            rows = _read(shards[i])
            for part in several:
                rows = rows.with_(part)
            write_bytes(shards[i], rows.encoded())

    def remove(self) -> list[str]:
        """-> names of what others have put there, which stays, and the folder with it."""
        left = clear(self.folder)
        self.removed = True
        return left


@contextmanager
def opened_journal(folder: Path, *, shard_rows: int) -> Iterator[Journal]:
    """The journal in `folder`, which is made; gone afterwards where no run began in it. Raises Busy, and
    UserError where the folder is somebody's own.
    """
    refuse_strange(folder)
    with locked(folder / LOCK):
        journal = Journal(folder, shard_rows)
        try:
            yield journal
        finally:
            if not journal.removed and not journal.begun:
                with suppress(OSError):  # of a full or failing disk, which has been told of
                    journal.remove()


def _read(shard: Path) -> Rows:
    rows = Rows.decoded(shard.read_bytes())
    if rows is None:
        raise Stopped(f"{shard}: damaged since it was written; its rows have to be scored again")
    return rows


def _file(size: int, sha256: str, fault: Sequence[str] | None) -> File:
    """Raises ValueError, TypeError."""
    if fault is None:
        return File(size, sha256)
    stage, kind, message = fault
    return File(size, sha256, (stage, kind, message))


def is_recipe(told: Any) -> bool:
    """Whether it is what a Recipe is as JSON."""
    if not isinstance(told, dict) or told.keys() != {"dtype", "batch_size", "compile", "merge"}:
        return False
    merge = told["merge"]
    whole = isinstance(told["dtype"], str) and type(told["compile"]) is bool and isinstance(merge, dict)
    return whole and all(map(is_count, (told["batch_size"], *merge.values())))


def _joined(many: Sequence[Rows]) -> Rows:
    return Rows(
        many[0].start,
        [file for rows in many for file in rows.files],
        np.concatenate([rows.values for rows in many]),
        sum(rows.exact for rows in many),
        sum(rows.turned for rows in many),
        [chunk for rows in many for chunk in rows.halvings],
    )
