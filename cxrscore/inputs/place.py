"""Where the bytes of one image lie, and who knows it: what a listing and a decoding worker both speak of."""

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Place:
    """Where the bytes of one image lie: a file of its own, or a stretch of an archive read in place."""

    file: str  # path to open
    offset: int = 0
    stored: int = -1  # bytes to read there; -1: the whole file
    deflated: bool = False  # zlib raw deflate, as in a zip
    size: int = -1  # bytes once inflated, as the archive declares
    crc32: int | None = None


class Places(Protocol):
    """Anything that knows where a listed path lies: a folder, archives, both."""

    def place(self, path: str) -> Place: ...
