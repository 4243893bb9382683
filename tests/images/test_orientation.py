"""However a file says how its picture is turned, it is turned as Pillow's exif_transpose turns it."""

import io
import struct
import zlib
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image, ImageOps

from cxrscore.images.formats.orientation import orientation, raw_profile
from cxrscore.images.reading import read_header, read_image

S = 48
SHADES = np.random.default_rng(0).integers(0, 256, (7, 9), dtype=np.uint8)
FILM = Image.fromarray(SHADES).resize((S, S), Image.Resampling.BICUBIC)  # square: no resize, no rounding


def encode(format: str, **options: object) -> bytes:
    file = io.BytesIO()
    FILM.save(file, format, **options)
    return file.getvalue()


def exif(value: int, kind: str = "H", order: str = "<", *, before: bytes = b"") -> bytes:
    """A TIFF structure with the tag alone, `before` it other entries."""
    number = struct.pack(f"{order}{kind}", value).ljust(4, b"\0")
    n = 1 + len(before) // 12
    entry = struct.pack(f"{order}HHI", 0x0112, {"B": 1, "H": 3, "I": 4}[kind], 1) + number
    head = struct.pack(f"{order}2sHIH", b"II" if order == "<" else b"MM", 42, 8, n)
    return head + before + entry + bytes(4)


def xmp(value: int, form: str = 'tiff:Orientation="{}"/>') -> bytes:
    return b"<x:xmpmeta><rdf:Description " + form.format(value).encode() + b"</x:xmpmeta>"


def png(*chunks: tuple[bytes, bytes], behind: bool = False) -> bytes:
    data = encode("PNG")
    packed = b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in chunks
    )
    at = len(data) - 12 if behind else 33
    return data[:at] + packed + data[at:]


def profile(body: bytes, name: bytes = b"exif") -> bytes:
    """As ImageMagick writes it: 36 bytes on a line."""
    lines = [body[i : i + 36].hex().encode() for i in range(0, len(body), 36)]
    return b"\n" + name + b"\n" + str(len(body)).rjust(8).encode() + b"\n" + b"\n".join(lines) + b"\n"


def text(name: bytes, body: bytes, kind: bytes = b"tEXt", *, packed: bool = True) -> tuple[bytes, bytes]:
    if kind == b"tEXt":
        return kind, name + b"\0" + body
    if kind == b"zTXt":
        return kind, name + b"\0\0" + zlib.compress(body)
    packed_body = zlib.compress(body) if packed else body
    return kind, name + (b"\0\1\0" if packed else b"\0\0\0") + b"en\0name\0" + packed_body


def jpeg(*segments: bytes) -> bytes:
    data = encode("JPEG", quality=95)
    return data[:2] + b"".join(b"\xff\xe1" + struct.pack(">H", len(s) + 2) + s for s in segments) + data[2:]


