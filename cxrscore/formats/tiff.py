"""The structure of a TIFF, whether all of its pixels are there, and the TIFF anew for a decoder.

In    the bytes of one file; its Header.
Out   Header, or Unreadable; a TIFF whose directory holds what its pixels need and nothing else.

Every declared pixel has to come from bytes of the file, and each from bytes of its own: as many strips or
tiles as the size asks for, each long enough, none outside the file, in its header or directory, or over
another one. Decoders paint what is missing black, or read the header as pixels.
Compressions that lose nothing are read, no other. Without the tag PhotometricInterpretation 0 is black, as in
libtiff (TIFFRGBAImageBegin). How a picture is turned or inverted is not left to the decoder.
Source: TIFF 6.0, Adobe 1992; TIFF Technical Note 1, Adobe 1995 (SubIFDs).
"""

import re
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from cxrscore.errors import Unreadable
from cxrscore.formats.directory import LONG, SHORT, Directory, read_directory
from cxrscore.formats.header import Header
from cxrscore.formats.orientation import orientation

NONE, LZW, DEFLATE, PACKBITS = 1, 5, (8, 32946), 32773  # of COMPRESSION
LOSSLESS = (NONE, LZW, *DEFLATE, PACKBITS)
REDUCED, MASK = 1, 4  # bits of KIND
WHITE_IS_ZERO, BLACK_IS_ZERO, RGB, PALETTE = range(4)  # of PHOTOMETRIC
TOGETHER, SEPARATE = 1, 2  # of PLANES: all samples of a pixel, or one plane per sample
UNSIGNED = 1  # of SAMPLE_FORMAT
KIND, WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC = 254, 256, 257, 258, 259, 262
SAMPLES, STRIP_ROWS, PLANES, TILE_WIDTH, TILE_HEIGHT = 277, 278, 284, 322, 323
STRIP_STARTS, STRIP_LENGTHS, TILE_STARTS, TILE_LENGTHS = 273, 279, 324, 325
FILL_ORDER, PREDICTOR, COLOUR_MAP, SUB_DIRECTORIES = 266, 317, 320, 330
EXTRA_SAMPLES, SAMPLE_FORMAT, XMP, DESCRIPTION = 338, 339, 700, 270
IMAGEJ_STACK = re.compile(rb"ImageJ=.*\bimages=([0-9]{1,9})\b", re.DOTALL)  # in one directory
PIXELS = (
    *(WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC, FILL_ORDER, STRIP_STARTS, SAMPLES, STRIP_ROWS),
    *(STRIP_LENGTHS, PLANES, PREDICTOR, COLOUR_MAP, TILE_WIDTH, TILE_HEIGHT, TILE_STARTS, TILE_LENGTHS),
    *(EXTRA_SAMPLES, SAMPLE_FORMAT),
)
SINGLE = (
    {KIND, *PIXELS}
    - {BITS, STRIP_STARTS, STRIP_LENGTHS, COLOUR_MAP, TILE_STARTS, TILE_LENGTHS}
    - {*(EXTRA_SAMPLES, SAMPLE_FORMAT)}
)


def read_tiff_header(data: bytes) -> Header:
    """Raises Unreadable; IndexError or struct.error where the file ends."""
    directory = read_directory(data)
    directory.refuse_cut()
    _refuse_other_pictures(directory)
    _refuse_unread_samples(directory)
    parts = _parts_declared(directory)
    depth, width, height = (directory.number(*tag) for tag in ((BITS, 1), (WIDTH, 0), (HEIGHT, 0)))
    colours = directory.number(SAMPLES, 1) > 1 or _photometric(directory) == PALETTE
    return Header(
        format="TIFF",
        width=width,
        height=height,
        decoded_bytes=max(parts.count * parts.most, 4 * width * height if colours else 0),
        depth=depth,
        full_scale=2**depth - 1 if 8 < depth < 16 else None,
        white_is_zero=_photometric(directory) == WHITE_IS_ZERO,
        orientation=orientation(directory, directory.octets(XMP)),
        frames=2 if directory.next else 1,
    )


def _refuse_other_pictures(directory: Directory) -> None:
    if WIDTH not in directory or HEIGHT not in directory:
        raise Unreadable("CORRUPT_DATA", "a TIFF without width or height")
    kind = directory.number(KIND, 0)
    if kind & (REDUCED | MASK):
        what = "a reduced copy" if kind & REDUCED else "a mask"
        raise Unreadable(
            "INCOMPLETE", f"its first image says that it is {what} of another; save that one alone"
        )
    stack = IMAGEJ_STACK.search(directory.octets(DESCRIPTION))
    if stack and int(stack[1]) > 1:
        raise Unreadable("MULTIFRAME", f"an ImageJ stack of {int(stack[1])} images; save one alone")
    if SUB_DIRECTORIES in directory:
        raise Unreadable("MULTIFRAME", "further images in SubIFDs; save the one to be scored alone")


