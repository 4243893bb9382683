"""Whole image files by hand, PNG and GIF, and what TIFF shares with them: scenes, packed samples, LZW.

Out   Whole: the bytes, and the gray pixels that a reader has to make of them.
By hand, because no encoder writes all variants (Adam7, two bits per sample, an LZW stream that ends where we
say), nor tells where in the file a strip, pass or scan is.
Source: W3C PNG, third edition; GIF89a, CompuServe 1990; TIFF 6.0, section 13 (LZW).
"""

import struct
import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

WIDTH, HEIGHT = 96, 80
ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
COLOURS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # PNG's colour type -> samples per pixel
PNG_START, PNG_END = b"\x89PNG\r\n\x1a\n", b"\0\0\0\0IEND\xaeB`\x82"
LUMA = np.array([0.299, 0.587, 0.114])
BAYER = np.array([[0, 8, 2, 10], [12, 4, 14, 6], [3, 11, 1, 9], [15, 7, 13, 5]])
Samples = NDArray[Any]  # (H, W, channels), unsigned


@dataclass(frozen=True)
class Whole:
    """A file with nothing missing; `gray` (H, W) in 0..255 is what it shows, before its orientation."""

    group: str  # a row of the fuzz harness's table
    name: str
    data: bytes
    gray: NDArray[np.float64] = field(repr=False)


