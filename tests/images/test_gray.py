"""Gray is R where R = G = B, to the last bit; a picture in colour is turned gray, and said to be."""

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import simplejpeg
import tifffile
from conftest import Project
from numpy.typing import NDArray
from PIL import Image
from test_check import look
from test_prepare import a_project, run
from test_reading import a_png

from cxrscore.core.errors import Unreadable
from cxrscore.images.reading import decode_copies, read_header, read_image

S = 96  # also the side of every picture here: nothing is resized
FILM = np.random.default_rng(0).integers(0, 256, (S, S), dtype=np.uint8)
DEEP = np.random.default_rng(1).integers(0, 65536, (S, S), dtype=np.uint16)
RED = np.stack([FILM, FILM // 2, FILM // 2], axis=2)


def thrice(gray: NDArray[np.generic]) -> NDArray[np.generic]:
    return np.repeat(gray[:, :, None], 3, axis=2)


def encode(pixels: NDArray[np.uint8], format: str, **how: object) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format, **how)
    return file.getvalue()


def tiff(pixels: NDArray[np.generic], **how: object) -> bytes:
    file = io.BytesIO()
    tifffile.imwrite(file, pixels, photometric="rgb" if pixels.ndim == 3 else "minisblack", **how)
    return file.getvalue()


def a_palette(colours: NDArray[np.uint8], format: str) -> bytes:
    image = Image.fromarray(FILM)
    image = Image.frombytes("P", image.size, image.tobytes())
    image.putpalette(colours.tobytes())
    file = io.BytesIO()
    image.save(file, format)
    return file.getvalue()


def seen(data: bytes, *, size: int = S) -> tuple[NDArray[np.uint8], bool]:
    (pixels,), coloured = decode_copies(data, read_header(data), sizes=(size,), look_for_colours=True)
    return pixels, coloured


SHADES = thrice(np.arange(256, dtype=np.uint8)[None])[0]
LOSSLESS: dict[str, bytes] = {
    "PNG": encode(thrice(FILM), "PNG"),
    "PNG with alpha": encode(np.dstack([thrice(FILM), np.full_like(FILM, 255)]), "PNG"),
    "palette PNG": a_palette(SHADES, "PNG"),
    "TIFF": tiff(thrice(FILM)),
    "LZW TIFF": encode(thrice(FILM), "TIFF", compression="tiff_lzw"),
    "GIF": a_palette(SHADES, "GIF"),
}


@pytest.mark.parametrize("name", LOSSLESS)
def test_gray_is_r_where_the_channels_are_equal(name: str) -> None:
    assert (read_image(LOSSLESS[name], size=S) == FILM).all()
    pixels, coloured = seen(LOSSLESS[name])
    assert (pixels == FILM).all() and not coloured


def test_the_luma_of_every_shade_is_the_shade() -> None:
    """The weights of BT.601 add up to 1, in real numbers and as the whole ones that decoders round with."""
    assert 19595 + 38470 + 7471 == 1 << 16
    shades = Image.fromarray(thrice(np.arange(256, dtype=np.uint8)[None]))
    assert (np.asarray(shades.convert("L"))[0] == np.arange(256)).all()


@pytest.mark.parametrize("subsampling", ["444", "422", "420"])
def test_a_jpeg_of_equal_channels_has_the_gray_of_its_r_and_of_a_gray_jpeg(subsampling: str) -> None:
    three = simplejpeg.encode_jpeg(np.ascontiguousarray(thrice(FILM)), 90, "RGB", subsampling)
    one = simplejpeg.encode_jpeg(np.ascontiguousarray(FILM[:, :, None]), 90, "GRAY", "Gray")
    r, g, b = simplejpeg.decode_jpeg(three, "RGB").transpose(2, 0, 1)
    assert (r == g).all() and (g == b).all()
    pixels, coloured = seen(three)
    assert (pixels == r).all() and not coloured
    for data in (three, one):
        assert (read_image(data, size=S) == r).all()


@pytest.mark.parametrize("subsampling", ["444", "420"])
@pytest.mark.parametrize("colour", [False, True])
def test_looking_for_colours_changes_no_pixel_of_a_reduced_jpeg(subsampling: str, colour: bool) -> None:
    film = Image.fromarray(RED if colour else thrice(FILM)).resize((650, 500), Image.Resampling.BICUBIC)
    data = simplejpeg.encode_jpeg(np.asarray(film), 85, "RGB", subsampling)
    pixels, coloured = seen(data, size=48)
    assert (pixels == read_image(data, size=48)).all() and coloured is colour


def sixteen_bit_png(rgb: NDArray[np.uint16]) -> bytes:
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in rgb)
    return a_png(rows, S, S, depth=16, colour=2)