def _refuse_unread_samples(directory: Directory) -> None:
    for tag in {*PIXELS, KIND} & directory.entries.keys():
        entry = directory.entries[tag]
        if entry.kind not in (SHORT, LONG) or not entry.count or (tag in SINGLE and entry.count > 1):
            raise Unreadable(
                "CORRUPT_DATA", f"tag {tag} is of type {entry.kind} and has {entry.count} values"
            )
    compression = directory.number(COMPRESSION, NONE)
    if compression not in LOSSLESS:
        raise Unreadable("UNSUPPORTED_FORMAT", f"TIFF compression {compression} is not read; convert to PNG")
    if set(directory.numbers(SAMPLE_FORMAT, (UNSIGNED,))) != {UNSIGNED}:
        raise Unreadable("UNSUPPORTED_FORMAT", "signed or floating samples; convert to 8 or 16 bits")
    photometric = _photometric(directory)
    if photometric not in (WHITE_IS_ZERO, BLACK_IS_ZERO, RGB, PALETTE):
        raise Unreadable(
            "UNSUPPORTED_COLORSPACE", f"photometric interpretation {photometric}; convert to gray"
        )
    _refuse_unread_depth(directory, photometric)
    if directory.number(PREDICTOR, 1) not in ((1,) if compression == NONE else (1, 2)):
        raise Unreadable("UNSUPPORTED_FORMAT", f"predictor {directory.number(PREDICTOR, 1)}; convert to PNG")
    if photometric == PALETTE and len(directory.numbers(COLOUR_MAP)) != 3 * 2 ** directory.number(BITS, 1):
        raise Unreadable("CORRUPT_DATA", "a palette without a colour for each shade")
    _refuse_unread_planes(directory, directory.number(SAMPLES, 1), directory.number(BITS, 1))


def _refuse_unread_depth(directory: Directory, photometric: int) -> None:
    if BITS not in directory and directory.number(COMPRESSION, NONE) == LZW:
        # one bit by TIFF 6.0, as Pillow writes it; of a file that lost the tag no length here says otherwise
        raise Unreadable(
            "CORRUPT_DATA", "a TIFF that does not say how many bits a sample has; save it anew as PNG"
        )
    bits, samples = directory.numbers(BITS, (1,)), directory.number(SAMPLES, 1)
    if len(set(bits)) > 1 or len(bits) not in (1, samples) or not 0 < bits[0] <= 64:
        found = f"{samples} samples of {bits} bits in a pixel"
        raise Unreadable("UNSUPPORTED_FORMAT", f"{found}; convert to gray")
    if samples != (3 if photometric == RGB else 1) + len(directory.numbers(EXTRA_SAMPLES)):
        raise Unreadable("UNSUPPORTED_FORMAT", f"{samples} samples, not all of them named; convert to gray")


def _photometric(directory: Directory) -> int:
    """As libtiff fills it in where it is missing, of gray alone."""
    if PHOTOMETRIC not in directory and directory.number(SAMPLES, 1) > 1:
        raise Unreadable(
            "UNSUPPORTED_FORMAT", "a TIFF that does not say what its samples are; convert to PNG"
        )
    return directory.number(PHOTOMETRIC, BLACK_IS_ZERO)


def _refuse_unread_planes(directory: Directory, samples: int, bits: int) -> None:
    planes = directory.number(PLANES, TOGETHER)
    if planes not in (TOGETHER, SEPARATE):
        raise Unreadable("CORRUPT_DATA", f"planar configuration {planes} does not exist")
    misread = samples == 2 or (bits == 16 and directory.number(COMPRESSION, NONE) == NONE)  # by Pillow
    if planes == SEPARATE and misread:
        raise Unreadable("UNSUPPORTED_FORMAT", "planes of this kind are not read; save as PNG")


@dataclass(frozen=True)
class _Parts:
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


