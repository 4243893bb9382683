"""Damage to the bytes of image files, and to their structure, checksums repaired so that it gets through.

In    the bytes of a good file and a generator.
Out   other bytes, now and then the same.
"""

import struct
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
from image_files import png_chunk, png_chunks, png_of
from jpeg_files import scans_of

Damage = Callable[[bytes, np.random.Generator], bytes]
NUMBERS = (
    0,
    1,
    2,
    3,
    4,
    5,
    7,
    8,
    13,
    16,
    31,
    32,
    33,
    64,
    79,
    80,
    81,
    95,
    96,
    97,
    128,
    255,
    256,
    1000,
    32768,
    65535,
)


def _stretch(data: bytes, rng: np.random.Generator, longest: int = 400) -> slice:
    start = int(rng.integers(len(data)))
    return slice(start, start + int(2 ** rng.uniform(0, np.log2(longest))))


def _place(data: bytes, rng: np.random.Generator) -> int:
    """Anywhere, every other time near the start."""
    return int(rng.integers(len(data) if rng.random() < 0.5 else min(len(data), 128)))


def flip(data: bytes, rng: np.random.Generator) -> bytes:
    changed = bytearray(data)
    for _ in range(rng.integers(1, 4)):
        changed[_place(data, rng)] ^= 1 << rng.integers(8)
    return bytes(changed)


def zero(data: bytes, rng: np.random.Generator) -> bytes:
    where = _stretch(data, rng)
    return data[: where.start] + bytes(len(data[where])) + data[where.stop :]


def randomise(data: bytes, rng: np.random.Generator) -> bytes:
    where = _stretch(data, rng)
    return data[: where.start] + rng.bytes(len(data[where])) + data[where.stop :]


def truncate(data: bytes, rng: np.random.Generator) -> bytes:
    return data[: _place(data, rng)]


def delete(data: bytes, rng: np.random.Generator) -> bytes:
    where = _stretch(data, rng)
    return data[: where.start] + data[where.stop :]


def duplicate(data: bytes, rng: np.random.Generator) -> bytes:
    where = _stretch(data, rng)
    return data[: where.stop] + data[where] + data[where.stop :]


def swap(data: bytes, rng: np.random.Generator) -> bytes:
    length = int(2 ** rng.uniform(1, 9))
    first, second = sorted(int(at) for at in rng.integers(0, len(data), 2))
    if second + length > len(data) or first + length > second:
        return flip(data, rng)
    one, other = data[first : first + length], data[second : second + length]
    return data[:first] + other + data[first + length : second] + one + data[second + length :]


BYTES: tuple[Damage, ...] = (flip, flip, zero, randomise, truncate, delete, duplicate, swap)


def rearranged(items: list[Any], rng: np.random.Generator) -> list[Any]:
    """One of the items left out, said twice, or in another's place."""
    items, at = list(items), int(rng.integers(len(items)))
    way = rng.integers(3)
    if way == 0:
        del items[at]
    elif way == 1:
        items.insert(int(rng.integers(len(items))), items[at])
    else:
        other = int(rng.integers(len(items)))
        items[at], items[other] = items[other], items[at]
    return items


def number(rng: np.random.Generator, old: int, *, limit: int) -> int:
    """Another number in place of the old one: near it, a usual one, or any."""
    way = rng.integers(4)
    if way == 0:
        return (old + int(rng.integers(-3, 4))) % limit
    if way == 1:
        return int(rng.integers(limit))
    return (old * 2 if way == 2 and rng.random() < 0.5 else int(rng.choice(NUMBERS))) % limit


# TIFF


def _entries(data: bytes) -> tuple[str, list[tuple[int, int, int, int]]]:
    """The byte order; tag, type, count and where its values are, of each entry of the directory."""
    order = "<" if data[:2] == b"II" else ">"
    (start,) = struct.unpack_from(f"{order}I", data, 4)
    (n,) = struct.unpack_from(f"{order}H", data, start)
    found = []
    for at in range(start + 2, start + 2 + 12 * n, 12):
        tag, kind, count = struct.unpack_from(f"{order}HHI", data, at)
        inside = count * (2 if kind == 3 else 4) <= 4
        found.append(
            (tag, kind, count, at + 8 if inside else struct.unpack_from(f"{order}I", data, at + 8)[0])
        )
    return order, found


def tag_value(data: bytes, rng: np.random.Generator) -> bytes:
    """One value of one tag, among them offsets and byte counts."""
    order, entries = _entries(data)
    tag, kind, count, at = entries[rng.integers(len(entries))]
    size, letter = (2, "H") if kind == 3 else (4, "I")
    where = at + size * int(rng.integers(count))
    (old,) = struct.unpack_from(f"{order}{letter}", data, where)
    new = number(rng, old, limit=2 ** (8 * size))
    if tag in (273, 279, 324, 325) and rng.random() < 0.5:  # what another strip says
        (new,) = struct.unpack_from(f"{order}{letter}", data, at + size * int(rng.integers(count)))
    return data[:where] + struct.pack(f"{order}{letter}", new) + data[where + size :]


