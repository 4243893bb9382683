"""The structure of a PNG, every checksum verified, and a new PNG for a decoder that trusts it.

In    the bytes of one file; its Header.
Out   Header with the chunks; a PNG of the critical chunks and tRNS, whose rows are all there. No text is
      inflated but metadata that may say how the picture is turned, and of that at most MAX_TEXT bytes.
Whole rows after the last one are ignored, as by libpng: some encoders write one too many (image-png 619).
sBIT is let be: it tells how fine the samples once were, and not their scale, which is that of the depth.
Source: W3C PNG, third edition; ImageMagick's `Raw profile type` texts.
"""

import struct
import zlib
from collections.abc import Sequence

from cxrscore.core.errors import Unreadable
from cxrscore.images.formats.header import Header
from cxrscore.images.formats.orientation import orientation, raw_profile

SIGNATURE = b"\x89PNG\r\n\x1a\n"
CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
ADAM7 = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]
CRITICAL = (b"IHDR", b"PLTE", b"IDAT", b"IEND")
RANK = {b"IHDR": 0, b"PLTE": 1, b"tRNS": 2, b"IDAT": 3}  # the order of those that change pixels, once each
MAX_RANK = len(RANK)
PALETTE = 3  # a colour type
MAX_TEXT = 1 << 20  # bytes; EXIF has its directory in front
EXIF_TEXTS = (b"Raw profile type exif", b"Raw profile type APP1")
XMP_TEXT = b"XML:com.adobe.xmp"


def read_png_header(data: bytes) -> Header:
    """Raises Unreadable; struct.error where the file ends."""
    chunks, texts = _chunks(data)
    width, height, depth, colour, packing, filtering, interlacing = struct.unpack(">IIBBBBB", chunks[b"IHDR"])
    if colour not in CHANNELS:
        raise Unreadable("CORRUPT_DATA", f"colour type {colour} does not exist")
    if packing or filtering or interlacing > 1:
        found = f"compression {packing}, filter {filtering} or interlace {interlacing}"
        raise Unreadable("CORRUPT_DATA", f"not valid in a PNG: {found}")
    if depth == 16 and b"tRNS" in chunks:
        raise Unreadable("UNSUPPORTED_FORMAT", "16 bits with a transparent shade; save without transparency")
    _check_colours(chunks, colour, depth)
    return Header(
        format="PNG",
        width=width,
        height=height,
        decoded_bytes=max(_row_bytes(chunks[b"IHDR"]), 4 * width * height if colour else 0),
        depth=depth,
        orientation=orientation(*_metadata(chunks, texts)),
        frames=struct.unpack_from(">I", chunks.get(b"acTL", b"\0\0\0\1"))[0],
        colours=len(chunks[b"PLTE"]) // 3 if colour == PALETTE else None,
        chunks=chunks,
    )


