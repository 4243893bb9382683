"""File bytes -> (S, S) uint8 pixels: the one function for training and for scoring.

In    the bytes of one file; what it is, its magic number decides, never its name.
Out   gray pixels, or Unreadable with a kind and a sentence. Never part of an image, never a placeholder.

The rules, named by PREPROCESSING:
  gray          luma of ITU-R BT.601; ICC profiles and gamma chunks are ignored
  transparency  composited on black
  16 bits       divided by 65535, or by what a PNG's sBIT declares; where no sample reaches a quarter of that
                range, UNDECLARED_DEPTH: 12-bit data would come out black
  orientation   EXIF and TIFF orientation is applied
  size          antialiased bilinear, squashed to S x S; a JPEG whose shorter side is 4 S or more is decoded
                at a smaller DCT scale, of 2 S or more: 7 to 9 ms instead of 11.5, 0.3 of 255 away on average
                at worst (36 radiographs of 2,500 x 2,000, S from 96 to 384; Pillow's RGB path takes 33 ms)
JPEG damage is what libjpeg-turbo warns of. No end marker is TRUNCATED; what follows the end marker is let be.
Beyond what bytes can tell are a flipped bit that decodes (in JPEG, GIF and TIFF without deflate, which have
no checksum), an inverted film and a photograph of a cat.
"""

import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from io import BytesIO

import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from cxrscore.errors import Unreadable

PREPROCESSING = "luma601-dct2x-bilinear-squash-v1"
FORMATS = ("JPEG", "PNG", "TIFF", "GIF")
MAX_PIXELS = 64_000_000
MIN_SIDE_PX = 32
MIN_STD = 1.0
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
MAGIC = (
    (0, b"\xff\xd8\xff", "JPEG"),
    (0, PNG_SIGNATURE, "PNG"),
    (0, b"II*\0", "TIFF"),
    (0, b"MM\0*", "TIFF"),
    (0, b"GIF87a", "GIF"),
    (0, b"GIF89a", "GIF"),
    (128, b"DICM", "DICOM"),
    (0, b"II+\0", "BigTIFF"),
    (0, b"MM\0+", "BigTIFF"),
    (0, b"\0\0\0\x0cjP  \r\n\x87\n", "JPEG 2000"),
    (0, b"\xff\x4f\xff\x51", "JPEG 2000"),
    (0, b"\xff\x0a", "JPEG XL"),
    (0, b"\0\0\0\x0cJXL ", "JPEG XL"),
    (8, b"WEBP", "WebP"),
    (4, b"ftypheic", "HEIC"),
    (4, b"ftypheix", "HEIC"),
    (4, b"ftypmif1", "HEIC"),
    (4, b"ftypavif", "AVIF"),
    (0, b"BM", "BMP"),
)
HEAD_BYTES = 132  # enough of a file for `sniff`
PILLOW_FAULTS = (  # what its decoders were seen to raise on damaged bytes, and what its documentation names
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    LookupError,
    EOFError,
    OverflowError,
    struct.error,
    zlib.error,
    Warning,
)


@dataclass(frozen=True)
class Header:
    """What a file says about itself, read before anything is allocated. `chunks` are a PNG's, checked."""

    format: str
    width: int
    height: int
    depth: int = 8
    full_scale: int | None = None  # the largest value its samples can have, where 16 bits are not all used
    white_is_zero: bool = False
    orientation: int = 1
    frames: int = 1
    chunks: dict[bytes, bytes] = field(default_factory=dict, repr=False)


def read_image(data: bytes, *, size: int) -> NDArray[np.uint8]:
    """(S, S) gray pixels of the file with these bytes. Raises Unreadable."""
    return decode(data, read_header(data), size=size)


def sniff(head: bytes) -> str | None:
    """The image format that a file's first HEAD_BYTES name, decodable here or not."""
    return next((name for at, magic, name in MAGIC if head[at : at + len(magic)] == magic), None)


