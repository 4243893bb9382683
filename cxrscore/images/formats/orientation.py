"""How a picture is to be turned, as its metadata say: one reader for all formats.

In    EXIF (a TIFF structure, perhaps after `Exif\\0\\0`) and XMP, wherever a format keeps them.
Out   1 to 8, the tag 0x0112 of Exif 2.32; 1, upright, where nothing is said or what is said is damaged: the
      pixels need not be.
EXIF comes before XMP, which is asked where EXIF has no such tag, as Pillow's exif_transpose does.
Source: Exif 2.32; XMP specification, part 2, tiff:Orientation; PIL.Image.Image.getexif.
"""

import re
import struct

from cxrscore.images.formats.tiff_directory import Directory, read_directory

TAG = 0x0112
EXIF_MARK = b"Exif\0\0"
XMP = re.compile(rb"tiff:Orientation(?:=[\"']|>)([0-9])")


def orientation(exif: bytes | Directory, xmp: bytes) -> int:
    """Of a file with these, empty where it has none."""
    value = _in_exif(exif)
    if value is None:
        found = XMP.search(xmp)
        value = int(found[1]) if found else 1
    return value if 1 <= value <= 8 else 1


def raw_profile(text: bytes) -> bytes:
    """The bytes that ImageMagick's text `Raw profile type ...` holds: name, length and hexadecimal digits, on
    lines of their own. Empty where it is damaged.
    """
    lines = text.split(b"\n", 3)
    digits = b"".join(lines[3].split()) if len(lines) == 4 else b""
    try:
        return bytes.fromhex(digits[: len(digits) // 2 * 2].decode("ascii"))
    except ValueError:
        return b""


def _in_exif(exif: bytes | Directory) -> int | None:
    try:
        directory = exif if isinstance(exif, Directory) else _directory(exif)
        return directory.number(TAG, 1) if directory and TAG in directory else None
    except struct.error:
        return None


def _directory(exif: bytes) -> Directory | None:
    while exif.startswith(EXIF_MARK):
        exif = exif[len(EXIF_MARK) :]
    return read_directory(exif, cut=True) if exif else None
