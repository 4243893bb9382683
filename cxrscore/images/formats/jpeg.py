"""The structure of a JPEG, whether all of its scans are there, and what libjpeg-turbo's complaint about the
rest means.

In    the bytes of one file; the sentence of a failed decode.
Out   Header; Unreadable. No end marker is TRUNCATED; what follows the end marker is let be.

A picture in several scans may end after any of them without a word from the decoder: it has to hold every
component and, where it is progressive, every bit of their 64 coefficients.
Samplings that TurboJPEG does not read are refused, though Pillow reads most: it is silent about coded data
that end early, and no header tells (of a 1 x 3 file cut in half and closed it paints 53 % of the rows).
Source: ITU-T T.81, annexes B and G; EXIF and XMP in APP1; CIPA DC-007 (several images in one file) in APP2.
"""

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from cxrscore.core.errors import Unreadable
from cxrscore.images.formats.header import Header
from cxrscore.images.formats.orientation import EXIF_MARK, orientation
from cxrscore.images.formats.tiff_directory import read_directory

END = b"\xff\xd9"
GAIN_MAP = b"hdrgm:"  # the second picture of such a file brightens the first and is not an image
XMP_MARK = b"http://ns.adobe.com/xap/1.0/\0"
FRAMES = (*range(0xC0, 0xC4), *range(0xC5, 0xC8), *range(0xC9, 0xCC), *range(0xCD, 0xD0), 0xF7)
PROGRESSIVE, SCAN, APP1, APP2 = 0xC2, 0xDA, 0xE1, 0xE2
MARKER = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")  # in coded data: neither a stuffed byte nor a restart
COEFFICIENTS = 64


@dataclass(frozen=True)
class _Frame:
    width: int
    height: int
    components: bytes  # their identifiers
    progressive: bool
    coefficients: int  # of all components


def read_jpeg_header(data: bytes) -> Header:
    """Raises Unreadable; IndexError or struct.error where the file ends."""
    frame, exif, xmp, pictures, at = None, b"", b"", 1, 2
    for marker, start, end in _segments(data):
        segment, at = data[start:end], end
        if marker in FRAMES:
            frame = _frame(marker, segment)
        elif marker == APP1 and segment.startswith(EXIF_MARK):
            exif += segment[len(EXIF_MARK) :]  # a long one comes in several
        elif marker == APP1 and segment.startswith(XMP_MARK):
            xmp = segment
        elif marker == APP2 and segment.startswith(b"MPF\0") and GAIN_MAP not in data[:65536]:
            pictures = _pictures(segment[4:])
    if frame is None or not frame.width or not frame.height:
        raise Unreadable("CORRUPT_DATA", "the JPEG does not state its size")
    scans = _scans(data, at, segment)
    in_one_scan = not frame.progressive and set(frame.components) <= set(segment[1 : 1 + 2 * segment[0] : 2])
    if not in_one_scan:
        _refuse_missing(frame, scans, closed=END in data)
    samples = frame.width * frame.height
    return Header(
        format="JPEG",
        width=frame.width,
        height=frame.height,
        decoded_bytes=samples if in_one_scan else 2 * frame.coefficients,  # all of them at once
        orientation=orientation(exif, xmp),
        frames=pictures,
        components=len(frame.components),
    )


def jpeg_fault(sentence: str, data: bytes) -> Unreadable:
    """The fault that a sentence of libjpeg-turbo about these bytes names."""
    if "subsampling" in sentence:
        found = f"its components are sampled {_sampling(data)}, a combination that is not read"
        return Unreadable("UNSUPPORTED_FORMAT", f"{found}; save it as PNG, or as JPEG sampled 4:4:4 or 4:2:0")
    truncated = sentence.startswith("Premature end") or END not in data
    found = sentence.rpartition("(): ")[2]  # without the name of a function of TurboJPEG
    return Unreadable("TRUNCATED" if truncated else "CORRUPT_DATA", found)


def _sampling(data: bytes) -> str:
    """Across x down of each component, of a JPEG whose header was read."""
    frame = next(data[start:end] for marker, start, end in _segments(data) if marker in FRAMES)
    return ", ".join(f"{byte >> 4} x {byte & 15}" for byte in frame[7::3])


def _segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """(marker, start and end of its content) up to the first scan. Raises IndexError or struct.error where
    the file ends.
    """
    at, marker = 2, 0
    while marker != SCAN:
        if data[at] != 0xFF:
            raise Unreadable("CORRUPT_DATA", f"byte {at}: a JPEG marker was expected")
        marker = data[at + 1]
        if marker == 0xFF:  # fill byte
            at += 1
            continue
        (length,) = struct.unpack_from(">H", data, at + 2)
        if at + 2 + length > len(data):
            raise IndexError
        yield marker, at + 4, at + 2 + length
        at += 2 + length


def _frame(marker: int, segment: bytes) -> _Frame:
    depth, height, width, components = struct.unpack_from(">BHHB", segment)
    if marker not in (0xC0, 0xC1, PROGRESSIVE) or depth != 8:
        process = "JPEG-LS" if marker == 0xF7 else "lossless JPEG" if marker == 0xC3 else "this JPEG process"
        raise Unreadable(
            "UNSUPPORTED_FORMAT", f"{process} with {depth} bits is not supported; convert to PNG"
        )
    if components not in (1, 3):
        raise Unreadable("UNSUPPORTED_COLORSPACE", f"{components} colour components (CMYK?); convert to gray")
    sampling = [divmod(byte, 16) for byte in segment[7 : 7 + 3 * components : 3]]
    widest, tallest = (max((one[i] for one in sampling), default=1) or 1 for i in (0, 1))
    shares = sum(across * down for across, down in sampling) / (widest * tallest)
    identifiers = segment[6 : 6 + 3 * components : 3]
    return _Frame(width, height, identifiers, marker == PROGRESSIVE, int(width * height * shares))


def _pictures(index: bytes) -> int:
    """How many images the file says it holds; if that is damaged, the pixels need not be."""
    try:
        return read_directory(index, cut=True).number(0xB001, 1)
    except struct.error:
        return 1


def _scans(data: bytes, at: int, first: bytes) -> Iterator[bytes]:
    """The headers of all scans, of which `first` ends at `at`, up to the end marker or the end of data."""
    yield first
    while (found := MARKER.search(data, at)) and found[0] != END:
        (length,) = struct.unpack_from(">H", data, found.end())
        at = found.end() + length
        if found[0][1] == SCAN:
            yield data[found.end() + 2 : at]


def _refuse_missing(frame: _Frame, scans: Iterator[bytes], *, closed: bool) -> None:
    """Raises Unreadable where a component, or a bit of a coefficient, is in no scan."""
    low_bits = {component: [-1] * COEFFICIENTS for component in frame.components}  # still to come; -1: all
    for scan in scans:
        count = scan[0]
        first, last, bits = struct.unpack_from("BBB", scan, 1 + 2 * count)
        if not frame.progressive:
            first, last, bits = 0, COEFFICIENTS - 1, 0
        for component in scan[1 : 1 + 2 * count : 2]:
            if component in low_bits and first <= last < COEFFICIENTS:
                low_bits[component][first : last + 1] = [bits & 15] * (last + 1 - first)
    if any(any(left) for left in low_bits.values()):
        found = "a JPEG that was cut and closed" if closed else "it has no end mark"
        raise Unreadable("INCOMPLETE" if closed else "TRUNCATED", f"not all of its scans are there: {found}")
