"""Every fault of a file says what was found and, behind a semicolon, what would be right."""

import re
import struct

import numpy as np
import pytest
from image_damage import BYTES
from test_reading import FILM, GOOD, S, a_film, a_multi_picture_jpeg, a_png, a_tiff, encode, sixteen, without

from cxrscore.core.errors import QUARANTINE_KINDS, Unreadable
from cxrscore.images.reading import read_image

WAYS_ON = (
    "fetch",
    "export",
    "put",
    "leave",
    "convert",
    "save",
    "declare",
    "rescale",
    "check",
    "open",
    "score",
)
REMEDY = re.compile(rf"[^;]+; ({'|'.join(WAYS_ON)}) [^;]*\w[^;]*")


def message_of(data: bytes, **how: int) -> str:
    """Empty where the file is read."""
    try:
        read_image(data, size=S, **how)
    except Unreadable as error:
        return str(error)
    return ""


@pytest.mark.parametrize("kind", QUARANTINE_KINDS)
def test_a_fault_of_every_kind_ends_with_what_would_be_right(kind: str) -> None:
    assert REMEDY.fullmatch(str(Unreadable(kind, "what was found")))


def test_a_remedy_of_its_own_is_kept_and_none_is_said_twice() -> None:
    assert str(Unreadable("UNSUPPORTED_FORMAT", "DICOM; export as PNG")) == "DICOM; export as PNG"
    for kind in QUARANTINE_KINDS:
        fault = Unreadable(kind, "what was found")
        assert str(Unreadable(kind, str(fault))) == str(fault)  # as another process reports it


def refused() -> dict[str, bytes]:
    """A file for each way to be refused."""
    jpeg, png, tiff, gif = (GOOD[name] for name in ("baseline JPEG", "PNG", "raw TIFF", "GIF"))
    twelve = np.asarray(FILM).astype(np.uint16) * 16
    rows = b"".join(b"\0" + row.tobytes() for row in np.asarray(FILM))
    frame = jpeg.index(b"\xff\xc0") + 5
    plain = a_tiff(np.asarray(FILM))
    return {
        "nothing": b"",
        "three bytes": png[:3],
        "zeros": bytes(999),
        "HTML": b"<html>404",
        "text": b"Image_name,Edema\n",
        "DICOM": bytes(128) + b"DICM" + bytes(99),
        "JPEG 2000": b"\xff\x4f\xff\x51" + bytes(50),
        "cut JPEG": jpeg[:-300],
        "open JPEG": jpeg[:-2],
        "hole in a JPEG": jpeg[:-400] + bytes(300) + jpeg[-100:],
        "CMYK JPEG": encode(FILM.convert("CMYK"), "JPEG"),
        "huge JPEG": jpeg[:frame] + struct.pack(">HH", 20_000, 20_000) + jpeg[frame + 4 :],
        "two pictures": a_multi_picture_jpeg(2),
        "cut PNG": png[:-100],
        "PNG with a wrong checksum": png[:-20] + bytes([png[-20] ^ 1]) + png[-19:],
        "PNG without its rows": a_png(rows[:-999], 160, 120),
        "PNG with other bytes": a_png(rows + b"\0", 160, 120),
        "wide PNG": a_png(rows, 8000, 7000, colour=6),
        "small PNG": encode(a_film(9, 9), "PNG"),
        "blank PNG": encode(FILM.point(lambda _: 77), "PNG"),
        "12 bits": sixteen(twelve),
        "12 bits, shifted": sixteen(twelve + 40_000),
        "cut TIFF": tiff[:-100],
        "CMYK TIFF": encode(FILM.convert("CMYK"), "TIFF"),
        "float TIFF": encode(FILM.convert("F"), "TIFF"),
        "TIFF without offsets": without(plain, 273),
        "TIFF without depth": without(plain, 258),
        "TIFF with a strip too short": plain.replace(
            struct.pack("<HHII", 257, 4, 1, 120), struct.pack("<HHII", 257, 4, 1, 121)
        ),
        "cut GIF": gif[:-9],
        "GIF with another frame": gif.replace(b",\0\0\0\0\xa0\0", b",\1\0\0\0\xa0\0"),
        "animation": encode(FILM, "GIF", save_all=True, append_images=[a_film(seed=9)]),
    }


REFUSED = refused()


@pytest.mark.parametrize("name", REFUSED)
def test_the_message_of_a_file_that_cannot_be_read_ends_with_what_would_be_right(name: str) -> None:
    assert REMEDY.fullmatch(message_of(REFUSED[name])), message_of(REFUSED[name])


def test_a_declared_depth_that_is_wrong_is_to_be_declared_right() -> None:
    message = message_of(sixteen(np.asarray(FILM).astype(np.uint16) * 257), bit_depth=12)
    assert REMEDY.fullmatch(message) and "declare" in message


@pytest.mark.parametrize("name", GOOD)
def test_however_a_file_is_damaged_its_message_names_no_function_and_says_what_would_be_right(
    name: str,
) -> None:
    rng = np.random.default_rng(3)
    for damage in BYTES:
        for _ in range(12):
            message = message_of(damage(GOOD[name], rng))
            assert not message or REMEDY.fullmatch(message), message
            assert "():" not in message
