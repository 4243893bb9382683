"""Where a TIFF's pixels are: the strips or tiles that its size asks for, each of them whole.

In    a TIFF's first directory.
Out   Parts; the byte count of each part, or Unreadable.

Every declared pixel has to come from bytes of the file, and each from bytes of its own: as many strips or
tiles as the size asks for, each long enough, none outside the file, in its header or directory, or over
another one. Decoders paint what is missing black, or read the header as pixels.
Byte counts may be missing (image-js/tiff 38) where the parts can be measured: uncompressed, by the size of
the picture; by the end of deflate; by as much PackBits as the size asks for. A measured part has to reach up
to what follows it in the file, or the size and depth are not those of its bytes.
Source: TIFF 6.0, Adobe 1992.
"""

import zlib
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from cxrscore.core.errors import Unreadable
from cxrscore.images.formats.tiff_directory import Directory

NONE, LZW, DEFLATE, PACKBITS = 1, 5, (8, 32946), 32773  # of COMPRESSION
SEPARATE = 2  # of PLANES: one plane per sample
WIDTH, HEIGHT, BITS, COMPRESSION, SAMPLES = 256, 257, 258, 259, 277
STRIP_ROWS, PLANES, TILE_WIDTH, TILE_HEIGHT = 278, 284, 322, 323
STARTS = STRIP_STARTS, TILE_STARTS = 273, 324
LENGTHS = STRIP_LENGTHS, TILE_LENGTHS = 279, 325
MAX_PADDING = 3  # bytes, behind a part: the next one at a multiple of two or four
Spans = Sequence[tuple[int, int]]  # start and length


@dataclass(frozen=True)
class Parts:
    """Strips or tiles: how many the size of the picture asks for, and the bytes of one, decompressed. `rows`
    in each; `last_rows` are needed of the last of a plane, where all have `row_bytes` in a row.
    """

    name: str
    count: int
    per_plane: int
    row_bytes: int
    rows: int
    last_rows: int

    @property
    def most(self) -> int:
        return self.row_bytes * self.rows

    def least(self, i: int) -> int:
        """The bytes that part i must have: a last strip may end with the picture."""
        return self.row_bytes * (self.last_rows if (i + 1) % self.per_plane == 0 else self.rows)