def tag_field(data: bytes, rng: np.random.Generator) -> bytes:
    """The number, type or count of a tag."""
    order, entries = _entries(data)
    (start,) = struct.unpack_from(f"{order}I", data, 4)
    at = start + 2 + 12 * int(rng.integers(len(entries)))
    fields = list(struct.unpack_from(f"{order}HHI", data, at))
    which = int(rng.integers(3))
    choices = ([254, 255, 262, 266, 273, 277, 279, 284, 317, 330, 338, 339], [1, 3, 4, 6, 8, 12, 16])
    fields[which] = number(rng, fields[2], limit=300) if which == 2 else int(rng.choice(choices[which]))
    return data[:at] + struct.pack(f"{order}HHI", *fields) + data[at + 8 :]


def fewer_units(data: bytes, rng: np.random.Generator) -> bytes:
    """Offsets and byte counts that both end sooner, or begin later."""
    order, entries = _entries(data)
    (start,) = struct.unpack_from(f"{order}I", data, 4)
    changed = bytearray(data)
    for i, (tag, _, count, at) in enumerate(entries):
        if tag in (273, 279, 324, 325) and count > 2:
            place = start + 2 + 12 * i
            shift = 4 * int(rng.integers(2))
            struct.pack_into(f"{order}II", changed, place + 4, count - 1, at + shift)
    return bytes(changed)


# PNG


def chunks_rearranged(data: bytes, rng: np.random.Generator) -> bytes:
    return png_of(rearranged(png_chunks(data), rng))


def chunk_content(data: bytes, rng: np.random.Generator) -> bytes:
    """A chunk with damaged content and a right checksum."""
    chunks = png_chunks(data)
    at = int(rng.integers(len(chunks) - 1)) if rng.random() < 0.7 else 0
    kind, body = chunks[at]
    if body:
        chunks[at] = (kind, BYTES[rng.integers(len(BYTES))](body, rng))
    return png_of(chunks)


def rows_content(data: bytes, rng: np.random.Generator) -> bytes:
    """Damaged rows, deflated anew."""
    chunks = png_chunks(data)
    rows = zlib.decompress(b"".join(body for kind, body in chunks if kind == b"IDAT"))
    pixels = zlib.compress(BYTES[rng.integers(len(BYTES))](rows, rng))
    before = [one for one in chunks if one[0] not in (b"IDAT", b"IEND")]
    return png_of([*before, (b"IDAT", pixels), (b"IEND", b"")])


def header_field(data: bytes, rng: np.random.Generator) -> bytes:
    (_, body), *rest = png_chunks(data)
    fields = list(struct.unpack(">IIBBBBB", body))
    which = int(rng.integers(7))
    fields[which] = number(rng, fields[which], limit=2**16 if which < 2 else 17)
    return png_of([(b"IHDR", struct.pack(">IIBBBBB", *fields)), *rest])


def chunk_inserted(data: bytes, rng: np.random.Generator) -> bytes:
    kinds = (b"tRNS", b"sBIT", b"PLTE", b"gAMA", b"eXIf", b"acTL", b"bKGD", b"IDAT", b"teSt", b"caBX")
    kind = kinds[rng.integers(len(kinds))]
    body = bytes(rng.integers(0, 20, rng.choice([0, 1, 2, 3, 4, 6, 8, 30, 256])).astype(np.uint8))
    chunks = png_chunks(data)
    at = int(rng.integers(1, len(chunks)))
    return png_of(chunks[:at]) + png_chunk(kind, body) + png_of(chunks[at:])[8:]


# JPEG


def _segments(data: bytes) -> tuple[list[bytes], bytes]:
    """The segments before the first scan, and the rest."""
    at, found = 2, []
    while data[at + 1] != 0xDA:
        (length,) = struct.unpack_from(">H", data, at + 2)
        found.append(data[at : at + 2 + length])
        at += 2 + length
    return found, data[at:]


def segments_rearranged(data: bytes, rng: np.random.Generator) -> bytes:
    segments, rest = _segments(data)
    return data[:2] + b"".join(rearranged(segments, rng)) + rest


def scans_rearranged(data: bytes, rng: np.random.Generator) -> bytes:
    head, scans, end = scans_of(data)
    return head + b"".join(rearranged(scans, rng)) + end


