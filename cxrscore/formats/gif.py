"""The structure of a GIF, block by block: its size, how many frames it has, whether its frame is whole.

In    the bytes of one file.
Out   Header; Unreadable where the one frame is not the screen: decoders paint the rest of it black.
Source: GIF89a, CompuServe 1990.
"""

import struct

from cxrscore.errors import Unreadable
from cxrscore.formats.header import Header


def read_gif_header(data: bytes) -> Header:
    """Raises Unreadable; IndexError or struct.error where the file ends."""
    width, height, flags = struct.unpack_from("<HHB", data, 6)
    at, frames, colours = 13 + _colour_bytes(flags), [], _colour_bytes(flags) // 3
    while data[at] != 0x3B:
        if data[at] not in (0x21, 0x2C):
            raise Unreadable("CORRUPT_DATA", f"byte {at}: a GIF block was expected")
        is_frame = data[at] == 0x2C
        if is_frame:
            frames.append(struct.unpack_from("<4H", data, at + 1))
            colours = _colour_bytes(data[at + 9]) // 3 or colours
        at += 11 + _colour_bytes(data[at + 9]) if is_frame else 2
        while data[at]:
            at += 1 + data[at]
        at += 1
    if not frames:
        raise Unreadable("CORRUPT_DATA", "a GIF without a frame")
    x, y, *size = frames[0]
    if len(frames) == 1 and (x, y, *size) != (0, 0, width, height):
        found = f"a frame of {size[0]} x {size[1]} pixels at {x}, {y} on a screen of {width} x {height}"
        raise Unreadable("INCOMPLETE", found)
    return Header("GIF", width, height, decoded_bytes=4 * width * height, frames=len(frames), colours=colours)


def _colour_bytes(flags: int) -> int:
    return 3 * 2 ** ((flags & 7) + 1) if flags & 0x80 else 0