def read_header(data: bytes) -> Header:
    """Raises Unreadable: no image, an image of a kind that is not read here, or one out of bounds."""
    if not data:
        raise Unreadable("EMPTY_FILE", "the file has no bytes")
    if any(magic.startswith(data) for at, magic, _ in MAGIC if at == 0):
        raise Unreadable("TRUNCATED", f"the file ends after {len(data)} bytes")
    name = sniff(data[:HEAD_BYTES])
    if name is None:
        raise Unreadable("NOT_AN_IMAGE", _what_else(data[:512]))
    if name == "DICOM":
        raise Unreadable("UNSUPPORTED_FORMAT", "DICOM comes with another version; export the image as PNG")
    if name not in FORMATS:
        raise Unreadable("UNSUPPORTED_FORMAT", f"{name} is not read; convert to PNG")
    try:
        header = READERS[name](data)
    except (IndexError, struct.error) as error:
        raise Unreadable("TRUNCATED", f"the file ends within the structure of its {name}") from error
    return _within_bounds(header)


def decode(data: bytes, header: Header, *, size: int) -> NDArray[np.uint8]:
    """The pixels of a file whose header was read. Raises Unreadable."""
    gray = _decode_jpeg(data, header, size) if header.format == "JPEG" else _decode_other(data, header)
    small = np.asarray(gray.resize((size, size), Image.Resampling.BILINEAR, box=_covered(gray, header)))
    if small.std() < MIN_STD:
        raise Unreadable("BLANK_IMAGE", f"one shade everywhere: standard deviation {small.std():.2f} of 255")
    return _upright(small, 1 if header.format == "TIFF" else header.orientation)  # Pillow has turned a TIFF


def _covered(gray: Image.Image, header: Header) -> tuple[float, float, float, float] | None:
    """The part of a reduced JPEG that the image covers: at n/8 of the size its last pixels reach further."""
    if header.format != "JPEG":
        return None
    scale = round(8 * gray.width / header.width) / 8
    return (0, 0, header.width * scale, header.height * scale)


def _what_else(head: bytes) -> str:
    if not head.strip(b"\0"):
        return "the file begins with zero bytes: an interrupted copy?"
    if head.lstrip()[:1] == b"<":
        return "the file is HTML or XML: a failed download?"
    return "no image format that is known begins with these bytes"


def _within_bounds(header: Header) -> Header:
    shape = f"{header.width} x {header.height} pixels"
    if header.frames > 1:
        raise Unreadable("MULTIFRAME", f"{header.frames} images in one file; save the one to be scored alone")
    if header.width * header.height > MAX_PIXELS:
        raise Unreadable("TOO_LARGE", f"{shape}; at most {MAX_PIXELS // 1_000_000} million are read")
    if min(header.width, header.height) < MIN_SIDE_PX:
        raise Unreadable("TOO_SMALL", f"{shape}; a side has at least {MIN_SIDE_PX}")
    return header


def _upright(pixels: NDArray[np.uint8], orientation: int) -> NDArray[np.uint8]:
    """Undo an EXIF orientation. Source: Exif 2.32, tag 0x0112; bit by bit as PIL.ImageOps.exif_transpose."""
    turned = pixels.T if orientation >= 5 else pixels
    if orientation in (2, 3, 6, 7):
        turned = turned[:, ::-1]
    if orientation in (3, 4, 7, 8):
        turned = turned[::-1]
    return np.ascontiguousarray(turned)


# JPEG. Source: ITU-T T.81, annex B; EXIF in APP1; CIPA DC-007 (several images in one file) in APP2.

JPEG_END = b"\xff\xd9"
JPEG_FRAMES = (*range(0xC0, 0xC4), *range(0xC5, 0xC8), *range(0xC9, 0xCC), *range(0xCD, 0xD0), 0xF7)