def declared_parts(directory: Directory) -> Parts:
    """Raises Unreadable."""
    width, height = directory.number(WIDTH, 0), directory.number(HEIGHT, 0)
    tiled = TILE_STARTS in directory
    if tiled == (STRIP_STARTS in directory):
        raise Unreadable("CORRUPT_DATA", "the TIFF does not state where its pixels are")
    part_width = directory.number(TILE_WIDTH, 0) if tiled else width
    rows = directory.number(TILE_HEIGHT, 0) if tiled else min(directory.number(STRIP_ROWS, height), height)
    if not (width and height and part_width and rows):
        raise Unreadable("CORRUPT_DATA", f"{width} x {height} pixels in parts of {part_width} x {rows}")
    samples, separate = directory.number(SAMPLES, 1), directory.number(PLANES, 1) == SEPARATE
    row_bits = part_width * directory.number(BITS, 1) * (1 if separate else samples)
    per_plane = -(-width // part_width) * -(-height // rows)
    return Parts(
        name="tile" if tiled else "strip",
        count=per_plane * (samples if separate else 1),
        per_plane=per_plane,
        row_bytes=-(-row_bits // 8),
        rows=rows,
        last_rows=rows if tiled else height - (per_plane - 1) * rows,
    )


def whole_parts(directory: Directory) -> tuple[int, tuple[int, ...]]:
    """The tag of the byte counts, and the counts. Raises Unreadable where a pixel has no bytes in the file,
    or shares them.
    """
    parts = declared_parts(directory)
    start_tag, length_tag = STARTS[parts.name == "tile"], LENGTHS[parts.name == "tile"]
    starts, taken = directory.numbers(start_tag), [(0, 8), *directory.spans(directory.entries)]
    if len(starts) != parts.count:
        found = f"{len(starts)} {parts.name}s, {parts.count} make the picture"
        raise Unreadable("INCOMPLETE" if len(starts) < parts.count else "CORRUPT_DATA", found)
    if length_tag in directory:
        lengths = directory.numbers(length_tag)
    else:
        lengths = _measured_lengths(directory, parts, starts, taken)
    if len(lengths) != parts.count:
        raise Unreadable("CORRUPT_DATA", f"{len(lengths)} byte counts of {parts.count} {parts.name}s")
    spans = list(zip(starts, lengths, strict=True))
    _refuse_short(directory, parts, spans)
    _refuse_shared(spans, taken, parts.name)
    _refuse_wrong_codes(directory, parts, spans)
    return length_tag, lengths


def _measured_lengths(
    directory: Directory, parts: Parts, starts: Sequence[int], taken: Spans
) -> tuple[int, ...]:
    """The byte counts that the directory lacks. Raises Unreadable."""
    compression = directory.number(COMPRESSION, NONE)
    if compression == LZW:
        found = f"a TIFF that does not say how many bytes of LZW a {parts.name} has"
        raise Unreadable("CORRUPT_DATA", f"{found}; save it as PNG")
    _refuse_shared([(start, 1) for start in starts], taken, parts.name)
    limits = sorted({*starts, *(at for at, _ in taken), len(directory.data)})
    lengths = []
    for i, start in enumerate(starts):
        following = bisect_right(limits, start)
        end = limits[following] if following < len(limits) else start
        lengths.append(_measured_length(directory.data[start:end], parts, i, compression))
    return tuple(lengths)


def _measured_length(room: bytes, parts: Parts, i: int, compression: int) -> int:
    """Of part i, whose bytes begin `room`, which ends with what follows it. Raises Unreadable."""
    least = parts.least(i)
    count, length = least, least
    if compression != NONE:
        count, length = MEASURE[compression](room, least if compression == PACKBITS else parts.most + 1)
    if count not in (least, parts.most):
        raise Unreadable("CORRUPT_DATA", f"{parts.name} {i + 1} does not decompress to its pixels")
    if len(room) - length > MAX_PADDING:
        found = f"a TIFF without byte counts, where {parts.name} {i + 1} has {len(room) - length} bytes"
        raise Unreadable("CORRUPT_DATA", f"{found} more than its pixels take; save it as PNG")
    return length


def _refuse_short(directory: Directory, parts: Parts, spans: Spans) -> None:
    raw = directory.number(COMPRESSION, NONE) == NONE
    for i, (start, length) in enumerate(spans):
        if not start or not length:
            raise Unreadable("INCOMPLETE", f"{parts.name} {i + 1} of {parts.count} has no bytes")
        if raw and length not in (parts.least(i), parts.most):
            found = f"{parts.name} {i + 1} has {length} bytes, and {parts.least(i)} make its pixels"
            raise Unreadable("INCOMPLETE" if length < parts.least(i) else "CORRUPT_DATA", found)
        if start + length > len(directory.data):
            raise Unreadable("TRUNCATED", f"the file ends before {parts.name} {i + 1} of {parts.count} does")


def _refuse_shared(spans: Spans, taken: Spans, name: str) -> None:
    """`taken`: by the header, the directory and the values of tags, which may lie over one another."""
    end, is_part = 0, False
    both = [*((*span, True) for span in spans), *((*span, False) for span in taken)]
    for start, length, part in sorted(both):
        if start < end and (part or is_part):
            raise Unreadable("INCOMPLETE", f"a {name} begins at byte {start}, within other bytes of the file")
        if start + length > end:
            end, is_part = start + length, part


def _refuse_wrong_codes(directory: Directory, parts: Parts, spans: Spans) -> None:
    measure = MEASURE.get(directory.number(COMPRESSION, NONE))
    if measure is None:
        return
    for i, (start, length) in enumerate(spans):
        count, _ = measure(directory.data[start : start + length], parts.most + 1)
        if not parts.least(i) <= count <= parts.most:
            raise Unreadable("CORRUPT_DATA", f"{parts.name} {i + 1} does not decompress to its pixels")


def _inflated(packed: bytes, enough: int) -> tuple[int, int]:
    """How many bytes deflate gives, up to `enough`, and how many it takes for them. Its checksum is verified,
    which libtiff does not do. Raises Unreadable.
    """
    inflate = zlib.decompressobj()
    try:
        count = len(inflate.decompress(packed, enough))
    except zlib.error as error:
        raise Unreadable("CORRUPT_DATA", f"the compressed pixels are damaged: {error}") from error
    if not inflate.eof and count < enough:
        raise Unreadable("CORRUPT_DATA", "the compressed pixels have no end")
    return count, len(packed) - len(inflate.unconsumed_tail) - len(inflate.unused_data)


def _unpacked(packed: bytes, enough: int) -> tuple[int, int]:
    """The same of PackBits, of which libtiff drops in silence what is too many. Raises Unreadable."""
    at = count = 0
    while at < len(packed) and count < enough:
        head = packed[at]
        if head < 128:
            at, count = at + 2 + head, count + 1 + head
        elif head > 128:
            at, count = at + 2, count + 257 - head
        else:
            at += 1
    if at > len(packed):
        raise Unreadable("CORRUPT_DATA", "the compressed pixels end within a run")
    return count, at


MEASURE: dict[int, Callable[[bytes, int], tuple[int, int]]] = {  # LZW has neither a checksum nor a length
    **dict.fromkeys(DEFLATE, _inflated),
    PACKBITS: _unpacked,
}
