"""Whole TIFF files by hand: every layout, compression, depth and byte order that the reader reads.

In    samples (H, W, channels), and how they lie in the file.
Out   Tiff, whose units (strips or tiles, plane by plane) can be laid out anew with other offsets and counts.
Source: TIFF 6.0, Adobe 1992.
"""

import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import groupby, product

import numpy as np
from image_files import Samples, Whole, a_palette, at_depth, lzw_bits, lzw_codes, packed, scene, shown

COMPRESSIONS = {"raw": 1, "LZW": 5, "deflate": 8, "PackBits": 32773}
TYPES = {3: "H", 4: "I"}
Places = Callable[[list[int], list[int]], tuple[list[int], list[int]]]


@dataclass(frozen=True)
class Tiff:
    """A file's byte order, its tags but offsets and byte counts, and its units in their order."""

    order: str
    tags: dict[int, tuple[int, list[int]]]  # tag -> type, values
    units: list[bytes]

    def laid_out(
        self, places: Places = lambda starts, lengths: (starts, lengths), *, counted: bool = True
    ) -> bytes:
        """Header, units, tags; `places` may change the units' offsets and byte counts, which are left out
        unless `counted`.
        """
        body, starts = bytearray(8), []
        for unit in self.units:
            starts.append(len(body))
            body += unit + bytes(len(unit) % 2)
        where, sizes = places(starts, [len(unit) for unit in self.units])
        tiled = 322 in self.tags
        tags = self.tags | {324 if tiled else 273: (4, where)}
        tags |= {325 if tiled else 279: (4, sizes)} if counted else {}
        entries = b""
        for tag, (kind, values) in sorted(tags.items()):
            content = struct.pack(f"{self.order}{len(values)}{TYPES[kind]}", *values)
            if len(content) > 4:
                content, at = struct.pack(f"{self.order}I", len(body)), content
                body += at + bytes(len(at) % 2)
            entries += struct.pack(f"{self.order}HHI", tag, kind, len(values)) + content.ljust(4, b"\0")
        start = len(body)
        body[:8] = (b"II*\0" if self.order == "<" else b"MM\0*") + struct.pack(f"{self.order}I", start)
        return bytes(body + struct.pack(f"{self.order}H", len(tags)) + entries + bytes(4))


def compressed(rows: list[bytes], compression: int) -> bytes:
    joined = b"".join(rows)
    if compression == 5:
        return lzw_bits(lzw_codes(joined, 8, early=1), high_first=True)
    if compression == 8:
        return zlib.compress(joined)
    return b"".join(_pack_bits(row) for row in rows) if compression == 32773 else joined


def _pack_bits(row: bytes) -> bytes:
    """Runs of three or more as runs, the rest as literals."""
    out, literal = b"", b""
    for value, same in groupby(row):
        length = len(list(same))
        while length > 2:
            out += _literals(literal) + bytes([257 - min(length, 128), value])
            literal, length = b"", length - min(length, 128)
        literal += bytes([value]) * length
    return out + _literals(literal)


def _literals(data: bytes) -> bytes:
    parts = [data[at : at + 128] for at in range(0, len(data), 128)]
    return b"".join(bytes([len(part) - 1]) + part for part in parts)


def _cut(plane: Samples, unit: str, side: int) -> list[Samples]:
    """A plane as strips from the top, or as tiles row by row, filled up beyond the edges."""
    height, width, _ = plane.shape
    if unit == "strips":
        return [plane[y : y + side] for y in range(0, height, side)]
    filled = np.pad(plane, ((0, -height % side), (0, -width % side), (0, 0)), mode="edge")
    corners = product(range(0, height, side), range(0, width, side))
    return [filled[y : y + side, x : x + side] for y, x in corners]


def _differences(unit: Samples) -> Samples:
    """Horizontal differences within the unit: predictor 2."""
    before = np.concatenate([np.zeros_like(unit[:, :1]), unit[:, :-1]], 1)
    return unit - before  # unsigned, so it wraps


