"""The structure of a TIFF, and a new TIFF for a decoder, once all of its pixels are there (tiff_strips).

In    the bytes of one file; its Header.
Out   Header, or Unreadable; a TIFF whose directory holds what its pixels need and nothing else.

Compressions that lose nothing are read, no other. Without the tag PhotometricInterpretation 0 is black, as in
libtiff (TIFFRGBAImageBegin). How a picture is turned or inverted is not left to the decoder.
Source: TIFF 6.0, Adobe 1992; TIFF Technical Note 1, Adobe 1995 (SubIFDs).
"""

import re

from cxrscore.core.errors import Unreadable
from cxrscore.images.formats.header import Header
from cxrscore.images.formats.orientation import orientation
from cxrscore.images.formats.tiff_directory import LONG, SHORT, Directory, read_directory
from cxrscore.images.formats.tiff_strips import (
    BITS,
    COMPRESSION,
    DEFLATE,
    HEIGHT,
    LENGTHS,
    LZW,
    NONE,
    PACKBITS,
    PLANES,
    SAMPLES,
    SEPARATE,
    STARTS,
    STRIP_ROWS,
    TILE_HEIGHT,
    TILE_WIDTH,
    WIDTH,
    declared_parts,
    whole_parts,
)

LOSSLESS = (NONE, LZW, *DEFLATE, PACKBITS)  # of COMPRESSION
REDUCED, MASK = 1, 4  # bits of KIND
WHITE_IS_ZERO, BLACK_IS_ZERO, RGB, PALETTE = range(4)  # of PHOTOMETRIC
TOGETHER = 1  # of PLANES
UNSIGNED = 1  # of SAMPLE_FORMAT
KIND, PHOTOMETRIC, FILL_ORDER, PREDICTOR, COLOUR_MAP, SUB_DIRECTORIES = 254, 262, 266, 317, 320, 330
EXTRA_SAMPLES, SAMPLE_FORMAT, XMP, DESCRIPTION = 338, 339, 700, 270
IMAGEJ_STACK = re.compile(rb"ImageJ=.*\bimages=([0-9]{1,9})\b", re.DOTALL)  # in one directory
ONE_NUMBER = (
    *(WIDTH, HEIGHT, COMPRESSION, PHOTOMETRIC, FILL_ORDER, SAMPLES, STRIP_ROWS),
    *(PLANES, PREDICTOR, TILE_WIDTH, TILE_HEIGHT),
)
DECODED = (*ONE_NUMBER, BITS, COLOUR_MAP, *STARTS, EXTRA_SAMPLES, SAMPLE_FORMAT)


def read_tiff_header(data: bytes) -> Header:
    """Raises Unreadable; IndexError or struct.error where the file ends."""
    directory = read_directory(data)
    directory.refuse_cut()
    _refuse_other_pictures(directory)
    _refuse_unread_samples(directory)
    parts = declared_parts(directory)
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
    for tag in {KIND, *DECODED, *LENGTHS} & directory.entries.keys():
        entry = directory.entries[tag]
        single = tag in (KIND, *ONE_NUMBER)
        if entry.kind not in (SHORT, LONG) or not entry.count or (single and entry.count > 1):
            raise Unreadable(
                "CORRUPT_DATA", f"tag {tag} is of type {entry.kind} and has {entry.count} values"
            )
    compression = directory.number(COMPRESSION, NONE)
    if compression not in LOSSLESS:
        raise Unreadable(
            "UNSUPPORTED_FORMAT", f"TIFF compression {compression} is not supported; convert to PNG"
        )
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
        raise Unreadable("CORRUPT_DATA", "the TIFF does not state how many bits a sample has; save it as PNG")
    bits, samples = directory.numbers(BITS, (1,)), directory.number(SAMPLES, 1)
    if len(set(bits)) > 1 or len(bits) not in (1, samples) or not 0 < bits[0] <= 64:
        found = f"{samples} samples of {bits} bits in a pixel"
        raise Unreadable("UNSUPPORTED_FORMAT", f"{found}; convert to gray")
    if samples != (3 if photometric == RGB else 1) + len(directory.numbers(EXTRA_SAMPLES)):
        raise Unreadable("UNSUPPORTED_FORMAT", f"{samples} samples, not all of them named; convert to gray")


def _photometric(directory: Directory) -> int:
    """As libtiff fills it in where it is missing, of gray alone."""
    if PHOTOMETRIC not in directory and directory.number(SAMPLES, 1) > 1:
        raise Unreadable("UNSUPPORTED_FORMAT", "the TIFF does not state what its samples are; convert to PNG")
    return directory.number(PHOTOMETRIC, BLACK_IS_ZERO)


def _refuse_unread_planes(directory: Directory, samples: int, bits: int) -> None:
    planes = directory.number(PLANES, TOGETHER)
    if planes not in (TOGETHER, SEPARATE):
        raise Unreadable("CORRUPT_DATA", f"planar configuration {planes} does not exist")
    misread = samples == 2 or (bits == 16 and directory.number(COMPRESSION, NONE) == NONE)  # by Pillow
    if planes == SEPARATE and misread:
        raise Unreadable("UNSUPPORTED_FORMAT", "planes of this kind are not supported; save as PNG")


def rewrite_tiff(data: bytes, header: Header) -> bytes:
    """A new TIFF, of pixels that are all there, neither to be turned nor, where gray, to be inverted.
    Raises Unreadable.
    """
    directory = read_directory(data)
    tag, lengths = whole_parts(directory)
    inverted = header.white_is_zero and directory.number(SAMPLES, 1) == 1
    photometric = BLACK_IS_ZERO if inverted else _photometric(directory)
    return directory.rewritten(DECODED, {PHOTOMETRIC: (photometric,), tag: lengths})
