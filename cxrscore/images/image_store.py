"""Prepared images on disk: written once in order, read by row.

In    images in order: name, pixels (S, S) uint8, sha256 of the source bytes, source width and height; perhaps
      a larger copy, (T, T) uint8.
Out   a folder: about.json, how the pixels were made; shard-00000.npy, ... of (n, S, S) uint8 with SHARD_ROWS
      rows each, the last one shorter; index.csv, written last, so that a folder without it is no store;
      quarantine.csv for the files left out. Larger copies are a store of their own in its folder `train`: the
      same images in the same shards and rows.

The index holds the sha256 of each row's pixels, and by its own sha256 names the whole content. A row is
compared with its own when it is first read: nothing changes unseen what a model is trained on.
"""

import csv
import hashlib
import json
import mmap
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import tee
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from cxrscore.core.errors import BrokenPromise, UserError, counted
from cxrscore.core.files import half_written, read_json, sha256_bytes, sha256_file, write_text
from cxrscore.tables.csv_table import Table, read_table, write_table

SHARD_ROWS = 4096
INDEX_COLUMNS = ("sha256", "width", "height", "shard", "row", "pixels_sha256")
REMEDY = "run `dvc repro prepare`"
DIGEST_BYTES = hashlib.sha256().digest_size


LARGER = "train"
WRITTEN = r"about\.json|index\.csv|quarantine\.csv|shard-\d{5,}\.npy"


_Row = tuple[str, str, int, int, int, int, str]  # of an index


@dataclass(frozen=True)
class StoredImage:
    """What the store keeps of one image; the pixels go to a shard, the rest to the index."""

    name: str
    pixels: NDArray[np.uint8]  # (S, S)
    sha256: str
    width: int
    height: int
    larger: NDArray[np.uint8] | None = None  # (T, T)


@dataclass(frozen=True)
class Store:
    """Rows 0 to n - 1 in the order of writing, memory-mapped: threads may read at the same time."""

    folder: Path
    size: int
    preprocessing: str  # the name of the rules that made the pixels
    bit_depth: int | None  # as it was declared for them
    ids: list[str]
    sha256: list[str]
    sha256_index: str  # of index.csv, which holds those of all sources and pixels: it names the whole content
    shards: list[NDArray[np.uint8]]  # of (n, S, S)
    place: NDArray[np.int64]  # (n, 2): shard, row in it
    digests: NDArray[np.uint8]  # (n, 32): sha256 of each row's pixels
    checked: NDArray[np.bool_]  # (n,): the rows that were compared with theirs

    def __len__(self) -> int:
        return len(self.ids)

    def read(self, rows: NDArray[np.int64] | Sequence[int]) -> NDArray[np.uint8]:
        """(B,) row numbers, in any order -> (B, S, S) pixels, a copy. Raises UserError where they are not
        those that were written, which is looked at when a row is first read: 0.08 ms for 380 x 380.
        """
        places = self.place[rows].tolist()
        for shard, row in places:
            _fetch(self.shards[shard], row)
        pixels = np.empty((len(rows), self.size, self.size), np.uint8)
        for i, (shard, row) in enumerate(places):
            pixels[i] = self.shards[shard][row]
        for i, row in enumerate(rows):
            if not self.checked[row]:
                self._check(int(row), pixels[i])
        return pixels

    def _check(self, row: int, pixels: NDArray[np.uint8]) -> None:
        if hashlib.sha256(pixels.data).digest() != self.digests[row].tobytes():
            path = shard_path(self.folder, int(self.place[row, 0]))
            raise UserError(
                f"{path}: damaged: the pixels of {self.ids[row]!r} are not those that were prepared; "
                "run `dvc repro --force prepare`."
            )
        self.checked[row] = True


def shard_path(folder: Path, shard: int) -> Path:
    return folder / f"shard-{shard:05}.npy"


def _fetch(shard: Any, row: int) -> None:
    """Ask the kernel for the pages of this row, without waiting.

    Left to page faults it reads ahead as if a file were read in order, and what it reads is gone before its
    turn comes: 48 of 4,000 rows of 380 px from a disk that reads 8 MB ahead are 44 times the bytes asked for
    and 150 rows/s; this way 1.03 times and 6,000 rows/s.
    """
    start = shard.offset + row * shard.strides[0]
    page = start - start % mmap.PAGESIZE
    shard.base.madvise(mmap.MADV_WILLNEED, page, start + shard.strides[0] - page)


