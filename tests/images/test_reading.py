"""File bytes become the right pixels, or a named fault: nothing in between."""

import io
import struct
import zlib
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image, ImageOps

from cxrscore.core.errors import QUARANTINE_KINDS, Unreadable
from cxrscore.core.resources import DECODER_BYTES
from cxrscore.images.reading import MAX_BYTES, PREPROCESSING, read_header, read_image, sniff

S = 48


def a_film(width: int = 160, height: int = 120, seed: int = 0) -> Image.Image:
    """A smooth gray picture without symmetry."""
    coarse = np.random.default_rng(seed).integers(0, 256, (7, 9), dtype=np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)


def encode(image: Image.Image, format: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


def resized(image: Image.Image) -> np.ndarray:
    """The plain way, in full: what read_image is measured against."""
    return np.asarray(image.resize((S, S), Image.Resampling.BILINEAR)).astype(int)


def far(data: bytes, image: Image.Image) -> int:
    """The largest difference of any pixel from the plain way."""
    return int(np.abs(read_image(data, size=S).astype(int) - resized(image)).max())


def fault(data: bytes) -> str:
    with pytest.raises(Unreadable, match=r"\w+") as caught:
        read_image(data, size=S)
    assert caught.value.kind in QUARANTINE_KINDS
    return caught.value.kind


def png_chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def a_png(
    rows: bytes, width: int, height: int, *extra: bytes, depth: int = 8, colour: int = 0, packed: int = 9
) -> bytes:
    """A PNG by hand: `rows` with their filter bytes, `extra` chunks before the pixels."""
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    pixels = png_chunk(b"IDAT", zlib.compress(rows, packed))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(extra) + pixels + png_chunk(b"IEND", b"")


def sixteen(values: np.ndarray, *extra: bytes) -> bytes:
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    return a_png(rows, values.shape[1], values.shape[0], *extra, depth=16)


def insert(png: bytes, *chunks: bytes) -> bytes:
    """`chunks` after the header of a PNG."""
    return png[:33] + b"".join(chunks) + png[33:]


def a_tiff(shades: np.ndarray, order: str = "<", photometric: int | None = None) -> bytes:
    """One strip of gray or RGB, by hand: (H, W) or (H, W, 3), of 8 or 16 bits."""
    height, width, *colours = shades.shape
    samples, bits = (colours or [1])[0], 8 * shades.itemsize
    pixels = shades.astype(shades.dtype.newbyteorder(order)).tobytes()
    tags = {256: width, 257: height, 258: bits, 259: 1, 273: 8, 277: samples, 278: height, 279: len(pixels)}
    tags[262] = (2 if samples == 3 else 1) if photometric is None else photometric
    body = b"".join(struct.pack(f"{order}HHII", tag, 4, 1, tags[tag]) for tag in sorted(tags))
    start = struct.pack(f"{order}2sHI", b"II" if order == "<" else b"MM", 42, 8 + len(pixels))
    return start + pixels + struct.pack(f"{order}H", len(tags)) + body + bytes(4)


def without(tiff: bytes, tag: int, order: str = "<") -> bytes:
    """The same, one tag less."""
    (at,) = struct.unpack_from(f"{order}I", tiff, 4)
    (n,) = struct.unpack_from(f"{order}H", tiff, at)
    entries = [tiff[i : i + 12] for i in range(at + 2, at + 2 + 12 * n, 12)]
    kept = [entry for entry in entries if struct.unpack(f"{order}H", entry[:2]) != (tag,)]
    assert len(kept) == n - 1
    return tiff[:at] + struct.pack(f"{order}H", n - 1) + b"".join(kept) + bytes(4)


FILM = a_film()
GOOD = {
    "baseline JPEG": encode(FILM, "JPEG", quality=92),
    "colour JPEG": encode(FILM.convert("RGB"), "JPEG", quality=92),
    "progressive JPEG": encode(FILM, "JPEG", quality=92, progressive=True),
    "restarting JPEG": encode(FILM, "JPEG", quality=92, restart_marker_rows=1),
    "large JPEG": encode(a_film(900, 700), "JPEG", quality=92),
    "PNG": encode(FILM, "PNG"),
    "palette PNG": encode(FILM.convert("P"), "PNG"),
    "raw TIFF": encode(FILM, "TIFF"),
    "LZW TIFF": encode(FILM, "TIFF", compression="tiff_lzw"),
    "deflate TIFF": encode(FILM, "TIFF", compression="tiff_adobe_deflate"),
    "GIF": encode(FILM, "GIF"),
}


@pytest.mark.parametrize("name", GOOD)
def test_a_good_file_becomes_its_own_pixels(name: str) -> None:
    pixels = read_image(GOOD[name], size=S)
    assert (pixels.shape, pixels.dtype) == ((S, S), np.uint8)
    assert np.abs(pixels.astype(int) - resized(FILM)).mean() < 1
    header = read_header(GOOD[name])
    assert name.endswith(header.format)
    assert (header.width, header.height) == ((900, 700) if name == "large JPEG" else (160, 120))


def test_lossless_formats_give_exactly_the_plain_resize() -> None:
    for name in ("PNG", "raw TIFF", "LZW TIFF", "deflate TIFF"):
        assert far(GOOD[name], FILM) == 0


def test_a_jpeg_below_four_times_the_size_is_exactly_the_plain_decode() -> None:
    for name in ("baseline JPEG", "colour JPEG", "progressive JPEG"):
        assert far(GOOD[name], Image.open(io.BytesIO(GOOD[name])).convert("L")) <= 1


def test_the_reduced_decode_is_within_one_of_the_full_one() -> None:
    film = a_film(1500, 1100)
    grain = np.random.default_rng(1).integers(-6, 7, (1100, 1500))
    data = encode(
        Image.fromarray((np.asarray(film) + grain).clip(0, 255).astype(np.uint8)), "JPEG", quality=92
    )
    full = resized(Image.open(io.BytesIO(data)))
    assert np.abs(read_image(data, size=S) - full).mean() < 1


def test_the_preprocessing_has_a_name() -> None:
    assert PREPROCESSING == "luma601-dct2x-bilinear-squash-v1"


# What a file is, its bytes say (I1, I18, I26).


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"", "EMPTY_FILE"),
        (b"<!DOCTYPE html><html>404 Not Found", "NOT_AN_IMAGE"),
        (b"Image_name,Edema\n", "NOT_AN_IMAGE"),
        (b"\0" * 5000, "NOT_AN_IMAGE"),
        (b"\0" * 128 + b"DICM" + b"\0" * 100, "UNSUPPORTED_FORMAT"),
        (b"RIFF\0\0\0\0WEBPVP8 ", "UNSUPPORTED_FORMAT"),
        (b"\0\0\0\x0cjP  \r\n\x87\n" + b"\0" * 50, "UNSUPPORTED_FORMAT"),
        (b"\xff\x4f\xff\x51" + b"\0" * 50, "UNSUPPORTED_FORMAT"),
        (b"\0\0\0\x18ftypheic" + b"\0" * 50, "UNSUPPORTED_FORMAT"),
        (b"BM" + b"\0" * 50, "UNSUPPORTED_FORMAT"),
        (b"\x89PN", "TRUNCATED"),
        (b"\xff\xd8", "TRUNCATED"),
    ],
)
def test_other_bytes_are_named_for_what_they_are(data: bytes, kind: str) -> None:
    assert fault(data) == kind


