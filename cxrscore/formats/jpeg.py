"""The structure of a JPEG up to its first scan, and what libjpeg-turbo's complaint about the rest means.

In    the bytes of one file; the sentence of a failed decode.
Out   Header; Unreadable. No end marker is TRUNCATED; what follows the end marker is let be.
Source: ITU-T T.81, annex B; EXIF in APP1; CIPA DC-007 (several images in one file) in APP2.
"""

import struct
from collections.abc import Iterator
from dataclasses import replace

from cxrscore.errors import Unreadable
from cxrscore.formats.header import Header
from cxrscore.formats.tiff import first_number, orientation_in

END = b"\xff\xd9"
GAIN_MAP = b"hdrgm:"  # the second picture of such a file brightens the first and is no image
FRAMES = (*range(0xC0, 0xC4), *range(0xC5, 0xC8), *range(0xC9, 0xCC), *range(0xCD, 0xD0), 0xF7)


def read_jpeg_header(data: bytes) -> Header:
    """Raises Unreadable; IndexError or struct.error where the file ends."""
    header = Header("JPEG", 0, 0)  # no size yet
    for marker, segment in _segments(data):
        if marker in FRAMES:
            header = _with_frame(header, marker, segment)
        elif marker == 0xE1 and segment.startswith(b"Exif\0\0") and header.orientation == 1:
            header = replace(header, orientation=orientation_in(segment[6:]))
        elif marker == 0xE2 and segment.startswith(b"MPF\0") and GAIN_MAP not in data[:65536]:
            header = replace(header, frames=first_number(segment[4:], 0xB001, default=1))
    if not header.width or not header.height:
        raise Unreadable("CORRUPT_DATA", "a JPEG that does not say its size")
    return header


def jpeg_fault(sentence: str, data: bytes) -> Unreadable:
    """The fault that a sentence of libjpeg-turbo about these bytes names."""
    if sentence.startswith("Premature end") or END not in data:
        return Unreadable("TRUNCATED", sentence)
    return Unreadable("UNSUPPORTED_FORMAT" if "subsampling" in sentence else "CORRUPT_DATA", sentence)


def _segments(data: bytes) -> Iterator[tuple[int, bytes]]:
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


def _with_frame(header: Header, marker: int, segment: bytes) -> Header:
    depth, height, width, components = struct.unpack_from(">BHHB", segment)
    if marker not in (0xC0, 0xC1, 0xC2) or depth != 8:
        process = "JPEG-LS" if marker == 0xF7 else "lossless JPEG" if marker == 0xC3 else "this JPEG process"
        raise Unreadable("UNSUPPORTED_FORMAT", f"{process} with {depth} bits is not read; convert to PNG")
    if components not in (1, 3):
        raise Unreadable("UNSUPPORTED_COLORSPACE", f"{components} colour components (CMYK?); convert to gray")
    return replace(header, width=width, height=height)
