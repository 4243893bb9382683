"""Glob patterns, matched name by name on the way down, so that no folder is entered in vain.

In    a pattern's segments, positions in it, the next name of a path.
Out   the positions behind that name: none, and nothing below can match; the last, and the path matches.

`*`, `?` and `[...]` stay within a name, `**` means any number of folders; case counts on every system.
"""

from fnmatch import fnmatchcase
from pathlib import Path

ANY_DEPTH = "**"
Positions = frozenset[int]


def is_pattern(text: str) -> bool:
    return any(mark in text for mark in "*?[")


def split_pattern(pattern: str) -> tuple[Path, tuple[str, ...]]:
    """The longest folder without a wildcard, and the segments below: `a/b*/c.png` -> `a`, (`b*`, `c.png`)."""
    parts = Path(pattern).parts
    first = next(i for i, part in enumerate(parts) if is_pattern(part))
    return Path(*parts[:first]), parts[first:]


def start(segments: tuple[str, ...]) -> Positions:
    return _reached(segments, {0})


def match(segments: tuple[str, ...], positions: Positions, name: str) -> Positions:
    """`len(segments)` is among them where the pattern may end with `name`, others where it may continue."""
    behind = set()
    for at in positions - {len(segments)}:
        if segments[at] == ANY_DEPTH:
            behind.add(at)
        elif fnmatchcase(name, segments[at]):
            behind.add(at + 1)
    return _reached(segments, behind)


def _reached(segments: tuple[str, ...], positions: set[int]) -> Positions:
    """With the positions beyond each `**`, which may stand for no folder at all."""
    for at, segment in enumerate(segments):
        if at in positions and segment == ANY_DEPTH:
            positions.add(at + 1)
    return frozenset(positions)
