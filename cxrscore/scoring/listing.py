"""A folder -> the files to decode, in one order on every machine.

In    a folder, searched to its bottom.
Out   relative paths sorted by their bytes; what was skipped, counted by reason; what could not be looked at.

Every regular file is listed, and the decoder tells what it is. Left out are hidden and system files, partial
downloads, and files with the suffix of a table or a text whose magic number does not say image.
Links: to files within the folder they count as files; to folders within it they are skipped, as the files are
listed where they lie; out of the folder they are followed only with `follow_symlinks`, each folder once.
"""

import os
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from cxrscore.errors import UserError
from cxrscore.images import HEAD_BYTES, sniff

OUTSIDE = "links out of the folder"
LISTED = "links to folders that are listed"
CLUTTER = frozenset({"thumbs.db", "desktop.ini", "@eadir", "__macosx"})
PARTIAL = (".tmp", ".part", ".partial", ".crdownload", ".download")
FOREIGN = (".csv", ".tsv", ".json", ".jsonl", ".txt", ".md", ".dvc", ".yaml", ".yml", ".html", ".htm", ".xml")


@dataclass(frozen=True)
class Listing:
    """`paths` are relative to `root`, with `/`; `skipped`: reason -> count; `faults`: path, kind, message."""

    root: Path
    paths: list[str]
    skipped: dict[str, int]
    faults: list[tuple[str, str, str]]


@dataclass
class _Search:
    """One search under way: what is still to enter, and what was found."""

    root: Path
    excluded: frozenset[tuple[int, int]]
    follow_symlinks: bool
    folders: list[str] = field(default_factory=lambda: [""])  # relative, "" is the root
    entered: set[tuple[int, int]] = field(default_factory=set)  # a loop of links ends here
    paths: list[str] = field(default_factory=list)
    skipped: Counter[str] = field(default_factory=Counter)
    faults: list[tuple[str, str, str]] = field(default_factory=list)


def list_images(folder: Path, *, exclude: Iterable[Path] = (), follow_symlinks: bool = False) -> Listing:
    """Raises UserError where there is nothing to score: no folder, or none of its files may be an image."""
    if not folder.exists():
        raise UserError(f"{folder}: no such folder; name the one that holds the images.")
    if not folder.is_dir():
        raise UserError(f"{folder}: a file; name the folder that holds the images.")
    excluded = frozenset(_identity(path) for path in exclude if path.exists())
    search = _Search(folder, excluded, follow_symlinks)
    while search.folders:
        _enter(search, search.folders.pop())
    if not search.paths and not search.faults:
        raise UserError(f"{folder}: no images here{_seen(search.skipped)}; name the folder that holds them.")
    return Listing(
        root=folder,
        paths=sorted(search.paths, key=os.fsencode),
        skipped=dict(sorted(search.skipped.items())),
        faults=sorted(search.faults, key=lambda fault: os.fsencode(fault[0])),
    )


def _seen(skipped: Counter[str]) -> str:
    if not skipped:
        return ", it is empty"
    counts = ", ".join(f"{count} {reason}" for reason, count in sorted(skipped.items()))
    return f" but {counts}" + (" (--follow-symlinks follows them)" if OUTSIDE in skipped else "")


def _identity(path: Path) -> tuple[int, int]:
    about = path.stat()
    return about.st_dev, about.st_ino


def _enter(search: _Search, relative: str) -> None:
    folder = search.root / relative
    try:
        identity = _identity(folder)
        if identity in search.entered:
            search.skipped[LISTED] += 1
            return
        search.entered.add(identity)
        entries = list(os.scandir(folder))
    except OSError as error:
        search.faults.append((relative or ".", "IO_ERROR", f"the folder cannot be read: {error.strerror}"))
        return
    for entry in entries:
        _look(search, entry, f"{relative}/{entry.name}" if relative else entry.name)


def _look(search: _Search, entry: os.DirEntry[str], relative: str) -> None:
    """One entry of a folder becomes a path, a folder to enter, a count or a fault."""
    try:
        reason = _by_name(entry.name) or _by_place(search, entry)
        is_folder = not reason and entry.is_dir()
        reason = reason or ("" if is_folder else _by_content(entry))
    except FileNotFoundError:
        search.faults.append((relative, "VANISHED", "a link to nothing, or gone since the folder was read"))
        return
    except OSError as error:
        search.faults.append((relative, "IO_ERROR", f"the file cannot be looked at: {error.strerror}"))
        return
    if reason:
        search.skipped[reason] += 1
    elif is_folder:
        search.folders.append(relative)
    else:
        search.paths.append(relative)


def _by_name(name: str) -> str:
    return "hidden or system files" if name.startswith(".") or name.lower() in CLUTTER else ""


def _by_place(search: _Search, entry: os.DirEntry[str]) -> str:
    """Raises OSError for a link to nothing or to itself."""
    if (
        any(entry.inode() == inode for _, inode in search.excluded)
        and _identity(Path(entry)) in search.excluded
    ):
        return "outputs of this run"
    if not entry.is_symlink():
        return ""
    entry.stat()
    if Path(os.path.realpath(entry)).is_relative_to(os.path.realpath(search.root)):
        return LISTED if entry.is_dir() else ""
    return "" if search.follow_symlinks else OUTSIDE


def _by_content(entry: os.DirEntry[str]) -> str:
    if not entry.is_file():
        return "neither files nor folders"
    if entry.name.lower().endswith(PARTIAL):
        return "partial downloads"
    if not entry.name.lower().endswith(FOREIGN):
        return ""
    with Path(entry).open("rb") as file:
        return "" if sniff(file.read(HEAD_BYTES)) else "tables and texts"
