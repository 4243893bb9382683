"""The one form of what any image file says of itself: a format's reader -> Header -> bounds and pixels."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Header:
    """What a file says about itself, read before anything is allocated. `decoded_bytes`: what its pixels take
    once they are decompressed, colours as four bytes each; `components` are a JPEG's; `chunks` are a PNG's,
    checked.
    """

    format: str
    width: int
    height: int
    decoded_bytes: int
    depth: int = 8
    full_scale: int | None = None  # the largest value its samples can have, where 16 bits are not all used
    white_is_zero: bool = False
    orientation: int = 1
    frames: int = 1
    colours: int | None = None  # of a palette: no pixel may ask for another
    components: int = 1  # of a JPEG: 3 where it is coded as colours
    chunks: dict[bytes, bytes] = field(default_factory=dict, repr=False)