def a_tiff(
    samples: Samples,
    *,
    depth: int = 8,
    photometric: int = 1,
    compression: int = 1,
    order: str = "<",
    layout: tuple[str, int] = ("strips", 13),
    planar: bool = False,
    predictor: int = 1,
) -> Tiff:
    """`layout`: strips of so many rows, or tiles with sides of so many pixels."""
    height, width, channels = samples.shape
    planes = np.split(samples, channels, -1) if planar else [samples]
    units = []
    for piece in (one for plane in planes for one in _cut(plane, *layout)):
        values = _differences(piece) if predictor == 2 else piece
        units.append(compressed(packed(values.reshape(len(piece), -1), depth, order), compression))
    tags = {256: (4, [width]), 257: (4, [height]), 258: (3, [depth] * channels), 259: (3, [compression])}
    tags |= {262: (3, [photometric]), 277: (3, [channels]), 284: (3, [1 + planar])}
    unit, side = layout
    tags |= {322: (4, [side]), 323: (4, [side])} if unit == "tiles" else {278: (4, [side])}
    tags |= {317: (3, [2])} if predictor == 2 else {}
    tags |= {338: (3, [2])} if channels in (2, 4) else {}  # alpha, the colours not multiplied by it
    if photometric == 3:
        tags[320] = (3, [int(value) * 257 for value in a_palette(2**depth).T.reshape(-1)])
    return Tiff(order, tags, units)


# kind -> channels, depth, photometric
KINDS = {
    "gray 1 bit": (1, 1, 1),
    "gray 1 bit, zero is white": (1, 1, 0),
    "gray 2 bit": (1, 2, 1),
    "gray 4 bit": (1, 4, 1),
    "gray": (1, 8, 1),
    "gray, zero is white": (1, 8, 0),
    "gray 16 bit": (1, 16, 1),
    "gray 16 bit, zero is white": (1, 16, 0),
    "palette": (1, 8, 3),
    "palette 4 bit": (1, 4, 3),
    "gray+alpha": (2, 8, 1),
    "RGB": (3, 8, 2),
    "RGB 16 bit": (3, 16, 2),
    "RGBA": (4, 8, 2),
    "RGBA 16 bit": (4, 16, 2),
}
LAYOUTS = {
    "strips": ("strips", 13),
    "one strip": ("strips", 80),
    "rows": ("strips", 1),
    "tiles": ("tiles", 32),
}


def tiff_parts(
    kind: str,
    *,
    compression: str = "raw",
    layout: str = "strips",
    order: str = "<",
    planar: bool = False,
    predictor: int = 1,
    orientation: int = 1,
) -> tuple[Tiff, Samples]:
    """The parts of a file, and the samples that are in it."""
    channels, depth, photometric = KINDS[kind]
    samples = at_depth(scene(channels), depth)
    parts = a_tiff(
        samples,
        depth=depth,
        photometric=photometric,
        compression=COMPRESSIONS[compression],
        order=order,
        planar=planar,
        predictor=predictor,
        layout=LAYOUTS[layout],
    )
    if orientation > 1:
        parts = replace(parts, tags=parts.tags | {274: (3, [orientation])})
    return parts, samples


def tiff_whole(kind: str, **how: object) -> Whole:
    parts, samples = tiff_parts(kind, **how)
    _, depth, photometric = KINDS[kind]
    gray = shown(samples, depth, palette=a_palette(2**depth) if photometric == 3 else None)
    words = [
        f"{name} {value}" if name in ("predictor", "orientation") else value for name, value in how.items()
    ]
    named = " ".join("planar" if word is True else str(word) for word in words if word is not False)
    planar = " planar" if how.get("planar") else ""
    tiles = "tiles" if how.get("layout") == "tiles" else "strips"
    group = f"TIFF {how.get('compression', 'raw')} {tiles}{planar}"
    return Whole(group, f"TIFF {kind} {named}", parts.laid_out(), 255 - gray if photometric == 0 else gray)


def tiffs() -> list[Callable[[], Whole]]:
    """All that goes together; a second plane needs a second channel, a predictor a compression and bytes."""
    every = []
    for kind, compression, layout, order, planar, predictor in product(
        KINDS, COMPRESSIONS, LAYOUTS, "<>", (False, True), (1, 2)
    ):
        channels, depth, photometric = KINDS[kind]
        no_predictor = compression not in ("LZW", "deflate") or depth < 8 or photometric == 3
        if not (planar and channels == 1) and not (predictor == 2 and no_predictor):
            how = {"compression": compression, "layout": layout, "order": order, "planar": planar}
            every.append(lambda k=kind, h=how, p=predictor: tiff_whole(k, **h, predictor=p))
    turned = [(lambda o=turn: tiff_whole("gray", compression="LZW", orientation=o)) for turn in (2, 5, 8)]
    return [*every, *turned]