def write_store(
    folder: Path,
    images: Iterable[StoredImage],
    *,
    size: int,
    id_column: str,
    preprocessing: str,
    bit_depth: int | None = None,
    larger_size: int | None = None,
    shard_rows: int = SHARD_ROWS,
) -> None:
    """One pass over `images`, one image in memory at a time. `larger_size`: T, where larger copies are
    stored as well.
    """
    about = json.dumps({"preprocessing": preprocessing, "bit_depth": bit_depth}) + "\n"
    larger = folder / LARGER
    for store in (folder, larger) if larger_size else (folder,):
        store.mkdir(parents=True, exist_ok=True)
        write_text(store / "about.json", about)
    columns, digests = [id_column, *INDEX_COLUMNS], list[str]()
    first, second = tee(images)
    rows = _write_shards(folder, first, size=size, shard_rows=shard_rows)
    if larger_size:
        copies = _write_shards(larger, map(_larger_copy, second), size=larger_size, shard_rows=shard_rows)
        rows = _in_step(rows, copies, digests)
    else:
        del second  # it would keep every image
    write_table(folder / "index.csv", columns, rows)
    if larger_size:
        write_table(larger / "index.csv", columns, _with_digests(folder / "index.csv", digests))


def write_quarantine(folder: Path, rows: Iterable[tuple[str, str, str]], *, id_column: str) -> None:
    """`rows` are name, kind, message."""
    write_table(folder / "quarantine.csv", [id_column, "kind", "message"], rows)


def others_in(folder: Path) -> list[str]:
    """Names of what is not a file of a store, whole or half-written; an index of something else is none."""
    ours = {path.name for path in _files(folder)}
    if _is_folder(folder / LARGER):
        if others := others_in(folder / LARGER):
            return [f"{LARGER}/{name}" for name in others]
        ours.add(LARGER)
    if not _is_index(folder / "index.csv"):
        ours.discard("index.csv")
    return sorted(path.name for path in folder.iterdir() if path.name not in ours)


def remove_store(folder: Path) -> None:
    """The files of a store, and the folder unless it holds others. Nothing where there is none."""
    if _is_folder(folder / LARGER):
        remove_store(folder / LARGER)
    if folder.is_dir():
        for path in _files(folder):
            path.unlink(missing_ok=True)
        with suppress(OSError):
            folder.rmdir()


def _files(folder: Path) -> list[Path]:
    whole = [path for path in folder.iterdir() if re.fullmatch(WRITTEN, path.name) and path.is_file()]
    return [*whole, *half_written(folder, WRITTEN)]


def _is_folder(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink()


def _is_index(path: Path) -> bool:
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return f",{','.join(INDEX_COLUMNS[:5])}".encode() in file.read(100_000)  # also an older version's


def open_store(folder: Path) -> Store:
    """Raises UserError where shards and index are not of one piece."""
    index_csv = folder / "index.csv"
    if not index_csv.is_file():
        raise UserError(f"{folder}: no prepared images here (no index.csv); {REMEDY}.")
    index = read_table(index_csv)
    id_column = next(iter(index.columns))
    if tuple(index.columns) != (id_column, *INDEX_COLUMNS):
        found = ", ".join(index.columns)
        raise UserError(f"{index_csv}:1: columns {found} are not those of an index; {REMEDY}.")
    place = _read_place(index)
    shards = [_open_shard(folder, shard, int(n)) for shard, n in enumerate(np.bincount(place[:, 0]))]
    size = shards[0].shape[1]
    if any(shard.shape[1:] != (size, size) for shard in shards):
        raise UserError(f"{folder}: shards of different image sizes; {REMEDY}.")
    preprocessing, bit_depth = _read_about(folder / "about.json")
    return Store(
        folder=folder,
        size=size,
        preprocessing=preprocessing,
        bit_depth=bit_depth,
        ids=index.columns[id_column],
        sha256=index.columns["sha256"],
        sha256_index=sha256_file(index_csv),
        shards=shards,
        place=place,
        digests=_read_digests(index),
        checked=np.zeros(len(index), dtype=bool),
    )


def _read_about(path: Path) -> tuple[str, int | None]:
    try:
        about = read_json(path)
        preprocessing, bit_depth = about["preprocessing"], about["bit_depth"]
        if isinstance(preprocessing, str) and (bit_depth is None or type(bit_depth) is int):
            return preprocessing, bit_depth
        raise ValueError("values of another type")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path}: missing or damaged; {REMEDY}.") from error