def scene(channels: int = 1, *, width: int = WIDTH, height: int = HEIGHT, seed: int = 0) -> NDArray[np.uint8]:
    """(H, W, channels): smooth with a little grain, without symmetry, no channel like another."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(20, 236, (channels, 6, 7), dtype=np.uint8)
    planes = [Image.fromarray(one).resize((width, height), Image.Resampling.BICUBIC) for one in coarse]
    grain = rng.integers(-3, 4, (height, width, channels))
    return (
        (np.stack([np.asarray(plane) for plane in planes], -1).astype(int) + grain)
        .clip(0, 255)
        .astype(np.uint8)
    )


def at_depth(samples: Samples, depth: int) -> Samples:
    """Eight bits as `depth` bits; ordered dither below eight, so that it still looks like the scene."""
    if depth == 16:
        return samples.astype(np.uint16) * 257
    if depth == 8:
        return samples
    height, width, _ = samples.shape
    dither = np.tile(BAYER, (-(-height // 4), -(-width // 4)))[:height, :width, None] / 16
    return np.floor(samples / 256 * (2**depth - 1) + dither).astype(np.uint8)


def shown(samples: Samples, depth: int, *, palette: NDArray[np.uint8] | None = None) -> NDArray[np.float64]:
    """(H, W) gray of one to four channels at this depth, or of indices; alpha last, on black."""
    if palette is not None:
        samples, depth = palette[samples[:, :, 0]], 8
    values = samples.astype(np.float64) * (255 / (2**depth - 1))
    channels = values.shape[2]
    gray = values[:, :, :3] @ LUMA if channels >= 3 else values[:, :, 0]
    return gray * values[:, :, -1] / 255 if channels in (2, 4) else gray


def packed(rows: Samples, depth: int, order: str = ">") -> list[bytes]:
    """(H, n) samples -> the bytes of each row, the first sample in the highest bits."""
    if depth == 16:
        return [row.astype(f"{order}u2").tobytes() for row in rows]
    bits = (rows[:, :, None] >> np.arange(depth)[::-1]) & 1
    return [np.packbits(row.reshape(-1).astype(np.uint8)).tobytes() for row in bits]


def a_palette(entries: int) -> NDArray[np.uint8]:
    """(entries, 3): dark to light, a little tinted, never sorted by index alone."""
    ramp = np.linspace(250, 5, entries)
    return np.stack([ramp, ramp * 0.9, 255 - (255 - ramp) * 0.9], -1).astype(np.uint8)


# LZW, of GIF (low bits first) and of TIFF (high bits first, one code early).


def lzw_codes(data: bytes, symbol_bits: int, *, early: int) -> list[tuple[int, int]]:
    """(code, its width in bits) of the whole stream, the clear and the end code included."""
    clear, end = 1 << symbol_bits, (1 << symbol_bits) + 1
    codes = [(clear, symbol_bits + 1)]
    table = {bytes([symbol]): symbol for symbol in range(clear)}
    width, known = symbol_bits + 1, b""
    following = end + 1
    for symbol in data:
        if (longer := known + bytes([symbol])) in table:
            known = longer
            continue
        codes.append((table[known], width))
        table[longer], following, known = following, following + 1, bytes([symbol])
        if following + early > 1 << width:
            width += 1
        if following >= 4093:
            codes.append((clear, min(width, 12)))
            table = {bytes([symbol]): symbol for symbol in range(clear)}
            width, following = symbol_bits + 1, end + 1
    codes.append((table[known], width))
    return [*codes, (end, width + (following + 1 + early > 1 << width))]


def lzw_bits(codes: Iterable[tuple[int, int]], *, high_first: bool) -> bytes:
    if high_first:
        text = "".join(f"{code:0{width}b}" for code, width in codes)
        return int(text.ljust(-(-len(text) // 8) * 8, "0"), 2).to_bytes(-(-len(text) // 8), "big")
    text = "".join(f"{code:0{width}b}"[::-1] for code, width in codes)
    return int(text[::-1], 2).to_bytes(-(-len(text) // 8), "little")


# PNG


def png_chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png_chunks(data: bytes) -> list[tuple[bytes, bytes]]:
    """(type, content) of each chunk of a file that is in order."""
    chunks, at = [], 8
    while at + 8 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        chunks.append((kind, data[at + 8 : at + 8 + length]))
        at += 12 + length
    return chunks


def png_of(chunks: Iterable[tuple[bytes, bytes]]) -> bytes:
    return PNG_START + b"".join(png_chunk(kind, body) for kind, body in chunks)


def passes_of(samples: Samples, *, interlaced: bool) -> list[Samples]:
    """The sub-images of Adam7 that have pixels, or the one image."""
    grids = ADAM7 if interlaced else ((0, 0, 1, 1),)
    return [samples[y::dy, x::dx] for x, y, dx, dy in grids]


def png_rows(samples: Samples, depth: int) -> bytes:
    """One pass, filtered: the five filter types in turn."""
    height, width, channels = samples.shape
    step = max(1, depth * channels // 8)
    before, filtered = bytes((width * channels * depth + 7) // 8), []
    for y, row in enumerate(packed(samples.reshape(height, -1), depth)):
        filtered.append(bytes([y % 5]) + _filtered(y % 5, row, before, step))
        before = row
    return b"".join(filtered)


def _filtered(kind: int, row: bytes, above: bytes, step: int) -> bytes:
    line, up = (np.frombuffer(one, np.uint8).astype(int) for one in (row, above))
    left, corner = (np.concatenate([np.zeros(step, int), one])[: len(one)] for one in (line, up))
    estimate = left + up - corner
    to_left, to_up, to_corner = (abs(estimate - one) for one in (left, up, corner))
    nearest_up = np.where(to_up <= to_corner, up, corner)
    paeth = np.where((to_left <= to_up) & (to_left <= to_corner), left, nearest_up)
    guess = (np.zeros_like(line), left, up, (left + up) // 2, paeth)[kind]
    return ((line - guess) % 256).astype(np.uint8).tobytes()


def a_png(
    samples: Samples,
    *,
    colour: int,
    depth: int,
    extra: Sequence[tuple[bytes, bytes]] = (),
    interlaced: bool = False,
    part_bytes: int = 700,
) -> bytes:
    """A PNG whose pixels are in IDAT chunks of `part_bytes`; `extra` chunks stand before them."""
    height, width, _ = samples.shape
    rows = b"".join(png_rows(one, depth) for one in passes_of(samples, interlaced=interlaced) if one.size)
    pixels = zlib.compress(rows)
    parts = [pixels[at : at + part_bytes] for at in range(0, len(pixels), part_bytes)]
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlaced)
    return png_of([(b"IHDR", header), *extra, *((b"IDAT", part) for part in parts), (b"IEND", b"")])


def exif(orientation: int) -> bytes:
    """The TIFF structure of EXIF that says nothing but the orientation."""
    return b"MM\0*" + struct.pack(">IHHHIHHI", 8, 1, 0x0112, 3, 1, orientation, 0, 0)


def png_whole(
    colour: int, depth: int, *, interlaced: bool = False, trns: bytes = b"", orientation: int = 1
) -> Whole:
    """`trns` is what the chunk of that name holds; of a palette, the opacity of its first entries."""
    samples = at_depth(scene(COLOURS[colour]), depth)
    extra, palette = [], None
    if colour == 3:
        palette = a_palette(2**depth)
        extra.append((b"PLTE", palette.tobytes()))
    gray = shown(samples, depth, palette=palette)
    if trns:
        extra.append((b"tRNS", trns))
        gray = gray * _opacity(samples, colour, trns)
    if orientation > 1:
        extra.append((b"eXIf", exif(orientation)))
    words = (
        ["interlaced"] * interlaced + ["tRNS"] * bool(trns) + [f"turned {orientation}"] * (orientation > 1)
    )
    kind = {0: "gray", 2: "RGB", 3: "palette", 4: "gray+alpha", 6: "RGBA"}[colour]
    data = a_png(samples, colour=colour, depth=depth, extra=extra, interlaced=interlaced)
    group = f"PNG {kind}{' interlaced' if interlaced else ''}"
    return Whole(group, " ".join(["PNG", kind, f"{depth} bit", *words]), data, gray)


def _opacity(samples: Samples, colour: int, trns: bytes) -> NDArray[np.float64]:
    if colour == 3:
        opacity = np.full(256, 255)
        opacity[: len(trns)] = list(trns)
        return opacity[samples[:, :, 0]] / 255
    shade = np.frombuffer(trns, ">u2")
    return 1.0 - (samples == shade).all(-1)


# GIF


def gif_blocks(data: bytes) -> bytes:
    """Data in sub-blocks of at most 255 bytes, and the empty one that ends them."""
    parts = [data[at : at + 255] for at in range(0, len(data), 255)]
    return b"".join(bytes([len(part)]) + part for part in parts) + b"\0"


def a_gif(
    indices: NDArray[np.uint8],
    *,
    palette: NDArray[np.uint8],
    interlaced: bool = False,
    transparent: int | None = None,
    local: bool = False,
    screen: tuple[int, int] | None = None,
    corner: tuple[int, int] = (0, 0),
    keep: Callable[[list[tuple[int, int]]], list[tuple[int, int]]] = lambda codes: codes,
) -> bytes:
    """A GIF of one frame, its palette global or local; `keep` may change the list of LZW codes."""
    height, width = indices.shape
    bits = max(2, int(len(palette) - 1).bit_length())
    order = [*range(0, height, 8), *range(4, height, 8), *range(2, height, 4), *range(1, height, 2)]
    rows = indices[order] if interlaced else indices
    table, flags = palette.tobytes(), int(len(palette) - 1).bit_length() - 1
    wide, high = screen or (width, height)
    head = b"GIF89a" + struct.pack("<HHBBB", wide, high, 0x70 if local else 0xF0 | flags, 0, 0)
    control = b"" if transparent is None else b"!\xf9\4" + struct.pack("<BHBB", 1, 0, transparent, 0)
    frame_flags = (0x80 | flags if local else 0) | 0x40 * interlaced
    frame = b"," + struct.pack("<HHHHB", *corner, width, height, frame_flags)
    codes = keep(lzw_codes(rows.tobytes(), bits, early=0))
    stream = bytes([bits]) + gif_blocks(lzw_bits(codes, high_first=False))
    tables = (b"", table) if local else (table, b"")
    return head + tables[0] + control + frame + tables[1] + stream + b";"


def gif_whole(
    depth: int, *, interlaced: bool = False, transparent: int | None = None, local: bool = False
) -> Whole:
    indices, palette = at_depth(scene(), depth), a_palette(2**depth)
    gray = shown(indices, depth, palette=palette)
    if transparent is not None:
        gray = np.where(indices[:, :, 0] == transparent, 0, gray)
    data = a_gif(
        indices[:, :, 0], palette=palette, interlaced=interlaced, transparent=transparent, local=local
    )
    words = (
        ["interlaced"] * interlaced + ["transparent"] * (transparent is not None) + ["local palette"] * local
    )
    return Whole(
        f"GIF{' interlaced' if interlaced else ''}", " ".join(["GIF", f"{depth} bit", *words]), data, gray
    )


def pngs() -> list[Callable[[], Whole]]:
    depths = [(0, 1), (0, 2), (0, 4), (0, 8), (0, 16), (2, 8), (2, 16), (3, 1), (3, 2), (3, 4), (3, 8)]
    plain = [
        (lambda c=colour, d=depth, i=interlaced: png_whole(c, d, interlaced=i))
        for colour, depth in [*depths, (4, 8), (4, 16), (6, 8), (6, 16)]
        for interlaced in (False, True)
    ]
    keyed = [
        (0, 8, b"\0\x80"),
        (2, 8, b"\0\x80\0\x70\0\x60"),
        (3, 8, bytes(range(250, 0, -2))),
        (3, 2, b"\0\x80"),
    ]
    return [
        *plain,
        *((lambda c=colour, d=depth, t=trns: png_whole(c, d, trns=t)) for colour, depth, trns in keyed),
        *((lambda o=orientation: png_whole(0, 8, orientation=o)) for orientation in (3, 6, 7)),
    ]


def gifs() -> list[Callable[[], Whole]]:
    return [
        (
            lambda d=depth, i=interlaced, t=transparent, p=local: gif_whole(
                d, interlaced=i, transparent=t, local=p
            )
        )
        for depth in (1, 2, 4, 7, 8)
        for interlaced in (False, True)
        for transparent in (None, 1)
        for local in (False, True)
    ]