def rewrite_png(header: Header) -> bytes:
    """A new PNG, its pixels inflated once and stored: Pillow paints missing rows black in silence."""
    rows = _rows(header.chunks[b"IDAT"], header.chunks[b"IHDR"])
    chunks = header.chunks | {b"IDAT": zlib.compress(rows, 0)}
    del rows
    names = [kind for kind in (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND") if kind in chunks]
    return b"".join((SIGNATURE, *(piece for kind in names for piece in _chunk(kind, chunks[kind]))))


def _rows(packed: bytes, ihdr: bytes) -> bytes:
    """The filtered rows that the header declares. Raises Unreadable.

    Bytes beyond them are a sign of another width or depth, unless they are whole rows: at most as many again
    are inflated, and none where the passes of Adam7 would begin elsewhere.
    """
    _, height, _, _, _, _, interlaced = struct.unpack(">IIBBBBB", ihdr)
    expected = _row_bytes(ihdr)
    inflate = zlib.decompressobj()
    try:
        rows = inflate.decompress(packed, expected)
        beyond = len(inflate.decompress(inflate.unconsumed_tail, expected))
    except zlib.error as error:
        raise Unreadable("CORRUPT_DATA", f"the compressed pixels are damaged: {error}") from error
    if len(rows) < expected or not (inflate.eof or beyond):
        raise Unreadable("TRUNCATED", f"{len(rows)} bytes of pixels where the header says {expected}")
    if beyond and (interlaced or beyond % (expected // height) or not inflate.eof):
        raise Unreadable("CORRUPT_DATA", f"more bytes of pixels than the {expected} that the header says")
    return rows


def _check_colours(chunks: dict[bytes, bytes], colour: int, depth: int) -> None:
    """Raises Unreadable where a palette or transparency is not as the colour type asks for it."""
    palette, clear = chunks.get(b"PLTE", b""), chunks.get(b"tRNS", b"")
    if colour == PALETTE and not (3 <= len(palette) <= 3 * 2**depth and len(palette) % 3 == 0):
        raise Unreadable("CORRUPT_DATA", f"a palette (PLTE) of {len(palette)} bytes for {depth} bits")
    most = {0: 2, 2: 6, PALETTE: len(palette) // 3}.get(colour, 0)
    if len(clear) > most or (clear and colour != PALETTE and len(clear) < most):
        raise Unreadable(
            "CORRUPT_DATA", f"transparency (tRNS) of {len(clear)} bytes for colour type {colour}"
        )


def _metadata(chunks: dict[bytes, bytes], texts: Sequence[tuple[bytes, bytes]]) -> tuple[bytes, bytes]:
    """EXIF and XMP, wherever they are: in eXIf, or in one of three kinds of text."""
    exif, xmp = chunks.get(b"eXIf", b""), b""
    for kind, body in texts:
        name, _, rest = body.partition(b"\0")
        if name in EXIF_TEXTS:
            exif = exif or raw_profile(_text(kind, rest))
        elif name == XMP_TEXT:
            xmp = xmp or _text(kind, rest)
    return exif, xmp


def _text(kind: bytes, rest: bytes) -> bytes:
    """What follows the name in a text chunk, at most MAX_TEXT bytes of it; empty where it is damaged."""
    packed = kind == b"zTXt"
    if kind == b"zTXt":
        rest = rest[1:]
    elif kind == b"iTXt":
        packed = rest[:1] == b"\1"
        rest = b"".join(rest[2:].split(b"\0", 2)[2:])  # behind language and translated name
    try:
        return zlib.decompressobj().decompress(rest, MAX_TEXT) if packed else rest[:MAX_TEXT]
    except zlib.error:
        return b""


def _chunks(data: bytes) -> tuple[dict[bytes, bytes], list[tuple[bytes, bytes]]]:
    """Chunks by type, of which the first counts; IDAT joined. And all texts. Every checksum is verified."""
    chunks: dict[bytes, bytes] = {}
    pixels, texts = [], []
    at, last, rank = 8, b"", -1
    while b"IEND" not in chunks:
        length, kind = struct.unpack_from(">I4s", data, at)
        (checksum,) = struct.unpack_from(">I", data, at + 8 + length)
        if zlib.crc32(data[at + 4 : at + 8 + length]) != checksum:
            raise Unreadable("CORRUPT_DATA", f"byte {at}: the checksum of a PNG chunk is wrong")
        if (kind == b"IHDR") != (at == 8) or (kind == b"IHDR" and length != 13):
            raise Unreadable("CORRUPT_DATA", f"byte {at}: a PNG begins with its one header")
        if kind[:1].isupper() and kind not in CRITICAL:
            raise Unreadable("UNSUPPORTED_FORMAT", "a private PNG variant (Apple's CgBI?); save as plain PNG")
        follows = kind == last == b"IDAT" or RANK.get(kind, MAX_RANK) > rank
        if not follows:
            raise Unreadable("CORRUPT_DATA", f"byte {at}: a chunk {kind.decode()} that is not allowed there")
        last, rank = kind, RANK.get(kind, rank)
        body = data[at + 8 : at + 8 + length]
        if kind == b"IDAT":
            pixels.append(body)
        elif kind in (b"tEXt", b"zTXt", b"iTXt"):
            texts.append((kind, body))
        chunks.setdefault(kind, body)
        at += 12 + length
    return {**chunks, b"IDAT": b"".join(pixels)}, texts


def _chunk(kind: bytes, body: bytes) -> tuple[bytes, ...]:
    return struct.pack(">I", len(body)), kind, body, struct.pack(">I", zlib.crc32(body, zlib.crc32(kind)))


def _row_bytes(ihdr: bytes) -> int:
    """The length of all filtered rows, of the one pass or of the seven of Adam7."""
    width, height, depth, colour, _, _, interlaced = struct.unpack(">IIBBBBB", ihdr)
    passes = ADAM7 if interlaced else [(0, 0, 1, 1)]
    shapes = [(-((x - width) // dx), -((y - height) // dy)) for x, y, dx, dy in passes]
    return sum(h * (1 + (w * CHANNELS[colour] * depth + 7) // 8) for w, h in shapes if w > 0)