def _jpeg_header(data: bytes) -> Header:
    header = Header("JPEG", 0, 0)  # no size yet
    for marker, segment in _jpeg_segments(data):
        if marker in JPEG_FRAMES:
            header = _jpeg_frame(header, marker, segment)
        elif marker == 0xE1 and segment.startswith(b"Exif\0\0") and header.orientation == 1:
            header = replace(header, orientation=_orientation(segment[6:]))
        elif (
            marker == 0xE2 and segment.startswith(b"MPF\0") and b"hdrgm:" not in data[:65536]
        ):  # a gain map is no image
            header = replace(header, frames=_first(segment[4:], 0xB001, default=1))
    if not header.width or not header.height:
        raise Unreadable("CORRUPT_DATA", "a JPEG that does not say its size")
    return header


def _jpeg_segments(data: bytes) -> Iterator[tuple[int, bytes]]:
    """(marker, content) up to the first scan. Raises IndexError or struct.error where the file ends."""
    at, marker = 2, 0
    while marker != 0xDA:
        if data[at] != 0xFF:
            raise Unreadable("CORRUPT_DATA", f"byte {at}: a JPEG marker was expected")
        marker = data[at + 1]
        if marker == 0xFF:  # fill byte
            at += 1
            continue
        (length,) = struct.unpack_from(">H", data, at + 2)
        if at + 2 + length > len(data):
            raise IndexError
        yield marker, data[at + 4 : at + 2 + length]
        at += 2 + length


def _jpeg_frame(header: Header, marker: int, segment: bytes) -> Header:
    depth, height, width, components = struct.unpack_from(">BHHB", segment)
    if marker not in (0xC0, 0xC1, 0xC2) or depth != 8:
        process = "JPEG-LS" if marker == 0xF7 else "lossless JPEG" if marker == 0xC3 else "this JPEG process"
        raise Unreadable("UNSUPPORTED_FORMAT", f"{process} with {depth} bits is not read; convert to PNG")
    if components not in (1, 3):
        raise Unreadable("UNSUPPORTED_COLORSPACE", f"{components} colour components (CMYK?); convert to gray")
    return replace(header, width=width, height=height)


def _decode_jpeg(data: bytes, header: Header, size: int) -> Image.Image:
    least = 2 * size if min(header.width, header.height) >= 4 * size else 0
    try:
        gray = simplejpeg.decode_jpeg(data, colorspace="GRAY", strict=True, min_height=least, min_width=least)
    except ValueError as error:
        sentence = str(error).strip()
        is_cut = sentence.startswith("Premature end") or JPEG_END not in data
        kind = (
            "TRUNCATED" if is_cut else "UNSUPPORTED_FORMAT" if "subsampling" in sentence else "CORRUPT_DATA"
        )
        raise Unreadable(kind, sentence) from error
    return Image.fromarray(gray[:, :, 0])


# PNG. Source: W3C PNG, third edition. Pillow gets the critical chunks and tRNS: no text is ever inflated.

PNG_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
ADAM7 = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]
PNG_CRITICAL = (b"IHDR", b"PLTE", b"IDAT", b"IEND")


def _png_header(data: bytes) -> Header:
    chunks = _png_chunks(data)
    width, height, depth, colour, _, _, _ = struct.unpack(">IIBBBBB", chunks[b"IHDR"])
    if colour not in PNG_CHANNELS:
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
        orientation=_orientation(chunks.get(b"eXIf", b"")),
        frames=struct.unpack_from(">I", chunks.get(b"acTL", b"\0\0\0\1"))[0],
        chunks=chunks,
    )


def _png_chunks(data: bytes) -> dict[bytes, bytes]:
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
        if kind[:1].isupper() and kind not in PNG_CRITICAL:
            raise Unreadable("UNSUPPORTED_FORMAT", "a private PNG variant (Apple's CgBI?); save as plain PNG")
        body = data[at + 8 : at + 8 + length]
        if kind == b"IDAT":
            pixels.append(body)
        chunks.setdefault(kind, body)
        at += 12 + length
    return {**chunks, b"IDAT": b"".join(pixels)}


