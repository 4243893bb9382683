"""The structure of a PNG, every checksum verified, and the PNG anew for a decoder that trusts it.

In    the bytes of one file; its Header.
Out   Header with the chunks; a PNG of the critical chunks and tRNS, whose rows are all there. No text is ever
      inflated.
Source: W3C PNG, third edition.
"""

import struct
import zlib

from cxrscore.errors import Unreadable
from cxrscore.formats.header import Header
from cxrscore.formats.tiff import orientation_in

SIGNATURE = b"\x89PNG\r\n\x1a\n"
CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
ADAM7 = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]
CRITICAL = (b"IHDR", b"PLTE", b"IDAT", b"IEND")


def read_png_header(data: bytes) -> Header:
    """Raises Unreadable; struct.error where the file ends."""
    chunks = _chunks(data)
    width, height, depth, colour, _, _, _ = struct.unpack(">IIBBBBB", chunks[b"IHDR"])
    if colour not in CHANNELS:
        raise Unreadable("CORRUPT_DATA", f"colour type {colour} does not exist")
    if depth == 16 and b"tRNS" in chunks:
        raise Unreadable("UNSUPPORTED_FORMAT", "16 bits with a transparent shade; save without transparency")
    significant = chunks.get(b"sBIT", b"")
    return Header(
        format="PNG",
        width=width,
        height=height,
        depth=depth,
        full_scale=2 ** significant[0] - 1 if significant and 0 < significant[0] < 16 else None,
        orientation=orientation_in(chunks.get(b"eXIf", b"")),
        frames=struct.unpack_from(">I", chunks.get(b"acTL", b"\0\0\0\1"))[0],
        chunks=chunks,
    )


def rewrite_png(header: Header) -> bytes:
    """The PNG anew, its pixels inflated once and stored: Pillow paints missing rows black in silence."""
    expected = _row_bytes(header)
    inflate = zlib.decompressobj()
    try:
        rows = inflate.decompress(header.chunks[b"IDAT"], expected + 1)
    except zlib.error as error:
        raise Unreadable("CORRUPT_DATA", f"the compressed pixels are damaged: {error}") from error
    if len(rows) < expected:
        raise Unreadable("TRUNCATED", f"{len(rows)} bytes of pixels where the header says {expected}")
    if len(rows) > expected:
        raise Unreadable("CORRUPT_DATA", f"more bytes of pixels than the {expected} that the header says")
    chunks = header.chunks | {b"IDAT": zlib.compress(rows, 0)}
    names = [kind for kind in (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND") if kind in chunks]
    return SIGNATURE + b"".join(_chunk(kind, chunks[kind]) for kind in names)


def _chunks(data: bytes) -> dict[bytes, bytes]:
    """Chunks by type, of which the first counts; IDAT joined. Every checksum is verified."""
    chunks: dict[bytes, bytes] = {}
    pixels = []
    at = 8
    while b"IEND" not in chunks:
        length, kind = struct.unpack_from(">I4s", data, at)
        (checksum,) = struct.unpack_from(">I", data, at + 8 + length)
        if zlib.crc32(data[at + 4 : at + 8 + length]) != checksum:
            raise Unreadable("CORRUPT_DATA", f"byte {at}: the checksum of a PNG chunk is wrong")
        if (kind == b"IHDR") != (at == 8) or (kind == b"IHDR" and length != 13):
            raise Unreadable("CORRUPT_DATA", f"byte {at}: a PNG begins with its one header")
        if kind[:1].isupper() and kind not in CRITICAL:
            raise Unreadable("UNSUPPORTED_FORMAT", "a private PNG variant (Apple's CgBI?); save as plain PNG")
        body = data[at + 8 : at + 8 + length]
        if kind == b"IDAT":
            pixels.append(body)
        chunks.setdefault(kind, body)
        at += 12 + length
    return {**chunks, b"IDAT": b"".join(pixels)}


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(body, zlib.crc32(kind)))


def _row_bytes(header: Header) -> int:
    """The length of all filtered rows, of the one pass or of the seven of Adam7."""
    width, height, depth, colour, _, _, interlaced = struct.unpack(">IIBBBBB", header.chunks[b"IHDR"])
    passes = ADAM7 if interlaced else [(0, 0, 1, 1)]
    shapes = [(-((x - width) // dx), -((y - height) // dy)) for x, y, dx, dy in passes]
    return sum(h * (1 + (w * CHANNELS[colour] * depth + 7) // 8) for w, h in shapes if w > 0)