@pytest.mark.parametrize("make", [sixteen_bit_png, tiff])
def test_of_16_bits_per_colour_the_upper_8_are_read(make: Callable[[NDArray[np.uint16]], bytes]) -> None:
    """As Pillow does; the gray path divides by 65535 and rounds, which is at most one shade away."""
    pixels = read_image(make(thrice(DEEP)), size=S)
    assert (pixels == DEEP >> 8).all()
    gray = read_image(encode(DEEP, "PNG"), size=S)
    assert (gray == np.rint(DEEP / 257)).all()
    assert np.abs(pixels.astype(int) - gray).max() == 1


COLOURED: dict[str, bytes] = {
    "PNG": encode(RED, "PNG"),
    "palette PNG": a_palette(
        np.stack([np.arange(256), np.arange(256) // 2, np.arange(256)], 1).astype(np.uint8), "PNG"
    ),
    "GIF": a_palette(
        np.stack([np.arange(256), np.arange(256) // 2, np.arange(256)], 1).astype(np.uint8), "GIF"
    ),
    "TIFF": tiff(RED),
    "JPEG 4:4:4": encode(RED, "JPEG", subsampling=0),
    "JPEG 4:2:0": encode(RED, "JPEG", subsampling=2),
}


@pytest.mark.parametrize("name", COLOURED)
def test_a_picture_in_colour_is_seen_and_its_gray_is_as_ever(name: str) -> None:
    pixels, coloured = seen(COLOURED[name])
    assert coloured
    assert (pixels == read_image(COLOURED[name], size=S)).all()


def test_nobody_sees_colours_who_does_not_look() -> None:
    data = COLOURED["PNG"]
    assert not decode_copies(data, read_header(data), sizes=(S,))[1]


def test_one_coloured_pixel_is_colour_and_a_difference_of_two_is_not() -> None:
    for difference, expected in ((2, False), (3, True)):
        rgb = thrice(np.minimum(FILM, 250))
        rgb[5, 7, 2] += difference
        assert seen(encode(rgb, "PNG"))[1] is expected


def test_colour_that_is_transparent_is_none() -> None:
    clear = np.dstack([thrice(FILM), np.full_like(FILM, 255)])
    clear[:3] = [250, 0, 0, 0]
    assert not seen(encode(clear, "PNG"))[1]


def test_a_damaged_jpeg_has_the_same_fault_whether_colours_are_looked_for() -> None:
    for cut in (100, 700, 1500):
        data = COLOURED["JPEG 4:2:0"][:-cut] + b"\xff\xd9"
        with pytest.raises(Unreadable, match=r".+") as plain:
            read_image(data, size=S)
        with pytest.raises(Unreadable, match=r".+") as looked:
            seen(data)
        assert (plain.value.kind, str(plain.value)) == (looked.value.kind, str(looked.value))


def test_prepare_names_the_pictures_that_it_turned_gray(tmp_path: Path) -> None:
    project = a_project(tmp_path, ["a.png", "b.png", "c.jpg"])
    (tmp_path / "images/b.png").write_bytes(COLOURED["PNG"])
    (tmp_path / "images/c.jpg").write_bytes(COLOURED["JPEG 4:2:0"])
    for workers in (0, 2):
        (note,) = run(project, workers=workers)
        assert note == "2 images in colour or tinted, turned gray: b.png, c.jpg."


def test_check_counts_the_pictures_that_score_would_turn_gray(project: Project, tmp_path: Path) -> None:
    for name, data in (
        ("a.png", LOSSLESS["PNG"]),
        ("b.png", COLOURED["PNG"]),
        ("c.jpg", COLOURED["JPEG 4:4:4"]),
    ):
        (tmp_path / name).write_bytes(data)
    for workers in (0, 2):
        found = look(tmp_path, workers=workers)
        assert found.as_json()["turned_gray"] == 2
        assert list(found.notes) == ["2 images in colour or tinted, turned gray"]
