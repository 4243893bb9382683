"""File bytes -> (S, S) uint8 pixels: the one function for training and for scoring.

In    the bytes of one file; what it is, its magic number decides, never its name. Perhaps a declared depth.
Out   gray pixels, in one size or several of one decoding, or Unreadable with a kind and a sentence. Never
      part of an image, never a placeholder.

The rules, named by PREPROCESSING:
  gray          luma of ITU-R BT.601, which is R exactly where R = G = B: its weights add up to 1, also as the
                whole numbers of 1/65536 that libjpeg and Pillow round with; ICC profiles and gamma chunks are
                ignored
  transparency  composited on black
  16 bits       divided by 65535; by 2^d - 1 where d bits are declared, for all files or in a TIFF. Where
                hardly a sample reaches a quarter of the range and no depth is declared, UNDECLARED_DEPTH:
                12-bit data would come out black
  orientation   EXIF, XMP and TIFF orientation is applied
  size          antialiased bilinear, squashed to S x S; a JPEG whose shorter side is 4 S or more is decoded
                at a smaller DCT scale, of 2 S or more: 7 to 9 ms instead of 11.5, 0.3 of 255 away on average
                at worst (36 radiographs of 2,500 x 2,000, S from 96 to 384; Pillow's RGB path takes 33 ms).
                A second, larger copy is made of the very pixels that the first is made of
A JPEG's damage is what libjpeg-turbo warns of. Beyond what bytes can tell are a flipped bit that decodes (in
JPEG, GIF and TIFF without deflate, which have no checksum), an inverted film and a photograph of a cat.
Source: ITU-R BT.601; decoded by libjpeg-turbo and Pillow, once cxrscore/formats/ has found it whole.
"""

import struct
import zlib
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from io import BytesIO
from typing import Any

import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from cxrscore.core.errors import Unreadable
from cxrscore.images.formats.header import Header
from cxrscore.images.formats.jpeg import jpeg_fault
from cxrscore.images.formats.png import SIGNATURE, rewrite_png
from cxrscore.images.formats.registry import READERS
from cxrscore.images.formats.tiff import rewrite_tiff