def test_dicom_says_what_to_do() -> None:
    with pytest.raises(Unreadable, match="DICOM is not supported yet; export the image as PNG"):
        read_image(b"\0" * 128 + b"DICM", size=S)


def test_sniffing_needs_only_the_head() -> None:
    assert [sniff(GOOD[name][:132]) for name in ("PNG", "large JPEG", "raw TIFF", "GIF")] == [
        "PNG",
        "JPEG",
        "TIFF",
        "GIF",
    ]
    assert sniff(b"plain text") is None


def with_frame(marker: int, depth: int) -> bytes:
    """A baseline JPEG that says it is of another process or depth."""
    data = bytearray(GOOD["baseline JPEG"])
    at = data.index(b"\xff\xc0")
    data[at + 1], data[at + 4] = marker, depth
    return bytes(data)


@pytest.mark.parametrize(
    ("marker", "depth"), [(0xC3, 8), (0xF7, 8), (0xC0, 12), (0xC1, 12), (0xC9, 8), (0xC5, 8)]
)
def test_lossless_and_deep_jpegs_are_not_read(marker: int, depth: int) -> None:
    assert fault(with_frame(marker, depth)) == "UNSUPPORTED_FORMAT"


# Damage (I2-I4, I6, I7, I15).


@pytest.mark.parametrize("name", GOOD)
def test_every_truncation_is_rejected(name: str) -> None:
    data = GOOD[name]
    cuts = {*range(1, 40), *range(40, len(data), max(1, len(data) // 60)), *range(len(data) - 20, len(data))}
    if name == "GIF":
        cuts -= {len(data) - 1}  # all but its end mark: whole
    kinds = {fault(data[:cut]) for cut in cuts}
    assert kinds <= {"TRUNCATED", "NOT_AN_IMAGE"}


def test_a_jpeg_that_lacks_only_its_end_marker_is_truncated() -> None:
    for name in ("baseline JPEG", "progressive JPEG", "large JPEG"):
        assert GOOD[name].endswith(b"\xff\xd9")
        assert fault(GOOD[name][:-2]) == "TRUNCATED"


@pytest.mark.parametrize("name", ["baseline JPEG", "progressive JPEG", "PNG", "raw TIFF", "GIF"])
def test_bytes_after_the_end_are_let_be(name: str) -> None:
    assert (read_image(GOOD[name] + b"junk" * 999, size=S) == read_image(GOOD[name], size=S)).all()


def test_a_hole_in_a_jpeg_is_corrupt() -> None:
    for name in ("baseline JPEG", "large JPEG"):
        data, middle = GOOD[name], len(GOOD[name]) // 2
        assert fault(data[:middle] + bytes(300) + data[middle + 300 :]) == "CORRUPT_DATA"


def test_a_flipped_byte_anywhere_in_a_png_is_noticed() -> None:
    data = GOOD["PNG"]
    for at in range(8, len(data), 7):
        assert fault(data[:at] + bytes([data[at] ^ 0x10]) + data[at + 1 :]) in ("CORRUPT_DATA", "TRUNCATED")


def test_a_hole_in_a_deflated_tiff_is_corrupt() -> None:
    data = GOOD["deflate TIFF"]
    for at in range(20, len(data) - 400, 97):
        assert fault(data[:at] + bytes(20) + data[at + 20 :]) == "CORRUPT_DATA"


@pytest.mark.parametrize("missing", [1, 161, 161 * 60])
def test_missing_rows_of_a_png_are_not_painted_black(missing: int) -> None:
    rows = b"".join(b"\0" + row.tobytes() for row in np.asarray(FILM))
    assert far(a_png(rows, 160, 120), FILM) == 0
    assert fault(a_png(rows[:-missing], 160, 120)) == "TRUNCATED"


@pytest.mark.parametrize("extra", [1, 119, 120])
def test_whole_rows_behind_the_last_one_of_a_png_are_ignored(extra: int) -> None:
    rows = b"".join(b"\0" + row.tobytes() for row in np.asarray(FILM))
    assert far(a_png(rows + rows[: extra * 161], 160, 120), FILM) == 0
    assert fault(a_png(rows + rows[: extra * 161], 160, 120)[:-30]) == "TRUNCATED"


@pytest.mark.parametrize("extra", [1, 120, 160, 162, 121 * 161, 1000 * 161])
def test_other_bytes_behind_the_rows_of_a_png_say_that_its_header_is_wrong(extra: int) -> None:
    rows = b"".join(b"\0" + row.tobytes() for row in np.asarray(FILM))
    assert fault(a_png(rows + bytes(extra), 160, 120)) == "CORRUPT_DATA"


def test_a_png_whose_deflate_stream_is_cut_behind_its_rows_is_refused() -> None:
    rows = b"".join(b"\0" + row.tobytes() for row in np.asarray(FILM))
    whole = a_png(rows + rows[:161], 160, 120, packed=0)
    at = whole.index(b"IDAT") - 4
    pixels = whole[at + 8 : -16]
    for cut in (1, 4, 5, 100):
        data = whole[:at] + png_chunk(b"IDAT", pixels[:-cut]) + whole[-12:]
        assert fault(data) == "CORRUPT_DATA"
    wrong_sum = pixels[:-1] + bytes([pixels[-1] ^ 1])
    assert fault(whole[:at] + png_chunk(b"IDAT", wrong_sum) + whole[-12:]) == "CORRUPT_DATA"


def splice(data: bytes, rng: np.random.Generator) -> bytes:
    other = GOOD[list(GOOD)[rng.integers(len(GOOD))]]
    return data[: rng.integers(len(data))] + other[rng.integers(len(other)) :]


def zero(data: bytes, rng: np.random.Generator) -> bytes:
    at, length = rng.integers(len(data)), rng.integers(1, 400)
    return data[:at] + bytes(len(data[at : at + length])) + data[at + length :]


def flip(data: bytes, rng: np.random.Generator) -> bytes:
    changed = bytearray(data)
    for at in rng.integers(0, min(len(data), 2 ** rng.integers(4, 16)), 3):  # often in the header
        changed[at] ^= 1 << rng.integers(8)
    return bytes(changed)


@pytest.mark.parametrize("damage", [splice, zero, flip])
@pytest.mark.parametrize("name", GOOD)
def test_damage_gives_pixels_or_a_named_fault_and_never_another_error(
    name: str, damage: Callable[[bytes, np.random.Generator], bytes]
) -> None:
    rng = np.random.default_rng(7)
    for _ in range(60):
        try:
            assert read_image(damage(GOOD[name], rng), size=S).shape == (S, S)
        except Unreadable as error:
            assert error.kind in QUARANTINE_KINDS and "object at 0x" not in str(error)


# Colour, transparency and depth (I8-I14, I25).


def test_cmyk_is_refused_and_never_its_first_channel() -> None:
    assert fault(encode(FILM.convert("CMYK"), "JPEG")) == "UNSUPPORTED_COLORSPACE"
    assert fault(encode(FILM.convert("CMYK"), "TIFF")) == "UNSUPPORTED_COLORSPACE"


def test_colour_becomes_luma_in_every_format() -> None:
    red, green, blue = (np.asarray(a_film(seed=seed)).astype(float) for seed in (1, 2, 3))
    colour = Image.fromarray(np.stack([red, green, blue], -1).astype(np.uint8))
    luma = Image.fromarray(np.rint(0.299 * red + 0.587 * green + 0.114 * blue).astype(np.uint8))
    assert far(encode(colour, "PNG"), luma) <= 1
    assert far(encode(colour, "TIFF"), luma) <= 1
    assert far(encode(colour, "JPEG", quality=98, subsampling=0), luma) <= 3
    assert far(encode(colour, "JPEG", quality=98, keep_rgb=True), luma) <= 3


def test_sixteen_bits_are_scaled_and_not_cut() -> None:
    values = np.asarray(FILM).astype(np.uint16) * 257
    assert far(sixteen(values), FILM) == 0
    assert far(encode(Image.fromarray(values), "TIFF"), FILM) == 0


TWELVE = np.rint(np.asarray(FILM) * (4095 / 255)).astype(np.uint16)


def far_declared(data: bytes, bit_depth: int, image: Image.Image) -> int:
    """As `far`, with a declared depth."""
    return int(np.abs(read_image(data, size=S, bit_depth=bit_depth).astype(int) - resized(image)).max())


def burned_in(values: np.ndarray, rows: slice, columns: slice, shade: int = 65535) -> np.ndarray:
    marked = values.copy()
    marked[rows, columns] = shade
    return marked


def test_the_depth_that_is_declared_for_all_files_is_their_scale() -> None:
    for data in (sixteen(TWELVE), encode(Image.fromarray(TWELVE), "TIFF")):
        assert far_declared(data, 12, FILM) == 0
    ten = np.rint(np.asarray(FILM) * (1023 / 255)).astype(np.uint16)
    assert far_declared(sixteen(ten), 10, FILM) == 0


def test_a_depth_of_sixteen_says_that_dark_samples_are_right_as_they_are() -> None:
    dark = Image.fromarray(np.rint(TWELVE * (255 / 65535)).astype(np.uint8))
    assert far_declared(sixteen(TWELVE), 16, dark) == 0


def test_a_declared_depth_changes_no_file_of_eight_bits() -> None:
    for data in GOOD.values():
        assert (read_image(data, size=S, bit_depth=12) == read_image(data, size=S)).all()


def test_a_depth_that_the_samples_contradict_is_not_believed() -> None:
    values = np.asarray(FILM).astype(np.uint16) * 257
    with pytest.raises(Unreadable, match=r"12 bits are declared, and \d+% of the samples are above 4,095"):
        read_image(sixteen(values), size=S, bit_depth=12)


def test_a_depth_declared_for_colours_of_sixteen_bits_is_said_not_to_be_read() -> None:
    rows = b"".join(b"\0" + np.repeat(row, 3).astype(">u2").tobytes() for row in TWELVE)
    with pytest.raises(Unreadable, match="only the upper 8 of 16 are read; convert to 16-bit gray"):
        read_image(a_png(rows, 160, 120, depth=16, colour=2), size=S, bit_depth=12)


def test_the_bits_that_once_were_significant_are_no_scale() -> None:
    """sBIT of a conformant file: its samples use all 16 bits, however dark it is."""
    values, said = np.asarray(FILM).astype(np.uint16) * 257, png_chunk(b"sBIT", b"\x0c")
    assert far(sixteen(values, said), FILM) == 0
    assert fault(sixteen(TWELVE, said)) == "UNDECLARED_DEPTH"
    dark = Image.fromarray(np.rint(TWELVE * (255 / 65535)).astype(np.uint8))
    assert far_declared(sixteen(TWELVE, said), 16, dark) == 0


@pytest.mark.parametrize(
    "marked",
    [
        burned_in(TWELVE, slice(4, 12), slice(4, 14)),  # 0.4 % of the samples
        burned_in(TWELVE, slice(0, 40), slice(0, 60)),  # an eighth of them
        burned_in(TWELVE, slice(4, 12), slice(4, 14), 40_000),
        burned_in(burned_in(TWELVE, slice(4, 12), slice(4, 14)), slice(50, 60), slice(0, 40), 0),
        burned_in(burned_in(TWELVE, slice(4, 12), slice(4, 14)), slice(13, 14), slice(4, 14), 30_000),
    ],
)
def test_a_marker_does_not_hide_that_the_depth_is_unknown(marked: np.ndarray) -> None:
    assert fault(sixteen(marked)) == "UNDECLARED_DEPTH"
    assert fault(encode(Image.fromarray(marked), "TIFF")) == "UNDECLARED_DEPTH"
    rows = b"".join(b"\0" + np.repeat(row, 3).astype(">u2").tobytes() for row in marked)
    assert fault(a_png(rows, 160, 120, depth=16, colour=2)) == "UNDECLARED_DEPTH"


INVERTED = 65535 - TWELVE


@pytest.mark.parametrize(
    "values",
    [
        INVERTED,
        (32768 + TWELVE).astype(np.uint16),
        (16384 + TWELVE).astype(np.uint16),
        burned_in(INVERTED, slice(4, 12), slice(4, 14), 0),
        burned_in(burned_in(TWELVE, slice(0, 14), slice(None), 65534), slice(0, 1), slice(0, 1)),
    ],
)
def test_twelve_bits_are_noticed_wherever_they_lie_in_sixteen(values: np.ndarray) -> None:
    assert fault(sixteen(values)) == "UNDECLARED_DEPTH"
    with pytest.raises(Unreadable, match="--bit-depth"):
        read_image(sixteen(values), size=S, bit_depth=None)
    read_image(sixteen(values), size=S, bit_depth=16)


def test_fewer_bits_than_were_declared_are_noticed_too() -> None:
    """Eight bits in a file of a folder whose files are said to have twelve."""
    with pytest.raises(Unreadable, match=r"hardly any samples reach a quarter of"):
        read_image(sixteen(np.asarray(FILM).astype(np.uint16)), size=S, bit_depth=12)


def test_a_pixel_that_asks_for_a_colour_the_palette_lacks_is_corrupt() -> None:
    """Decoders paint it black."""
    shades = np.asarray(FILM) // 2
    rows = b"".join(b"\0" + row.tobytes() for row in shades)
    palette = bytes(v for i in range(128) for v in (2 * i, 2 * i, 2 * i))
    whole = a_png(rows, 160, 120, png_chunk(b"PLTE", palette), colour=3)
    assert far(whole, Image.fromarray(shades * 2)) <= 1
    assert fault(a_png(rows, 160, 120, png_chunk(b"PLTE", palette[:-90]), colour=3)) == "CORRUPT_DATA"
    gif = bytearray(GOOD["GIF"])
    assert gif[10] & 0x87 == 0x87  # a table of 256
    cut = bytes(gif[:10]) + bytes([gif[10] & 0xF8 | 5]) + bytes(gif[11 : 13 + 192]) + bytes(gif[13 + 768 :])
    assert fault(cut) == "CORRUPT_DATA"
    assert (
        fault(bytes(gif[:10]) + bytes([gif[10] & 0x7F]) + bytes(gif[11:13] + gif[13 + 768 :]))
        == "CORRUPT_DATA"
    )


def test_a_marker_is_white_where_the_depth_is_declared() -> None:
    white = Image.fromarray(burned_in(np.asarray(FILM), slice(4, 12), slice(4, 14), 255))
    assert far_declared(sixteen(burned_in(TWELVE, slice(4, 12), slice(4, 14))), 12, white) == 0


def test_dark_films_of_sixteen_bits_are_read_as_long_as_a_tenth_is_not_dark() -> None:
    values = np.asarray(FILM).astype(np.uint16) * 257
    bordered = burned_in(values, slice(0, 90), slice(None), 0)  # a collimator's black, three quarters
    assert far(sixteen(bordered), Image.fromarray((bordered // 257).astype(np.uint8))) == 0


def test_twelve_bits_that_nobody_declares_are_not_scored_as_black() -> None:
    values = TWELVE
    assert fault(sixteen(values)) == "UNDECLARED_DEPTH"
    assert fault(encode(Image.fromarray(values), "TIFF")) == "UNDECLARED_DEPTH"
    rows = b"".join(b"\0" + np.repeat(row, 3).astype(">u2").tobytes() for row in values)
    assert fault(a_png(rows, 160, 120, depth=16, colour=2)) == "UNDECLARED_DEPTH"


def test_sixteen_bit_colour_is_scaled() -> None:
    values = np.asarray(FILM).astype(np.uint16) * 257
    rows = b"".join(b"\0" + np.repeat(row, 3).astype(">u2").tobytes() for row in values)
    assert far(a_png(rows, 160, 120, depth=16, colour=2), FILM) == 0


def test_a_tiff_in_which_zero_is_white_is_inverted() -> None:
    values = 65535 - np.asarray(FILM).astype(np.uint16) * 257
    assert far(encode(Image.fromarray(values), "TIFF", tiffinfo={262: 0}), FILM) == 0


@pytest.mark.parametrize("shades", [np.asarray(FILM), np.asarray(FILM).astype(np.uint16) * 257])
@pytest.mark.parametrize("order", "<>")
def test_zero_is_black_where_a_tiff_does_not_say(shades: np.ndarray, order: str) -> None:
    data = a_tiff(shades, order)
    assert far(data, FILM) == 0
    assert far(without(data, 262, order), FILM) == 0
    colours = a_tiff(np.repeat(np.asarray(FILM)[:, :, None], 3, axis=2), order)
    assert far(colours, FILM) == 0
    assert fault(without(colours, 262, order)) == "UNSUPPORTED_FORMAT"


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("bits", [8, 16])
def test_zero_is_white_where_a_tiff_says_so(bits: int, order: str) -> None:
    inverted = 255 - np.asarray(FILM)
    shades = inverted if bits == 8 else inverted.astype(np.uint16) * 257
    assert far(a_tiff(shades, order, photometric=0), FILM) == 0


def test_a_standard_deviation_of_one_is_not_blank_and_the_least_bit_less_is() -> None:
    values = np.full(96 * 96, 100, dtype=np.uint8)
    values[:4302], values[4302:4314] = 102, 103  # n^2 times their variance is n^2, in whole numbers
    plain = values.reshape(96, 96)
    assert read_image(encode(Image.fromarray(plain), "PNG"), size=96).shape == (96, 96)
    values[4313] = 102
    with pytest.raises(Unreadable, match=r"one shade everywhere: standard deviation 1\.00"):
        read_image(encode(Image.fromarray(plain), "PNG"), size=96)


def test_a_palette_is_looked_up() -> None:
    shades = np.asarray(FILM)
    inverted = Image.fromarray(255 - shades)
    inverted.putpalette([255 - i // 3 for i in range(768)])
    data = encode(inverted, "PNG")
    assert read_header(data).chunks[b"IHDR"][9] == 3
    assert far(data, FILM) <= 1


def test_what_is_transparent_is_black() -> None:
    alpha = a_film(seed=5)
    black = Image.composite(FILM, Image.new("L", FILM.size), alpha)
    gray_alpha, colour_alpha = FILM.copy(), FILM.convert("RGB")
    gray_alpha.putalpha(alpha)
    colour_alpha.putalpha(alpha)
    assert far(encode(gray_alpha, "PNG"), black) <= 1
    assert far(encode(colour_alpha, "PNG"), black) <= 1


def test_a_transparent_palette_entry_or_shade_is_black() -> None:
    image = Image.fromarray(np.where(np.asarray(FILM) > 128, 200, 90).astype(np.uint8))
    black = image.point(lambda shade: 0 if shade == 200 else shade)
    assert far(encode(image, "PNG", transparency=200), black) == 0
    palette = image.copy()
    palette.putpalette([i // 3 for i in range(768)])
    assert far(encode(palette, "PNG", transparency=200), black) == 0


def test_opaque_transparency_changes_nothing() -> None:
    assert far(encode(FILM.convert("RGBA"), "PNG"), FILM) == 0


def test_one_bit_images_are_black_and_white() -> None:
    image = FILM.convert("1")
    for format in ("PNG", "TIFF"):
        assert far(encode(image, format), image.convert("L")) == 0


def test_floating_point_and_32_bits_are_not_read() -> None:
    for values in (np.asarray(FILM) / np.float32(255), np.asarray(FILM).astype(np.int32)):
        assert fault(encode(Image.fromarray(values), "TIFF")) == "UNSUPPORTED_FORMAT"


def test_a_lossy_tiff_is_not_read() -> None:
    assert fault(encode(FILM, "TIFF", compression="jpeg")) == "UNSUPPORTED_FORMAT"


def test_colour_profiles_and_gamma_are_ignored() -> None:
    gamma = insert(
        GOOD["PNG"], png_chunk(b"gAMA", struct.pack(">I", 220_000)), png_chunk(b"iCCP", b"x\0\0nonsense")
    )
    assert far(gamma, FILM) == 0


def test_an_interlaced_png_is_read_and_its_missing_rows_are_missed() -> None:
    gray = np.asarray(FILM)
    passes = [
        (0, 0, 8, 8),
        (4, 0, 8, 8),
        (0, 4, 4, 8),
        (2, 0, 4, 4),
        (0, 2, 2, 4),
        (1, 0, 2, 2),
        (0, 1, 1, 2),
    ]
    rows = b"".join(b"\0" + row.tobytes() for x, y, dx, dy in passes for row in gray[y::dy, x::dx])
    interlaced = {}
    for name, body in (("whole", rows), ("cut", rows[:-1]), ("long", rows + rows[-161:])):
        data = a_png(body, 160, 120)
        header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", 160, 120, 8, 0, 0, 0, 1))
        interlaced[name] = data[:8] + header + data[33:]
    assert far(interlaced["whole"], FILM) == 0
    assert fault(interlaced["cut"]) == "TRUNCATED"
    assert fault(interlaced["long"]) == "CORRUPT_DATA"  # with another height its passes lie elsewhere


# Several images in one file (I16).


def a_multi_picture_jpeg(count: int) -> bytes:
    """A JPEG with an MPF segment that counts `count` pictures."""
    ifd = b"MM\0*" + struct.pack(">IHHHIII", 8, 1, 0xB001, 4, 1, count, 0)
    segment = b"MPF\0" + ifd
    return (
        GOOD["baseline JPEG"][:2]
        + b"\xff\xe2"
        + struct.pack(">H", len(segment) + 2)
        + segment
        + GOOD["baseline JPEG"][2:]
    )


def test_files_of_several_images_are_refused_and_of_one_are_read() -> None:
    frames = {"save_all": True, "append_images": [a_film(seed=9)]}
    for format in ("GIF", "TIFF", "PNG"):
        assert fault(encode(FILM, format, **frames)) == "MULTIFRAME"
    assert fault(a_multi_picture_jpeg(2)) == "MULTIFRAME"
    assert far(a_multi_picture_jpeg(1), Image.open(io.BytesIO(GOOD["baseline JPEG"]))) <= 1
    one = insert(GOOD["PNG"], png_chunk(b"acTL", struct.pack(">II", 1, 0)))
    assert far(one, FILM) == 0


def test_a_photograph_that_pillow_saves_as_several_pictures_is_refused() -> None:
    assert (
        fault(encode(FILM.convert("RGB"), "MPO", save_all=True, append_images=[a_film().convert("RGB")]))
        == "MULTIFRAME"
    )


# Orientation (I17).


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("format", ["JPEG", "PNG", "TIFF"])
def test_orientation_is_applied_as_pillow_does(format: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encode(FILM, format, exif=exif, **({"quality": 95} if format == "JPEG" else {}))
    upright = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
    assert far(data, upright.convert("L")) <= 1
    assert read_header(data).orientation == orientation


@pytest.mark.parametrize(
    "exif", [b"", b"Exif\0\0", b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0II*\0\x08\0\0\0\xff\xff"]
)
def test_damaged_metadata_says_nothing_about_the_pixels(exif: bytes) -> None:
    assert (
        far(encode(FILM, "JPEG", quality=92, exif=exif), Image.open(io.BytesIO(GOOD["baseline JPEG"]))) <= 1
    )


# Size (I20-I23).


def test_a_huge_image_is_refused_from_its_header() -> None:
    tall = struct.pack(">HH", 20_000, 20_000)
    jpeg = GOOD["baseline JPEG"]
    at = jpeg.index(b"\xff\xc0") + 5
    assert fault(jpeg[:at] + tall + jpeg[at + 4 :]) == "TOO_LARGE"
    assert fault(a_png(b"\0", 20_000, 20_000)) == "TOO_LARGE"
    sides = [struct.pack("<HHII", tag, 4, 1, side) for tag, side in ((256, 160), (257, 120))]
    tiff = GOOD["raw TIFF"]
    for side in sides:
        assert side in tiff
        tiff = tiff.replace(side, side[:8] + struct.pack("<I", 20_000))
    assert fault(tiff) == "TOO_LARGE"


@pytest.mark.parametrize("side", [9_000, 12_000, 60_000])
def test_a_gif_whose_frame_outgrows_its_header_is_refused(side: int) -> None:
    frame = GOOD["GIF"].index(b"," + struct.pack("<HHHH", 0, 0, 160, 120)) + 5
    grown = GOOD["GIF"][:frame] + struct.pack("<HH", side, side) + GOOD["GIF"][frame + 4 :]
    assert fault(grown) == "INCOMPLETE"


def test_text_and_profiles_that_would_fill_the_memory_are_never_inflated() -> None:
    import tracemalloc

    bomb = zlib.compress(bytes(100_000_000), 9)
    data = insert(GOOD["PNG"], png_chunk(b"iCCP", b"x\0\0" + bomb), png_chunk(b"zTXt", b"x\0\0" + bomb))
    tracemalloc.start()
    assert far(data, FILM) == 0
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 5_000_000


def test_pixels_that_inflate_beyond_the_size_in_the_header_are_stopped() -> None:
    assert fault(a_png(bytes(100_000_000), 160, 120)) == "CORRUPT_DATA"


@pytest.mark.parametrize("shape", [(1, 1), (1, 500), (31, 400), (400, 31)])
def test_a_side_below_32_pixels_is_too_small(shape: tuple[int, int]) -> None:
    for format in ("PNG", "JPEG", "TIFF", "GIF"):
        assert fault(encode(a_film(*shape), format)) == "TOO_SMALL"


def test_a_long_image_of_32_pixels_is_read() -> None:
    assert far(encode(a_film(800, 32), "PNG"), a_film(800, 32)) == 0


@pytest.mark.parametrize("shade", [0, 255, 77])
def test_one_shade_everywhere_is_no_radiograph(shade: int) -> None:
    for format in ("PNG", "JPEG"):
        assert fault(encode(Image.new("L", (100, 100), shade), format)) == "BLANK_IMAGE"
    assert fault(sixteen(np.full((100, 100), shade * 257))) == "BLANK_IMAGE"


def test_no_file_asks_a_decoder_for_more_than_its_share_of_the_memory() -> None:
    """resources.DECODER_BYTES was measured with a file of MAX_BYTES, the worst of which is RGBA."""
    assert 5 * MAX_BYTES <= DECODER_BYTES
    for colour, depth, channels in ((0, 16, 1), (2, 8, 3), (2, 16, 3), (4, 8, 2), (6, 8, 4), (6, 16, 4)):
        bytes_per_pixel = max(channels * depth // 8, 4 if colour else 0)
        side = int((MAX_BYTES / bytes_per_pixel) ** 0.5) - 4
        small = a_png(b"", side, side, depth=depth, colour=colour)
        assert read_header(small).width == side
        with pytest.raises(Unreadable, match=r"(decompress to|at most 64 million)") as caught:
            read_header(a_png(b"", side, side + 40, depth=depth, colour=colour))
        assert caught.value.kind == "TOO_LARGE"