def _parts_declared(directory: Directory) -> _Parts:
    """Raises Unreadable."""
    width, height = directory.number(WIDTH, 0), directory.number(HEIGHT, 0)
    tiled = TILE_STARTS in directory
    if tiled == (STRIP_STARTS in directory):
        raise Unreadable("CORRUPT_DATA", "a TIFF that does not say where its pixels are")
    part_width = directory.number(TILE_WIDTH, 0) if tiled else width
    rows = directory.number(TILE_HEIGHT, 0) if tiled else min(directory.number(STRIP_ROWS, height), height)
    if not (width and height and part_width and rows):
        raise Unreadable("CORRUPT_DATA", f"{width} x {height} pixels in parts of {part_width} x {rows}")
    samples, separate = directory.number(SAMPLES, 1), directory.number(PLANES, 1) == SEPARATE
    row_bits = part_width * directory.number(BITS, 1) * (1 if separate else samples)
    per_plane = -(-width // part_width) * -(-height // rows)
    return _Parts(
        name="tile" if tiled else "strip",
        count=per_plane * (samples if separate else 1),
        per_plane=per_plane,
        row_bytes=-(-row_bits // 8),
        rows=rows,
        last_rows=rows if tiled else height - (per_plane - 1) * rows,
    )


def rewrite_tiff(data: bytes, header: Header) -> bytes:
    """The TIFF anew, of pixels that are all there, neither to be turned nor, where gray, to be inverted.
    Raises Unreadable.
    """
    directory = read_directory(data)
    _refuse_missing(directory)
    inverted = header.white_is_zero and directory.number(SAMPLES, 1) == 1
    return directory.rewritten(PIXELS, {PHOTOMETRIC: BLACK_IS_ZERO if inverted else _photometric(directory)})


def _refuse_missing(directory: Directory) -> None:
    """Raises Unreadable where a pixel has no bytes in the file, or shares them."""
    parts = _parts_declared(directory)
    tags = (TILE_STARTS, TILE_LENGTHS) if parts.name == "tile" else (STRIP_STARTS, STRIP_LENGTHS)
    starts, lengths = (directory.numbers(tag) for tag in tags)
    if len(starts) != len(lengths):
        raise Unreadable("CORRUPT_DATA", "a TIFF that does not say where its pixels are")
    if len(starts) != parts.count:
        found = f"{len(starts)} {parts.name}s, {parts.count} make the picture"
        raise Unreadable("INCOMPLETE" if len(starts) < parts.count else "CORRUPT_DATA", found)
    raw = directory.number(COMPRESSION, NONE) == NONE
    spans: list[tuple[int, int]] = []
    for i, (start, length) in enumerate(zip(starts, lengths, strict=True)):
        if not start or not length:
            raise Unreadable("INCOMPLETE", f"{parts.name} {i + 1} of {parts.count} has no bytes")
        if raw and length not in (parts.least(i), parts.most):
            what = f"{parts.name} {i + 1} has {length} bytes, and {parts.least(i)} make its pixels"
            raise Unreadable("INCOMPLETE" if length < parts.least(i) else "CORRUPT_DATA", what)
        if start + length > len(directory.data):
            raise Unreadable("TRUNCATED", f"the file ends before {parts.name} {i + 1} of {parts.count} does")
        spans.append((start, length))
    _refuse_shared(spans, [(0, 8), *directory.spans(directory.entries)], parts.name)
    measure: Callable[[bytes, int], int] | None = MEASURE.get(directory.number(COMPRESSION, NONE))
    for i, (start, length) in enumerate(spans[-parts.count :] if measure else ()):
        size = measure(directory.data[start : start + length], parts.most) if measure else 0
        if not parts.least(i) <= size <= parts.most:
            raise Unreadable("CORRUPT_DATA", f"{parts.name} {i + 1} does not decompress to its pixels")


def _refuse_shared(spans: Sequence[tuple[int, int]], taken: Sequence[tuple[int, int]], name: str) -> None:
    """`taken`: by the header, the directory and the values of tags, which may lie over one another."""
    end, is_part = 0, False
    both = [*((*span, True) for span in spans), *((*span, False) for span in taken)]
    for start, length, part in sorted(both):
        if start < end and (part or is_part):
            raise Unreadable("INCOMPLETE", f"a {name} begins at byte {start}, within other bytes of the file")
        if start + length > end:
            end, is_part = start + length, part


def _inflated(packed: bytes, most: int) -> int:
    """Bytes that deflate gives, whose checksum libtiff does not look at. Raises Unreadable."""
    inflate = zlib.decompressobj()
    try:
        count = len(inflate.decompress(packed, most + 1))
    except zlib.error as error:
        raise Unreadable("CORRUPT_DATA", f"the compressed pixels are damaged: {error}") from error
    if not inflate.eof and count <= most:
        raise Unreadable("CORRUPT_DATA", "the compressed pixels have no end")
    return count


def _unpacked(packed: bytes, most: int) -> int:
    """Bytes that PackBits gives, of which libtiff drops in silence what is too many. Raises Unreadable."""
    at = count = 0
    while at < len(packed) and count <= most:
        head = packed[at]
        if head < 128:
            at, count = at + 2 + head, count + 1 + head
        elif head > 128:
            at, count = at + 2, count + 257 - head
        else:
            at += 1
    if at > len(packed):
        raise Unreadable("CORRUPT_DATA", "the compressed pixels end within a run")
    return count


MEASURE: dict[int, Callable[[bytes, int], int]] = {  # LZW has neither a checksum nor a length
    **dict.fromkeys(DEFLATE, _inflated),
    PACKBITS: _unpacked,
}