def segment_content(data: bytes, rng: np.random.Generator) -> bytes:
    """A byte of a segment, as often as not of the frame header; the length stays."""
    segments, rest = _segments(data)
    frame = next(i for i, one in enumerate(segments) if one[1] in (0xC0, 0xC1, 0xC2))
    which = frame if rng.random() < 0.5 else int(rng.integers(len(segments)))
    body = bytearray(segments[which])
    at = int(rng.integers(4, len(body)))
    body[at] = number(rng, body[at], limit=256)
    return data[:2] + b"".join([*segments[:which], bytes(body), *segments[which + 1 :]]) + rest


def scan_content(data: bytes, rng: np.random.Generator) -> bytes:
    """One scan with damaged bytes, the others whole."""
    head, scans, end = scans_of(data)
    at = int(rng.integers(len(scans)))
    scans[at] = scans[at][:20] + BYTES[rng.integers(len(BYTES))](scans[at][20:] or b"\0", rng)
    return head + b"".join(scans) + end


def restarts_rearranged(data: bytes, rng: np.random.Generator) -> bytes:
    """Restart intervals left out, said twice, exchanged; markers lost."""
    head, scans, end = scans_of(data)
    joined = b"".join(scans)
    marks = [at for at in range(len(joined) - 1) if joined[at] == 0xFF and 0xD0 <= joined[at + 1] <= 0xD7]
    if not marks:
        return scans_rearranged(data, rng)
    parts = [joined[a:b] for a, b in zip([0, *marks], [*marks, len(joined)], strict=True)]
    if rng.random() < 0.3:
        at = int(rng.integers(1, len(parts)))
        parts[at] = parts[at][2:]
        return head + b"".join(parts) + end
    return head + parts[0] + b"".join(rearranged(parts[1:], rng)) + end


# GIF


def _blocks(data: bytes) -> tuple[list[bytes], bytes]:
    """Header with palette, extensions and frames; and the end."""
    table = 3 * 2 ** ((data[10] & 7) + 1) if data[10] & 0x80 else 0
    at, found = 13 + table, [data[: 13 + table]]
    while data[at] != 0x3B:
        start = at
        if data[at] == 0x2C:
            at += 11 + (3 * 2 ** ((data[at + 9] & 7) + 1) if data[at + 9] & 0x80 else 0)
        else:
            at += 2
        while data[at]:
            at += 1 + data[at]
        at += 1
        found.append(data[start:at])
    return found, data[at:]


def blocks_rearranged(data: bytes, rng: np.random.Generator) -> bytes:
    (head, *blocks), end = _blocks(data)
    return head + b"".join(rearranged(blocks, rng)) + end


def gif_field(data: bytes, rng: np.random.Generator) -> bytes:
    """A byte or a size of the screen or of the frame."""
    (head, *blocks), _ = _blocks(data)
    frame = len(head) + sum(len(block) for block in blocks[:-1])
    if rng.random() < 0.5:
        at = int(rng.choice([10, 11, 12, frame + 9, frame + 10]))
        return data[:at] + bytes([number(rng, data[at], limit=256)]) + data[at + 1 :]
    at = int(rng.choice([6, 8, frame + 1, frame + 3, frame + 5, frame + 7]))
    (old,) = struct.unpack_from("<H", data, at)
    return data[:at] + struct.pack("<H", number(rng, old, limit=2**12)) + data[at + 2 :]


def sub_blocks_rearranged(data: bytes, rng: np.random.Generator) -> bytes:
    """One of the blocks of LZW codes left out, said twice or exchanged."""
    blocks, end = _blocks(data)
    frame = blocks[-1]
    at = 11 + (3 * 2 ** ((frame[9] & 7) + 1) if frame[9] & 0x80 else 0)
    parts, start = [], at
    while frame[start]:
        parts.append(frame[start : start + 1 + frame[start]])
        start += 1 + frame[start]
    return b"".join([*blocks[:-1], frame[:at], *rearranged(parts, rng), b"\0", end])


STRUCTURE: dict[str, tuple[Damage, ...]] = {
    "TIFF": (tag_value, tag_value, tag_value, tag_field, fewer_units),
    "PNG": (chunks_rearranged, chunk_content, rows_content, header_field, chunk_inserted),
    "JPEG": (segments_rearranged, scans_rearranged, segment_content, scan_content, restarts_rearranged),
    "GIF": (blocks_rearranged, gif_field, gif_field, sub_blocks_rearranged),
}


def damaged(data: bytes, format: str, rng: np.random.Generator) -> tuple[bytes, str]:
    """The file with one to three kinds of damage, structure first; and what they were."""
    kinds = [*STRUCTURE[format]] if rng.random() < 0.7 else [*BYTES]
    chosen = [kinds[rng.integers(len(kinds))]]
    chosen += [BYTES[rng.integers(len(BYTES))] for _ in range(rng.choice([0, 1, 2], p=[0.7, 0.2, 0.1]))]
    for damage in chosen:
        data = damage(data, rng) if data else data
    return data, ", ".join(damage.__name__ for damage in chosen)
