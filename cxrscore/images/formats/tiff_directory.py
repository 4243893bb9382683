"""A TIFF structure's first directory: that of a TIFF's pixels, and the whole of an EXIF segment.

In    bytes that begin with II or MM.
Out   Directory: the values of its tags on request. IndexError or struct.error where the bytes end before.
Source: TIFF 6.0, Adobe 1992, section 2.
"""

import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

TYPE_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8}
BYTE, SHORT, LONG = 1, 3, 4
WHOLE_NUMBERS = {BYTE: "B", SHORT: "H", LONG: "I"}


@dataclass(frozen=True)
class Entry:
    """Twelve bytes: a tag, the type and count of its values, and the values or where they lie."""

    tag: int
    kind: int
    count: int
    raw: bytes
    at: int  # of the values

    @property
    def length(self) -> int:
        return self.count * TYPE_BYTES.get(self.kind, 1)


@dataclass(frozen=True)
class Directory:
    """`next`: where the next directory begins, 0 where there is none."""

    data: bytes = field(repr=False)
    order: str  # < or >
    at: int
    entries: dict[int, Entry]
    next: int

    def __contains__(self, tag: int) -> bool:
        return tag in self.entries

    def numbers(self, tag: int, default: tuple[int, ...] = ()) -> tuple[int, ...]:
        """The whole numbers of a tag; `default` where it is missing or holds none. Raises struct.error."""
        entry = self.entries.get(tag)
        if entry is None or entry.kind not in WHOLE_NUMBERS or not entry.count:
            return default
        return struct.unpack_from(
            f"{self.order}{entry.count}{WHOLE_NUMBERS[entry.kind]}", self.data, entry.at
        )

    def number(self, tag: int, default: int) -> int:
        return self.numbers(tag, (default,))[0]

    def octets(self, tag: int) -> bytes:
        entry = self.entries.get(tag)
        return self.data[entry.at : entry.at + entry.length] if entry else b""

    def refuse_cut(self) -> None:
        """Raises IndexError where the values of any tag lie beyond the end."""
        if any(entry.at + entry.length > len(self.data) for entry in self.entries.values()):
            raise IndexError

    def spans(self, tags: Iterable[int]) -> list[tuple[int, int]]:
        """Start and length of the directory, and of these tags' values where they lie outside it."""
        outside = [self.entries[tag] for tag in tags if tag in self.entries and self.entries[tag].length > 4]
        return [(self.at, 6 + 12 * len(self.entries)), *((entry.at, entry.length) for entry in outside)]

    def rewritten(self, tags: Iterable[int], numbers: Mapping[int, Sequence[int]]) -> bytes:
        """The same file with another directory at its end: of `tags` and of `numbers`, as longs."""
        entries = {tag: self.entries[tag].raw for tag in tags if tag in self.entries}
        added = bytearray(len(self.data) % 2)  # values, then the directory
        for tag, values in numbers.items():
            content = struct.pack(f"{self.order}{len(values)}I", *values)
            if len(values) > 1:
                at = len(self.data) + len(added)
                added += content
                content = struct.pack(f"{self.order}I", at)
            entries[tag] = struct.pack(f"{self.order}HHI", tag, LONG, len(values)) + content
        start = struct.pack(f"{self.order}I", len(self.data) + len(added))
        added += struct.pack(f"{self.order}H", len(entries))
        added += b"".join(entries[tag] for tag in sorted(entries)) + bytes(4)
        return b"".join((self.data[:4], start, self.data[8:], added))


def read_directory(data: bytes, *, cut: bool = False) -> Directory:
    """Raises struct.error where the bytes end within it, unless it may be `cut`: then it has fewer tags."""
    order = "<" if data[:2] == b"II" else ">"
    (start,) = struct.unpack_from(f"{order}I", data, 4)
    (n,) = struct.unpack_from(f"{order}H", data, start)
    entries: dict[int, Entry] = {}
    end = start + 2 + 12 * n
    if cut and end + 4 > len(data):
        n, end, data = (len(data) - start - 2) // 12, len(data), data + b"\0\0\0\0"
    for place in range(start + 2, start + 2 + 12 * n, 12):
        tag, kind, count = struct.unpack_from(f"{order}HHI", data, place)
        length = count * TYPE_BYTES.get(kind, 1)
        (at,) = struct.unpack_from(f"{order}I", data, place + 8) if length > 4 else (place + 8,)
        entries[tag] = Entry(tag, kind, count, data[place : place + 12], at)
    (more,) = struct.unpack_from(f"{order}I", data, end)
    return Directory(data, order, start, entries, more)
