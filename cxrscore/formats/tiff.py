"""The structure of a TIFF, the same within EXIF, and the checksums of its pixels.

In    the bytes of one file, or of the TIFF structure in a metadata segment.
Out   Header, or a number that the metadata holds. Compressions that lose nothing are read, no other.
Source: TIFF 6.0, Adobe 1992.
"""

import struct
import zlib

from cxrscore.errors import Unreadable
from cxrscore.formats.header import Header

LOSSLESS = {1: "none", 5: "LZW", 8: "deflate", 32773: "PackBits", 32946: "deflate"}
TYPE_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8}


def read_tiff_header(data: bytes) -> Header:
    """Raises Unreadable; IndexError or struct.error where the file ends."""
    tags, more = _tags(data)
    if 256 not in tags or 257 not in tags:
        raise Unreadable("CORRUPT_DATA", "a TIFF without width or height")
    compression = tags.get(259, (1,))[0]
    if compression not in LOSSLESS:
        raise Unreadable("UNSUPPORTED_FORMAT", f"TIFF compression {compression} is not read; convert to PNG")
    if any(start + length > len(data) for start, length in _strips(tags)):
        raise Unreadable("TRUNCATED", "the file ends before its pixels do")
    depth = tags.get(258, (1,))[0]
    return Header(
        format="TIFF",
        width=tags[256][0],
        height=tags[257][0],
        depth=depth,
        full_scale=2**depth - 1 if depth < 16 else None,
        white_is_zero=tags.get(262, (1,))[0] == 0,
        orientation=tags.get(274, (1,))[0],
        frames=2 if more else 1,
    )


def check_tiff_sums(data: bytes, *, max_bytes: int) -> None:
    """Of a deflated TIFF: libtiff stops when a strip is full, before the checksum. Raises zlib.error."""
    tags, _ = _tags(data)
    if LOSSLESS[tags.get(259, (1,))[0]] != "deflate":
        return
    for start, length in _strips(tags):
        inflate = zlib.decompressobj()
        inflate.decompress(data[start : start + length], max_bytes)
        if not inflate.eof:
            raise Unreadable("CORRUPT_DATA", "the compressed pixels of the TIFF have no end")


def orientation_in(exif: bytes) -> int:
    """1 to 8, tag 0x0112 of Exif 2.32."""
    value = first_number(exif, 0x0112, default=1)
    return value if 1 <= value <= 8 else 1


def first_number(tiff: bytes, tag: int, *, default: int) -> int:
    """A number from the TIFF structure in a metadata segment; if that is damaged, the pixels need not be."""
    try:
        return _tags(tiff)[0].get(tag, (default,))[0]
    except (IndexError, struct.error):
        return default


def _strips(tags: dict[int, tuple[int, ...]]) -> list[tuple[int, int]]:
    """Start and length of each strip or tile of pixels."""
    starts, lengths = tags.get(273, tags.get(324, ())), tags.get(279, tags.get(325, ()))
    if not starts or len(starts) != len(lengths):
        raise Unreadable("CORRUPT_DATA", "a TIFF that does not say where its pixels are")
    return list(zip(starts, lengths, strict=True))


def _tags(data: bytes) -> tuple[dict[int, tuple[int, ...]], int]:
    """The first directory's whole numbers by tag, and where the next begins. Raises at the end of data."""
    order = "<" if data[:2] == b"II" else ">"
    (start,) = struct.unpack_from(f"{order}I", data, 4)
    (n,) = struct.unpack_from(f"{order}H", data, start)
    tags = {}
    for entry in range(start + 2, start + 2 + 12 * n, 12):
        tag, kind, count = struct.unpack_from(f"{order}HHI", data, entry)
        length = count * TYPE_BYTES.get(kind, 1)
        (at,) = struct.unpack_from(f"{order}I", data, entry + 8) if length > 4 else (entry + 8,)
        if at + length > len(data):
            raise IndexError
        if kind in (3, 4) and count:
            tags[tag] = struct.unpack_from(f"{order}{count}{'H' if kind == 3 else 'I'}", data, at)
    (more,) = struct.unpack_from(f"{order}I", data, start + 2 + 12 * n)
    return tags, more
