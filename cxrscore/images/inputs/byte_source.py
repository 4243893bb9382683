"""Where the bytes of one image lie, and who knows it: what a listing and a decoding worker both speak of.

A place also says which file it was when it was listed, so that a file or an archive that was replaced or
written to since is CHANGED when it is opened, and never read by the offsets or under the name of another.
"""

import os
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

Identity = tuple[int, int, int, int, int, int]  # device, inode, bytes, time of change (ns), of status, links
UNKNOWN: Identity = (-1, -1, -1, -1, -1, -1)  # of a file that could not be looked at
NUMBERS = len(UNKNOWN)


@dataclass(frozen=True, slots=True)
class Place:
    """Where the bytes of one image lie: a file of its own, or a stretch of an archive read in place."""

    file: str  # path to open
    offset: int = 0
    stored: int = -1  # bytes to read there; -1: the whole file
    deflated: bool = False  # zlib raw deflate, as in a zip
    size: int = -1  # bytes once inflated, as the archive declares
    crc32: int | None = None
    device: int = -1  # of `file`, as all below, when it was listed
    inode: int = -1
    bytes: int = -1
    changed_ns: int = -1
    status_ns: int = -1
    links: int = -1

    @property
    def identity(self) -> Identity:
        return self.device, self.inode, self.bytes, self.changed_ns, self.status_ns, self.links

    def is_still(self, found: Identity) -> bool:
        """Whether a file that was opened is the one that was listed. An archive's status must not have
        changed either, unless by a link: `cp -p` may bring another into the same inode, with its old time.
        """
        listed = self.identity
        if listed == UNKNOWN:
            return True
        same, (status_ns, links) = listed[:4] == found[:4], found[4:]
        return same and (self.stored < 0 or status_ns == self.status_ns or links != self.links)


class Places(Protocol):
    """Anything that knows where a listed path lies: a folder, archives, both."""

    def place(self, path: str) -> Place: ...


def identity_of(about: os.stat_result) -> Identity:
    """Of a file that was looked at or opened."""
    return (
        *(_signed(about.st_dev), _signed(about.st_ino), about.st_size, _signed(about.st_mtime_ns)),
        *(_signed(about.st_ctime_ns), about.st_nlink),
    )


def _signed(number: int) -> int:
    """As 64 bits with a sign, which an array holds: some file systems use all 64 for an inode."""
    return (number + 2**63) % 2**64 - 2**63


def position(names: Sequence[str], name: str) -> int | None:
    """Where it stands among names that are sorted by their bytes; None where it does not."""
    at = bisect_left(names, os.fsencode(name), key=os.fsencode)
    return at if names[at : at + 1] == [name] else None


@dataclass(frozen=True)
class Files:
    """Files of their own, under one folder: 48 bytes each besides its name."""

    root: str
    names: Sequence[str] = ()  # sorted by their bytes
    identities: Sequence[int] = ()  # NUMBERS each, in the order of `names`

    def place(self, path: str) -> Place:
        file = os.path.join(self.root, path)  # noqa: PTH118 - a Path would be made for each image
        at = position(self.names, path)
        if at is None:
            return Place(file)
        device, inode, size, changed_ns, status_ns, links = self.identities[NUMBERS * at : NUMBERS * (at + 1)]
        return Place(file, 0, -1, False, -1, None, device, inode, size, changed_ns, status_ns, links)
