"""The members of an archive that is being listed: each becomes a path, a count or a fault.

In    a member's name, where its bytes lie, what is known to be wrong with it; links, and what they lead to.
Out   Index, and of that Members: places in one archive.
"""

import os
import posixpath
import re
import zlib
from array import array
from collections import Counter
from collections.abc import Mapping, Set
from dataclasses import dataclass, field
from functools import partial
from io import BufferedReader

from cxrscore.core.errors import BrokenPromise
from cxrscore.images.inputs.byte_source import Identity, Place, position
from cxrscore.images.inputs.file_list import Fault
from cxrscore.images.inputs.skipped import DOWNLOADS, HIDDEN, TEXTS, is_hidden, is_partial, may_be_text
from cxrscore.images.reading import HEAD_BYTES, sniff

LINKS = "links in the archive"
TWICE = "a link to a name that the archive holds twice; rename one"
MAX_LINKS = 40  # to follow, one to the next, as Linux does
Where = tuple[int, int, int, int, int]  # offset, stored, size, CRC-32 or -1, 1 if deflated
Member = tuple[Where, tuple[str, str] | None]  # where it is, and what is wrong with it
NOWHERE: Where = (0, 0, 0, -1, 0)


@dataclass(frozen=True)
class Members:
    """Places in one archive: 48 bytes a member besides its name."""

    file: str
    identity: Identity
    names: list[str]  # sorted by their bytes
    row: "array[int]"  # of a name, in `where`
    where: "array[int]"  # five numbers per row

    def place(self, path: str) -> Place:
        at = position(self.names, path)
        if at is None:
            raise BrokenPromise(f"{path!r} is asked for, which the archive does not list")
        start = 5 * self.row[at]
        offset, stored, size, crc32, deflated = self.where[start : start + 5]
        checksum = None if crc32 < 0 else crc32
        return Place(self.file, offset, stored, bool(deflated), size, checksum, *self.identity)


@dataclass(frozen=True)
class Link:
    """`target`: the path in the archive; empty where it leads out, `..` where it turns back behind a folder,
    which may be a link itself.
    """

    name: str
    target: str
    hard: bool


class Bounded(BufferedReader):
    """A file whose headers cannot ask for all memory. ValueError, as other damage."""

    limit = 1 << 20  # bytes; PAX headers are hundreds

    def read(self, size: int | None = -1, /) -> bytes:
        if size is None or size < 0:
            size = os.fstat(self.fileno()).st_size - self.tell()
        if size > self.limit:
            raise ValueError(f"a header of {size:,} bytes")
        return super().read(size)


@dataclass
class Index:
    """One archive being read: its members, and the rest accounted for."""

    file: Bounded
    names: list[str] = field(default_factory=list)
    where: "array[int]" = field(default_factory=partial(array, "q"))
    skipped: Counter[str] = field(default_factory=Counter)
    faults: list[Fault] = field(default_factory=list)
    cut: list[Fault] = field(default_factory=list)
    links: list[Link] = field(default_factory=list)


def take(
    index: Index, name: str, where: Where, *, reason: str = "", fault: tuple[str, str] | None = None
) -> None:
    """One member that is not a folder becomes a path, a count or a fault; `reason` or `fault`: known
    before.
    """
    name = _plain_start(name)
    parts = name.split("/")
    if not reason and not _is_plain(name, parts):
        fault = ("CORRUPT_DATA", "its name is no plain relative path with /; rename it in the archive")
    elif not reason:
        reason = HIDDEN if any(map(is_hidden, parts)) else DOWNLOADS if is_partial(name) else ""
    if not reason and fault is None and may_be_text(name) and not sniff(head(index.file, where)):
        reason = TEXTS
    if reason:
        index.skipped[reason] += 1
    elif fault is not None:
        index.faults.append((name.replace("\0", "%00") or ".", *fault))  # a table holds no NUL
    else:
        index.names.append(name)
        index.where.extend(where)


def _plain_start(name: str) -> str:
    while name.startswith("./"):
        name = name[2:]
    return name


def _is_plain(name: str, parts: list[str]) -> bool:
    odd = "\\" in name or "\0" in name or re.match("[A-Za-z]:", name)
    return not odd and not {"", ".", ".."} & set(parts)


def head(file: Bounded, where: Where, count: int = HEAD_BYTES) -> bytes:
    offset, stored, _, _, deflated = where
    data = os.pread(file.fileno(), min(stored, 4096), offset)
    try:
        return zlib.decompressobj(-zlib.MAX_WBITS).decompress(data, count) if deflated else data
    except zlib.error:
        return b""


def add_link(index: Index, name: str, target: str, *, hard: bool) -> None:
    """`target` is relative to the archive where it is hard, or to the link's own folder."""
    name = _plain_start(name)
    path = posixpath.normpath(target if hard else posixpath.join(posixpath.dirname(name), target))
    path = "" if path.startswith(("/", "..")) else path
    if re.search(r"(^|/)(?!\.\.?/)[^/]+/(\./)*\.\.(/|$)", target):
        path = ".."
    index.links.append(Link(name, path, hard))


def take_links(
    index: Index, members: Mapping[str, Member], folders: Set[str], names: Mapping[str, int]
) -> None:
    """`members`: the files that links may mean, by name; `names`: how often the archive has each name."""
    links = {link.name: link for link in index.links}
    for link in index.links:
        target, hops, twice = link.target, 0, False
        while target in links and hops < MAX_LINKS:
            twice |= names[target] > 1
            target, hops = links[target].target, hops + 1
        if twice or names.get(target, 0) > 1:
            take(index, link.name, NOWHERE, fault=("CORRUPT_DATA", TWICE))
        elif target in members:
            where, fault = members[target]
            take(index, link.name, where, fault=fault)
        elif not link.hard and (not target or target in folders):
            take(index, link.name, NOWHERE, reason=LINKS)
        else:
            take(
                index,
                link.name,
                NOWHERE,
                fault=("VANISHED", "a link to no file of the archive; pack it again"),
            )