PREPROCESSING = "luma601-dct2x-bilinear-squash-v1"
MAX_PIXELS = 64_000_000
MAX_BYTES = (
    2 * MAX_PIXELS
)  # decompressed: a file of 0.7 MB can ask for 512 MB, and decoding for four times that
MIN_SIDE_PX = 32
MIN_STD = 1.0
TINT = 2  # of 255: one step of a JPEG's Cb is 1.77 of blue, and rounding makes such steps of gray pictures
BRIGHT = 0.25  # of the range: what a sample of 14 bits or fewer in 16 does not reach
BURNED_IN = 1 / 16  # of the range, below the brightest shade
FEW = 0.1  # of the samples: what is burned into a film, such as a marker or a frame
NARROW_SHARE = 0.125  # of the range: twice what 12 bits in 16 span
NARROW = (
    "16-bit samples that span less than an eighth of the range, away from black (12-bit data, inverted or "
    "shifted?); rescale them, or use --bit-depth 16 to take them as they are"
)
UNDECLARED = (
    "hardly any samples reach a quarter of the 16-bit range, as in 12-bit data stored in 16 bits; declare "
    "their depth with --bit-depth or prepare.bit_depth (16 takes them as they are)"
)
GRAY_OR_COLOUR = ("1", "L", "LA", "P", "PA", "RGB", "RGBA")
MAGIC = (
    (0, b"\xff\xd8\xff", "JPEG"),
    (0, SIGNATURE, "PNG"),
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
# What Pillow's decoders were seen to raise on damaged bytes, and what its documentation names.
DAMAGE = (
    OSError,
    AssertionError,
    SyntaxError,
    ValueError,
    TypeError,
    LookupError,
    EOFError,
    OverflowError,
    Warning,
)
PILLOW_FAULTS = (*DAMAGE, struct.error, zlib.error)
REWRITE: dict[str, Callable[[bytes, Header], bytes]] = {
    "PNG": lambda data, header: rewrite_png(header),
    "TIFF": rewrite_tiff,
    "GIF": lambda data, header: data,
}


def read_image(data: bytes, *, size: int, bit_depth: int | None = None) -> NDArray[np.uint8]:
    """(S, S) gray pixels of the file with these bytes. `bit_depth`: declared, of samples stored in 16 bits.
    Raises Unreadable.
    """
    return decode(data, read_header(data), size=size, bit_depth=bit_depth)


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
        raise Unreadable("UNSUPPORTED_FORMAT", "DICOM is not supported yet; export the image as PNG")
    if name not in READERS:
        raise Unreadable("UNSUPPORTED_FORMAT", f"{name} is not supported; convert to PNG")
    try:
        header = READERS[name](data)
    except (IndexError, struct.error) as error:
        raise Unreadable("TRUNCATED", f"the file ends within the structure of its {name}") from error
    return _within_bounds(header)


def _what_else(head: bytes) -> str:
    if not head.strip(b"\0"):
        return "the file begins with zero bytes: an interrupted copy?"
    if head.lstrip()[:1] == b"<":
        return "the file is HTML or XML: a failed download?"
    return "not a recognized image format"


def _within_bounds(header: Header) -> Header:
    shape = f"{header.width} x {header.height} pixels"
    if header.frames > 1:
        raise Unreadable(
            "MULTIFRAME", f"{header.frames} images in one file; save the one to be scored as a separate file"
        )
    if header.width * header.height > MAX_PIXELS:
        raise Unreadable("TOO_LARGE", f"{shape}, and at most {MAX_PIXELS // 1_000_000} million are read")
    if header.decoded_bytes > MAX_BYTES:
        found = f"{shape} decompress to {header.decoded_bytes / 1e6:,.0f} MB"
        raise Unreadable(
            "TOO_LARGE", f"{found}, and at most {MAX_BYTES / 1e6:,.0f} are read; save it as 8-bit gray"
        )
    if min(header.width, header.height) < MIN_SIDE_PX:
        raise Unreadable("TOO_SMALL", f"{shape}, but each side must be at least {MIN_SIDE_PX}")
    return header


def decode(data: bytes, header: Header, *, size: int, bit_depth: int | None = None) -> NDArray[np.uint8]:
    """The pixels of a file whose header was read. Raises Unreadable."""
    (pixels,), _ = decode_copies(data, header, sizes=(size,), bit_depth=bit_depth)
    return pixels


def decode_copies(
    data: bytes,
    header: Header,
    *,
    sizes: Sequence[int],
    bit_depth: int | None = None,
    look_for_colours: bool = False,
) -> tuple[list[NDArray[np.uint8]], bool]:
    """-> (s, s) pixels for each s of `sizes`, and whether colours were looked for and seen: somewhere the
    channels differ by more than TINT. The first size decides how a JPEG is reduced and what is blank, so that
    its pixels are the same with and without others. Raises Unreadable.
    """
    if header.format == "JPEG":
        gray, coloured = _decode_jpeg(data, header, sizes[0], look_for_colours=look_for_colours)
    else:
        image = _decode_other(data, header)
        gray, coloured = _gray(image, header, bit_depth), look_for_colours and _is_coloured(image)
    covered = _covered(gray, header)
    copies = [np.asarray(gray.resize((s, s), Image.Resampling.BILINEAR, box=covered)) for s in sizes]
    small = copies[0]
    if _variance_sum(small) < small.size**2 * MIN_STD**2:
        raise Unreadable("BLANK_IMAGE", f"one shade everywhere: standard deviation {small.std():.2f} of 255")
    return [_upright(copy, header.orientation) for copy in copies], coloured


def _variance_sum(pixels: NDArray[np.uint8]) -> int:
    """n^2 times the variance, in whole numbers: what is blank is so on every processor."""
    values = pixels.astype(np.int64)
    return pixels.size * int((values * values).sum()) - int(values.sum()) ** 2


def _decode_jpeg(
    data: bytes, header: Header, size: int, *, look_for_colours: bool
) -> tuple[Image.Image, bool]:
    """Three components are decoded as RGB where colours are looked for. R = G = B is what gray is then; of
    other pictures, and of faults, the decoding to gray decides, so that looking changes neither.
    """
    least = 2 * size if min(header.width, header.height) >= 4 * size else 0
    how: dict[str, Any] = {"strict": True, "min_height": least, "min_width": least}
    spread = 0
    if look_for_colours and header.components == 3:
        with suppress(ValueError):
            rgb = simplejpeg.decode_jpeg(data, colorspace="RGB", **how)
            spread = _spread(rgb)
            if not spread:
                return Image.fromarray(np.ascontiguousarray(rgb[:, :, 0])), False
    try:
        gray = simplejpeg.decode_jpeg(data, colorspace="GRAY", **how)
    except ValueError as error:
        raise jpeg_fault(str(error).strip(), data) from error
    return Image.fromarray(gray[:, :, 0]), spread > TINT


def _spread(rgb: NDArray[np.uint8]) -> int:
    """How far the channels of (h, w, 3) pixels lie apart where they do so most."""
    red, green, blue = (rgb[:, :, channel] for channel in range(3))
    if np.array_equal(red, green) and np.array_equal(red, blue):
        return 0
    return int(np.ptp(rgb, axis=2).max())


def _is_coloured(image: Image.Image) -> bool:
    """What is not seen, as it is transparent, is black and has no colour."""
    if image.mode not in ("P", "PA", "RGB", "RGBA"):
        return False
    return _spread(np.asarray(_on_black(image).convert("RGB"))) > TINT


def _decode_other(data: bytes, header: Header) -> Image.Image:
    body = REWRITE[header.format](data, header)
    try:
        image = Image.open(BytesIO(body), formats=(header.format,))
        _within_bounds(replace(header, width=image.width, height=image.height))
        image.load()
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise Unreadable("TOO_LARGE", "the file holds far more pixels than its header says") from error
    except UnidentifiedImageError as error:
        raise Unreadable(
            "UNSUPPORTED_FORMAT", f"samples of a {header.format} that are not supported; convert to PNG"
        ) from error
    except PILLOW_FAULTS as error:
        kind = "TRUNCATED" if "truncated" in str(error).lower() else "CORRUPT_DATA"
        raise Unreadable(kind, f"the {header.format} does not decode: {error}") from error
    _refuse_missing_colours(image, header)
    return image


def _refuse_missing_colours(image: Image.Image, header: Header) -> None:
    """Decoders paint a shade that the palette does not have black."""
    if header.colours is None or image.mode not in ("P", "L"):  # L: a GIF whose palette is gray
        return
    asked = int(np.asarray(image).max()) + 1
    if asked > header.colours:
        found = f"a pixel asks for colour {asked} of a palette of {header.colours}"
        raise Unreadable("CORRUPT_DATA", found)


def _gray(image: Image.Image, header: Header, bit_depth: int | None) -> Image.Image:
    if image.mode.startswith("I;16"):
        return Image.fromarray(_eight_bits(np.asarray(image), header, bit_depth))
    if image.mode in ("I", "F"):
        raise Unreadable("UNSUPPORTED_FORMAT", "32-bit or signed samples; convert to 8 or 16 bits")
    if image.mode not in GRAY_OR_COLOUR:
        raise Unreadable("UNSUPPORTED_COLORSPACE", f"colours as {image.mode}; convert to gray")
    gray = _on_black(image).convert("L")
    if header.depth == 16 and bit_depth is None and _is_hardly_used(np.asarray(gray), 255):
        raise Unreadable("UNDECLARED_DEPTH", UNDECLARED)
    if header.depth == 16 and (bit_depth or 16) < 16:
        found = f"{bit_depth} bits are declared, and of colours only the upper 8 of 16 are read"
        raise Unreadable("UNSUPPORTED_FORMAT", f"{found}; convert to 16-bit gray")
    return ImageOps.invert(gray) if header.white_is_zero else gray


def _on_black(image: Image.Image) -> Image.Image:
    if not image.has_transparency_data:
        return image
    black = Image.new("RGBA", image.size, (0, 0, 0, 255))
    return Image.alpha_composite(black, image.convert("RGBA"))


def _eight_bits(values: NDArray[np.uint16], header: Header, bit_depth: int | None) -> NDArray[np.uint8]:
    full_scale = header.full_scale or 2 ** (bit_depth or 16) - 1
    if bit_depth != 16 and _is_hardly_used(values, full_scale):
        raise Unreadable("UNDECLARED_DEPTH", _hardly_used(bit_depth, full_scale))
    if bit_depth != 16 and _is_narrow(values, full_scale):
        raise Unreadable("UNDECLARED_DEPTH", NARROW)
    beyond = np.count_nonzero(values > full_scale) / values.size
    if beyond > FEW:
        found = f"{bit_depth} bits are declared, and {beyond:.0%} of the samples are above {full_scale:,}"
        raise Unreadable("UNDECLARED_DEPTH", f"{found}; declare the depth that they have")
    shades = np.rint(np.arange(65536) * (255 / full_scale)).clip(0, 255).astype(np.uint8)
    eight: NDArray[np.uint8] = (255 - shades if header.white_is_zero else shades)[values]
    return eight


def _hardly_used(bit_depth: int | None, full_scale: int) -> str:
    if full_scale == 65535:
        return UNDECLARED
    said = "declared" if bit_depth else "stated by the file"
    found = f"hardly any samples reach a quarter of {full_scale:,}, the maximum of the bit depth {said}"
    return f"{found}; declare the right one with --bit-depth (16 takes them as they are)"


def _is_hardly_used(values: NDArray[Any], full_scale: int) -> bool:
    """Whether hardly one of the shades between black and the brightest reaches BRIGHT of the range. What is
    burned in is within BURNED_IN of the brightest shade, and may be as large as it likes.
    """
    brightest = int(values.max())
    bright, burned_in = BRIGHT * (full_scale + 1), brightest - BURNED_IN * full_scale
    if brightest < bright:
        return brightest > 0
    between = np.count_nonzero((values > 0) & (values < burned_in))
    reached = np.count_nonzero((values >= bright) & (values < burned_in))
    return bool(between > 0 and reached < FEW * between)


def _is_narrow(values: NDArray[Any], full_scale: int) -> bool:
    """Whether nine tenths of the shades between the darkest and the brightest lie within NARROW_SHARE of the
    range, wherever that is: 12-bit data that were inverted, or shifted by a sign, in 16 bits.
    """
    some = values[::4, ::4]
    between = some[(some > values.min()) & (some < values.max())]
    if between.size < FEW * some.size:
        return False
    low, high = np.percentile(between, (5, 95))
    return bool(high - low < NARROW_SHARE * full_scale)


def _covered(gray: Image.Image, header: Header) -> tuple[float, float, float, float] | None:
    """The part of a reduced JPEG that the image covers: at n/8 of the size its last pixels reach further."""
    if header.format != "JPEG":
        return None
    scale = round(8 * gray.width / header.width) / 8
    return (0, 0, header.width * scale, header.height * scale)


def _upright(pixels: NDArray[np.uint8], orientation: int) -> NDArray[np.uint8]:
    """Undo an EXIF orientation. Source: Exif 2.32, tag 0x0112; bit by bit as PIL.ImageOps.exif_transpose."""
    turned = pixels.T if orientation >= 5 else pixels
    if orientation in (2, 3, 6, 7):
        turned = turned[:, ::-1]
    if orientation in (3, 4, 7, 8):
        turned = turned[::-1]
    return np.ascontiguousarray(turned)