RAW = b"Raw profile type exif"
XML = b"XML:com.adobe.xmp"
EXIF, ADOBE = b"Exif\0\0", b"http://ns.adobe.com/xap/1.0/\0"
SAID: dict[str, Callable[[int], bytes]] = {
    "JPEG, EXIF": lambda v: jpeg(EXIF + exif(v)),
    "JPEG, EXIF of big-endian longs": lambda v: jpeg(EXIF + exif(v, "I", ">")),
    "JPEG, XMP attribute": lambda v: jpeg(ADOBE + xmp(v)),
    "JPEG, XMP element": lambda v: jpeg(ADOBE + xmp(v, "><tiff:Orientation>{}</tiff:Orientation>")),
    "JPEG, EXIF before XMP": lambda v: jpeg(ADOBE + xmp(3), EXIF + exif(v)),
    "JPEG, EXIF without the tag": lambda v: jpeg(
        EXIF + exif(v).replace(b"\x12\1", b"\x13\1"), ADOBE + xmp(v)
    ),
    "JPEG, EXIF in two segments": lambda v: jpeg(EXIF + exif(v)[:20], EXIF + exif(v)[20:]),
    "PNG, eXIf": lambda v: png((b"eXIf", exif(v))),
    "PNG, eXIf behind the pixels": lambda v: png((b"eXIf", exif(v)), behind=True),
    "PNG, text": lambda v: png(text(RAW, profile(EXIF + exif(v)))),
    "PNG, text without the mark": lambda v: png(text(RAW, profile(exif(v, order=">")))),
    "PNG, compressed text": lambda v: png(text(RAW, profile(EXIF + exif(v)), b"zTXt")),
    "PNG, compressed text behind": lambda v: png(text(RAW, profile(EXIF + exif(v)), b"zTXt"), behind=True),
    "PNG, international text": lambda v: png(text(RAW, profile(EXIF + exif(v)), b"iTXt", packed=False)),
    "PNG, XMP": lambda v: png(text(XML, xmp(v), b"iTXt", packed=False)),
    "PNG, compressed XMP": lambda v: png(text(XML, xmp(v), b"iTXt")),
    "PNG, XMP as plain text": lambda v: png(text(XML, xmp(v))),
    "PNG, eXIf before text": lambda v: png(text(RAW, profile(exif(3))), (b"eXIf", exif(v))),
    "PNG, text before XMP": lambda v: png(text(XML, xmp(3)), text(RAW, profile(exif(v)))),
    "PNG, nothing": lambda v: png(),
    "TIFF, tag": lambda v: encode("TIFF", tiffinfo={0x0112: v}),
    "TIFF, LZW and tag": lambda v: encode(
        "TIFF", tiffinfo={0x0112: min(max(v, 1), 8)}, compression="tiff_lzw"
    ),
    "TIFF, XMP": lambda v: encode("TIFF", tiffinfo={700: xmp(v)}),
    "TIFF, tag before XMP": lambda v: encode("TIFF", tiffinfo={0x0112: v, 700: xmp(3)}),
    "GIF": lambda v: encode("GIF"),
}


def as_pillow(data: bytes) -> np.ndarray:
    return np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("L"))


@pytest.mark.parametrize("value", range(10))
@pytest.mark.parametrize("name", SAID)
def test_a_picture_is_turned_as_pillow_turns_it(name: str, value: int) -> None:
    data = SAID[name](value)
    assert np.abs(read_image(data, size=S).astype(int) - as_pillow(data)).max() <= 1


def test_most_fixtures_say_something() -> None:
    turned = {name for name, make in SAID.items() if read_header(make(6)).orientation == 6}
    assert turned == SAID.keys() - {"PNG, nothing", "GIF"}


def test_the_profile_that_imagemagick_takes_from_a_jpeg_counts_too() -> None:
    """Pillow does not look for it; ImageMagick, exiv2 and libvips do."""
    data = png(text(b"Raw profile type APP1", profile(EXIF + exif(6), b"APP1"), b"zTXt"))
    assert (read_image(data, size=S) == np.rot90(np.asarray(FILM), -1)).all()


DAMAGED = {
    "no digits": text(RAW, b"\nexif\n      20\nnot hexadecimal\n"),
    "no lines": text(RAW, b"exif"),
    "no TIFF": text(RAW, profile(b"Exif\0\0xy")),
    "not compressed": (b"zTXt", RAW + b"\0\0not zlib"),
    "no name": (b"tEXt", b""),
    "half an international text": (b"iTXt", RAW + b"\0\1"),
    "not UTF-8": text(XML, b'\xfftiff:Orientation="x"', b"iTXt"),
    "a directory beyond the end": text(RAW, profile(b"II*\0\xff\xff\xff\x7f")),
    "an empty eXIf": (b"eXIf", b""),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_damaged_metadata_turn_nothing_and_refuse_nothing(name: str) -> None:
    assert (read_image(png(DAMAGED[name]), size=S) == np.asarray(FILM)).all()


def test_a_tag_is_found_in_exif_that_was_cut_behind_it() -> None:
    beyond = struct.pack("<HHII", 0x0110, 2, 99, 10_000)  # another tag, whose text lies beyond the end
    assert orientation(exif(6, before=beyond), b"") == 6
    assert orientation(exif(6)[:-4], b"") == 6


def test_a_text_that_would_fill_the_memory_is_read_to_its_bound() -> None:
    bomb = profile(EXIF + exif(6)) + b"0" * 300_000_000
    data = png((b"zTXt", RAW + b"\0\0" + zlib.compress(bomb, 9)))
    assert len(data) < 1_000_000
    assert read_header(data).orientation == 6


def test_a_raw_profile_of_odd_digits_gives_its_whole_bytes() -> None:
    assert raw_profile(b"\nexif\n 3\n01 02\n03f\n") == b"\1\2\3"