def _png_body(header: Header) -> bytes:
    """The PNG anew, its pixels inflated once and stored: Pillow paints missing rows black in silence."""
    expected = _png_bytes(header)
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
    return PNG_SIGNATURE + b"".join(_png_chunk(kind, chunks[kind]) for kind in names)


def _png_chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(body, zlib.crc32(kind)))


def _png_bytes(header: Header) -> int:
    """The length of all filtered rows, of the one pass or of the seven of Adam7."""
    width, height, depth, colour, _, _, interlaced = struct.unpack(">IIBBBBB", header.chunks[b"IHDR"])
    passes = [(0, 0, 1, 1)]
    if interlaced:
        passes = [
            (0, 0, 8, 8),
            (4, 0, 8, 8),
            (0, 4, 4, 8),
            (2, 0, 4, 4),
            (0, 2, 2, 4),
            (1, 0, 2, 2),
            (0, 1, 1, 2),
        ]
    shapes = [(-((x - width) // dx), -((y - height) // dy)) for x, y, dx, dy in passes]
    return sum(h * (1 + (w * PNG_CHANNELS[colour] * depth + 7) // 8) for w, h in shapes if w > 0)


# TIFF, and the TIFF structure within EXIF. Source: TIFF 6.0, Adobe 1992.

TIFF_LOSSLESS = {1: "none", 5: "LZW", 8: "deflate", 32773: "PackBits", 32946: "deflate"}
TIFF_TYPE_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8}


def _tiff_header(data: bytes) -> Header:
    tags, more = _tags(data)
    if 256 not in tags or 257 not in tags:
        raise Unreadable("CORRUPT_DATA", "a TIFF without width or height")
    compression = tags.get(259, (1,))[0]
    if compression not in TIFF_LOSSLESS:
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


def _strips(tags: dict[int, tuple[int, ...]]) -> list[tuple[int, int]]:
    """Start and length of each strip or tile of pixels."""
    starts, lengths = tags.get(273, tags.get(324, ())), tags.get(279, tags.get(325, ()))
    if not starts or len(starts) != len(lengths):
        raise Unreadable("CORRUPT_DATA", "a TIFF that does not say where its pixels are")
    return list(zip(starts, lengths, strict=True))


def _check_sums(data: bytes) -> None:
    """Of a deflated TIFF: libtiff stops when a strip is full, before the checksum. Raises zlib.error."""
    tags, _ = _tags(data)
    if TIFF_LOSSLESS[tags.get(259, (1,))[0]] != "deflate":
        return
    for start, length in _strips(tags):
        inflate = zlib.decompressobj()
        inflate.decompress(data[start : start + length], 8 * MAX_PIXELS)  # 16 bits in four channels
        if not inflate.eof:
            raise Unreadable("CORRUPT_DATA", "the compressed pixels of the TIFF have no end")


def _tags(data: bytes) -> tuple[dict[int, tuple[int, ...]], int]:
    """The first directory's whole numbers by tag, and where the next begins. Raises at the end of data."""
    order = "<" if data[:2] == b"II" else ">"
    (start,) = struct.unpack_from(f"{order}I", data, 4)
    (n,) = struct.unpack_from(f"{order}H", data, start)
    tags = {}
    for entry in range(start + 2, start + 2 + 12 * n, 12):
        tag, kind, count = struct.unpack_from(f"{order}HHI", data, entry)
        length = count * TIFF_TYPE_BYTES.get(kind, 1)
        (at,) = struct.unpack_from(f"{order}I", data, entry + 8) if length > 4 else (entry + 8,)
        if at + length > len(data):
            raise IndexError
        if kind in (3, 4) and count:
            tags[tag] = struct.unpack_from(f"{order}{count}{'H' if kind == 3 else 'I'}", data, at)
    (more,) = struct.unpack_from(f"{order}I", data, start + 2 + 12 * n)
    return tags, more


def _first(tiff: bytes, tag: int, *, default: int) -> int:
    """A number from the TIFF structure in a metadata segment; if that is damaged, the pixels need not be."""
    try:
        return _tags(tiff)[0].get(tag, (default,))[0]
    except (IndexError, struct.error):
        return default


def _orientation(exif: bytes) -> int:
    value = _first(exif, 0x0112, default=1)
    return value if 1 <= value <= 8 else 1


# GIF. Source: GIF89a, CompuServe 1990.


def _gif_header(data: bytes) -> Header:
    width, height, flags = struct.unpack_from("<HHB", data, 6)
    at, frames = 13 + _gif_colours(flags), 0
    while data[at] != 0x3B:
        if data[at] not in (0x21, 0x2C):
            raise Unreadable("CORRUPT_DATA", f"byte {at}: a GIF block was expected")
        is_frame = data[at] == 0x2C
        frames += is_frame
        at += 11 + _gif_colours(data[at + 9]) if is_frame else 2
        while data[at]:
            at += 1 + data[at]
        at += 1
    return Header("GIF", width, height, frames=frames)


def _gif_colours(flags: int) -> int:
    return 3 * 2 ** ((flags & 7) + 1) if flags & 0x80 else 0


# What Pillow decodes.

READERS: dict[str, Callable[[bytes], Header]] = {
    "JPEG": _jpeg_header,
    "PNG": _png_header,
    "TIFF": _tiff_header,
    "GIF": _gif_header,
}
GRAY_OR_COLOUR = ("1", "L", "LA", "P", "PA", "RGB", "RGBA")


def _decode_other(data: bytes, header: Header) -> Image.Image:
    body = _png_body(header) if header.format == "PNG" else data
    try:
        if header.format == "TIFF":
            _check_sums(data)
        image = Image.open(BytesIO(body), formats=(header.format,))
        _within_bounds(
            replace(header, width=image.width, height=image.height)
        )  # a GIF's frame outgrows its header
        image.load()
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise Unreadable("TOO_LARGE", "the file holds far more pixels than its header says") from error
    except UnidentifiedImageError as error:
        raise Unreadable(
            "UNSUPPORTED_FORMAT", f"samples of a {header.format} that are not read; convert to PNG"
        ) from error
    except PILLOW_FAULTS as error:
        kind = "TRUNCATED" if "truncated" in str(error).lower() else "CORRUPT_DATA"
        raise Unreadable(kind, f"the {header.format} does not decode: {error}") from error
    return _gray(image, header)


def _gray(image: Image.Image, header: Header) -> Image.Image:
    if image.mode.startswith("I;16"):
        return Image.fromarray(_eight_bits(np.asarray(image), header))
    if image.mode in ("I", "F"):
        raise Unreadable("UNSUPPORTED_FORMAT", "32-bit or signed samples; convert to 8 or 16 bits")
    if image.mode not in GRAY_OR_COLOUR:
        raise Unreadable("UNSUPPORTED_COLORSPACE", f"colours as {image.mode}; convert to gray")
    if image.has_transparency_data:
        black = Image.new("RGBA", image.size, (0, 0, 0, 255))
        image = Image.alpha_composite(black, image.convert("RGBA"))
    gray = image.convert("L")
    if header.depth == 16 and 0 < np.asarray(gray).max() < 64:
        raise _undeclared_depth()
    return gray


def _eight_bits(values: NDArray[np.uint16], header: Header) -> NDArray[np.uint8]:
    brightest = int(values.max())
    full_scale = 65535
    if header.full_scale and brightest <= header.full_scale:
        full_scale = header.full_scale
    elif 0 < brightest < 16384:
        raise _undeclared_depth()
    shades = np.rint(np.arange(65536) * (255 / full_scale)).clip(0, 255).astype(np.uint8)
    eight: NDArray[np.uint8] = (255 - shades if header.white_is_zero else shades)[values]
    return eight


def _undeclared_depth() -> Unreadable:
    return Unreadable(
        "UNDECLARED_DEPTH",
        "16-bit samples that use less than a quarter of the range; rescale, or save as PNG with sBIT",
    )