def _write_shards(
    folder: Path, images: Iterable[StoredImage], *, size: int, shard_rows: int
) -> Iterator[_Row]:
    """Rows of the index, each after its pixels are written."""
    iterator = iter(images)
    shard = 0
    while (image := next(iterator, None)) is not None:
        with shard_path(folder, shard).open("wb") as file:
            _write_header(file, n=shard_rows, size=size)
            row = 0
            while image is not None:
                if image.pixels.shape != (size, size) or image.pixels.dtype != np.uint8:
                    raise BrokenPromise(f"{image.name}: {image.pixels.dtype} of shape {image.pixels.shape}")
                pixels = image.pixels.tobytes()
                file.write(pixels)
                yield image.name, image.sha256, image.width, image.height, shard, row, sha256_bytes(pixels)
                row += 1
                image = next(iterator, None) if row < shard_rows else None
            file.seek(0)
            _write_header(file, n=row, size=size)
            file.flush()
            os.fsync(file.fileno())
        shard += 1


def _larger_copy(image: StoredImage) -> StoredImage:
    if image.larger is None:
        raise BrokenPromise(f"{image.name}: no larger copy")
    return replace(image, pixels=image.larger)


def _in_step(rows: Iterator[_Row], copies: Iterator[_Row], digests: list[str]) -> Iterator[_Row]:
    """The rows, each when its copy is written as well; the copies' digests are kept."""
    for row, copy in zip(rows, copies, strict=True):
        digests.append(copy[-1])
        yield row


def _with_digests(index_csv: Path, digests: Iterable[str]) -> Iterator[Sequence[str]]:
    """The rows of an index, line by line, with other digests."""
    with index_csv.open(encoding="utf-8", errors="surrogateescape", newline="") as file:
        rows = csv.reader(file)
        next(rows)
        for row, digest in zip(rows, digests, strict=True):
            yield [*row[:-1], digest]


def _write_header(file: BinaryIO, *, n: int, size: int) -> None:
    """Of one length whatever n is: numpy pads the first axis of an .npy header so that a file can grow."""
    shape = (n, size, size)
    np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})


def _read_place(index: Table) -> NDArray[np.int64]:
    """(n, 2) shard and row of each image: shards in order, rows counted from 0 in each."""
    try:
        place = np.array([index.columns["shard"], index.columns["row"]], dtype=np.int64).T
    except ValueError as error:
        raise UserError(f"{index.path}: shard and row are whole numbers ({error}); {REMEDY}.") from error
    shard, row = place.T
    starts = np.append(True, shard[1:] != shard[:-1])
    follows = np.where(starts[1:], (np.diff(shard) == 1) & (row[1:] == 0), np.diff(row) == 1)
    if place[0].any() or not follows.all():
        line = index.lines[int(np.argmin(np.append(not place[0].any(), follows)))]
        raise UserError(f"{index.path}:{line}: shards and rows do not count up one by one; {REMEDY}.")
    return place


def _read_digests(index: Table) -> NDArray[np.uint8]:
    """(n, 32) bytes of each row's sha256."""
    cells = index.columns["pixels_sha256"]
    try:
        if any(len(cell) != 2 * DIGEST_BYTES for cell in cells):
            raise ValueError("a cell is longer or shorter")
        return np.frombuffer(bytes.fromhex("".join(cells)), np.uint8).reshape(-1, DIGEST_BYTES)
    except ValueError as error:
        raise UserError(
            f"{index.path}: pixels_sha256 is 64 hexadecimal digits ({error}); {REMEDY}."
        ) from error


def _open_shard(folder: Path, shard: int, n: int) -> NDArray[np.uint8]:
    path = shard_path(folder, shard)
    try:
        pixels: NDArray[np.uint8] = np.load(path, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError as error:
        raise UserError(
            f"{path}: missing, and the index lists {counted(n, 'image')} in it; {REMEDY}."
        ) from error
    except (OSError, EOFError, ValueError) as error:
        raise UserError(f"{path}: damaged ({error}); {REMEDY}.") from error
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or len(pixels) != n:
        found = f"{pixels.dtype} of shape {pixels.shape}"
        raise UserError(f"{path}: {found}; the index lists {counted(n, 'image')}; {REMEDY}.")
    return pixels
