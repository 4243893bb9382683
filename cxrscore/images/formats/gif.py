"""The structure of a GIF, block by block: its size, how many frames it has, whether its frame is whole.

In    the bytes of one file.
Out   Header; Unreadable where the one frame is not the screen: decoders paint the rest of it black.
The end mark may be missing or stand behind zeros (image-gif 138): the frame is whole where its blocks are
closed, and Pillow refuses codes that end before its last pixel. Only an animation needs the mark, as further
frames may be missing with it.
Source: GIF89a, CompuServe 1990.
"""

import re
import struct

from cxrscore.core.errors import Unreadable
from cxrscore.images.formats.header import Header

EXTENSION, FRAME = 0x21, 0x2C
END = re.compile(rb"\0*;")
CONTROL, APPLICATION = 0xF9, 0xFF  # labels of extensions
LOOPS = (b"NETSCAPE2.0", b"ANIMEXTS1.0")


def read_gif_header(data: bytes) -> Header:
    """Raises Unreadable; IndexError or struct.error where the file ends."""
    width, height, flags = struct.unpack_from("<HHB", data, 6)
    at, colours = 13 + _colour_bytes(flags), _colour_bytes(flags) // 3
    frames: list[tuple[int, ...]] = []
    animated = False
    while not END.match(data, at) and not (at == len(data) and frames and not animated):
        if data[at] not in (EXTENSION, FRAME):
            raise Unreadable("CORRUPT_DATA", f"byte {at}: a GIF block was expected")
        is_frame = data[at] == FRAME
        animated |= not is_frame and _is_of_animation(data, at)
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


def _is_of_animation(data: bytes, at: int) -> bool:
    """Whether the extension at this byte repeats frames, or says how long to show one."""
    loops = data[at + 1] == APPLICATION and data[at + 3 : at + 14] in LOOPS
    return loops or (data[at + 1] == CONTROL and data[at + 4 : at + 6] != b"\0\0")


def _colour_bytes(flags: int) -> int:
    return 3 * 2 ** ((flags & 7) + 1) if flags & 0x80 else 0
