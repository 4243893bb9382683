"""The structure of a GIF, block by block: its size and how many frames it has.

In    the bytes of one file.
Out   Header. The size is that of the screen: a frame may outgrow it, which the decoder finds.
Source: GIF89a, CompuServe 1990.
"""

import struct

from cxrscore.errors import Unreadable
from cxrscore.formats.header import Header


def read_gif_header(data: bytes) -> Header:
    """Raises Unreadable; IndexError or struct.error where the file ends."""
    width, height, flags = struct.unpack_from("<HHB", data, 6)
    at, frames = 13 + _colour_bytes(flags), 0
    while data[at] != 0x3B:
        if data[at] not in (0x21, 0x2C):
            raise Unreadable("CORRUPT_DATA", f"byte {at}: a GIF block was expected")
        is_frame = data[at] == 0x2C
        frames += is_frame
        at += 11 + _colour_bytes(data[at + 9]) if is_frame else 2
        while data[at]:
            at += 1 + data[at]
        at += 1
    return Header("GIF", width, height, frames=frames)


def _colour_bytes(flags: int) -> int:
    return 3 * 2 ** ((flags & 7) + 1) if flags & 0x80 else 0
