"""What an image file says of itself, before anything is allocated. One file and one line here adds a format.

In    the bytes of one file of the format.
Out   Header; Unreadable where the structure is damaged, IndexError or struct.error where the bytes end in it.
"""

from collections.abc import Callable

from cxrscore.images.formats.gif import read_gif_header
from cxrscore.images.formats.header import Header
from cxrscore.images.formats.jpeg import read_jpeg_header
from cxrscore.images.formats.png import read_png_header
from cxrscore.images.formats.tiff import read_tiff_header

READERS: dict[str, Callable[[bytes], Header]] = {
    "JPEG": read_jpeg_header,
    "PNG": read_png_header,
    "TIFF": read_tiff_header,
    "GIF": read_gif_header,
}
