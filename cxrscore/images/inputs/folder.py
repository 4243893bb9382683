"""A folder or a glob pattern -> the files to decode, in one order on every machine.

In    a folder, searched to its bottom; or a pattern, relative to its longest folder without a wildcard.
Out   a Listing.

Every regular file is listed, and the decoder tells what it is. Left out are hidden and system files, partial
downloads, and files with the extension of a table or a text whose magic number does not say image.
Links: to files within the folder they count as files; to folders within it they are skipped, as the files are
listed where they lie; out of the folder they are followed only with `follow_symlinks`, each folder once.
A folder is searched as the pattern `**`; what a pattern does not match is not counted. A folder's every entry
is met once, so nothing is listed twice where case does not count either.
"""

import os
from array import array
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from cxrscore.core.errors import UserError, with_remedy
from cxrscore.images.inputs.byte_source import NUMBERS, Files, identity_of
from cxrscore.images.inputs.file_list import Fault, Listing, by_bytes, in_order
from cxrscore.images.inputs.glob_pattern import ANY_DEPTH, Positions, match, split_pattern, start
from cxrscore.images.inputs.skipped import (
    DOWNLOADS,
    HIDDEN,
    LISTED,
    OUTPUTS,
    OUTSIDE,
    SPECIAL,
    TEXTS,
    UNENTERED,
    is_hidden,
    is_partial,
    may_be_text,
    seen,
)
from cxrscore.images.reading import HEAD_BYTES, sniff

Inode = tuple[int, int]  # device, inode


@dataclass
class _Search:
    """One search under way: what is still to enter, and what was found."""

    root: Path
    segments: tuple[str, ...]  # of the pattern
    follow_symlinks: bool
    outputs: frozenset[Inode]  # those that are there
    output_names: dict[Inode, set[str]]  # folder -> names in it, there or not yet
    folders: list[tuple[str, Positions]]  # relative, "" is the root; positions reached in the pattern
    entered: set[Inode] = field(default_factory=set)  # a loop of links ends here
    paths: list[str] = field(default_factory=list)
    identities: "array[int]" = field(default_factory=partial(array, "q"))  # NUMBERS each
    skipped: Counter[str] = field(default_factory=Counter)
    file_faults: list[Fault] = field(default_factory=list)
    folder_faults: list[Fault] = field(default_factory=list)


def list_images(folder: Path, *, exclude: Iterable[Path] = (), follow_symlinks: bool = False) -> Listing:
    """Files and folders in `exclude`, there or not yet, are left out.

    Raises UserError where there is nothing to score: no folder, or none of its files may be an image.
    """
    if not folder.exists():
        raise UserError(f"{folder}: no such folder; name the one that holds the images.")
    if not folder.is_dir():
        raise UserError(f"{folder}: a file; name the folder that holds the images.")
    search = _search(folder, (ANY_DEPTH,), exclude, follow_symlinks=follow_symlinks)
    if not search.paths and not search.file_faults and not search.folder_faults:
        raise UserError(f"{folder}: no images here{seen(search.skipped)}; name the folder that holds them.")
    return _listing(str(folder), search)


def folds_case(folder: Path, paths: Sequence[str]) -> bool:
    """Whether the file system takes names that differ in case alone for one file, as macOS and Windows do."""
    other = next(((path, path.swapcase()) for path in paths if path.swapcase() != path), None)
    try:
        return other is not None and (folder / other[0]).samefile(folder / other[1])
    except OSError:
        return False


def list_glob(pattern: str, *, exclude: Iterable[Path] = (), follow_symlinks: bool = False) -> Listing:
    """Paths are relative to the longest folder without a wildcard. Raises UserError where nothing matches."""
    root, segments = split_pattern(pattern)
    if not root.is_dir():
        raise UserError(f"{pattern}: {root} is not a folder, so nothing can match; correct the pattern.")
    search = _search(root, segments, exclude, follow_symlinks=follow_symlinks)
    if not search.paths and not search.file_faults and not search.folder_faults:
        met = seen(search.skipped) if search.skipped else ""
        raise UserError(
            f"{pattern}: no such file or folder, and as a pattern it matches no image under {root}{met}; "
            "correct the pattern: * stays within a folder, ** goes down any number of them, and case counts."
        )
    return _listing(pattern, search)


def _search(
    root: Path, segments: tuple[str, ...], exclude: Iterable[Path], *, follow_symlinks: bool
) -> _Search:
    folders = [("", start(segments))]
    search = _Search(root, segments, follow_symlinks, *_outputs(exclude), folders=folders)
    while search.folders:
        _enter(search, *search.folders.pop())
    return search


def _listing(source: str, search: _Search) -> Listing:
    order = sorted(range(len(search.paths)), key=lambda i: os.fsencode(search.paths[i]))
    paths = [search.paths[i] for i in order]
    identities = in_order(search.identities, order)
    return Listing(
        source=source,
        paths=paths,
        sizes=identities[2::NUMBERS],
        places=Files(os.fspath(search.root), paths, identities),
        skipped=dict(sorted(search.skipped.items())),
        file_faults=sorted(search.file_faults, key=by_bytes),
        folder_faults=sorted(search.folder_faults, key=by_bytes),
        folds_case=folds_case(search.root, paths),
    )


def _outputs(exclude: Iterable[Path]) -> tuple[frozenset[Inode], dict[Inode, set[str]]]:
    """By identity, so that another spelling of it counts too; by name, for those that are not there yet."""
    there, names = set(), defaultdict(set)
    for path in exclude:
        entry = path.absolute()
        if entry.exists():
            there.add(_inode(entry))
        while not entry.parent.exists():
            entry = entry.parent  # the run makes the folder too
        names[_inode(entry.parent)].add(entry.name)
    return frozenset(there), dict(names)


def _inode(path: Path) -> Inode:
    about = path.stat()
    return about.st_dev, about.st_ino


def _enter(search: _Search, relative: str, positions: Positions) -> None:
    folder = search.root / relative
    try:
        inode = _inode(folder)
        if inode in search.entered:
            search.skipped[LISTED] += 1
            return
        search.entered.add(inode)
        entries = list(os.scandir(folder))
    except OSError as error:
        message = with_remedy("IO_ERROR", f"the folder cannot be read: {error.strerror}")
        search.folder_faults.append((relative or ".", "IO_ERROR", message))
        return
    outputs = search.output_names.get(inode, set())
    for entry in entries:
        path = f"{relative}/{entry.name}" if relative else entry.name
        matched = match(search.segments, positions, entry.name)
        if matched and entry.name in outputs:
            search.skipped[OUTPUTS] += 1
        elif matched:
            _look(search, entry, path, matched)


def _look(search: _Search, entry: os.DirEntry[str], path: str, matched: Positions) -> None:
    """One entry of a folder becomes a path, a folder to enter, a count or a fault."""
    try:
        is_folder = not is_hidden(entry.name) and entry.is_dir()
        if not is_folder and len(search.segments) not in matched:
            return  # the pattern asks for a folder of this name
        reason = _why_not(search, entry, is_folder=is_folder, enters=matched != {len(search.segments)})
        identity: Sequence[int] = () if reason or is_folder else identity_of(entry.stat())
    except FileNotFoundError:
        message = with_remedy("VANISHED", "a link to nothing, or gone since the folder was read")
        search.file_faults.append((path, "VANISHED", message))
    except OSError as error:
        message = with_remedy("IO_ERROR", f"the file cannot be looked at: {error.strerror}")
        search.file_faults.append((path, "IO_ERROR", message))
    else:
        if reason:
            search.skipped[reason] += 1
        elif is_folder:
            search.folders.append((path, matched))
        else:
            search.paths.append(path)
            search.identities.extend(identity)


def _why_not(search: _Search, entry: os.DirEntry[str], *, is_folder: bool, enters: bool) -> str:
    """The reason to leave it out, "" where there is none. Raises OSError for a link to nothing or itself."""
    if is_hidden(entry.name):
        return HIDDEN
    reason = _by_place(search, entry)
    if is_folder:
        return reason or ("" if enters else UNENTERED)
    return reason or _by_content(entry)


def _by_place(search: _Search, entry: os.DirEntry[str]) -> str:
    if (
        any(entry.inode() == inode for _, inode in search.outputs)  # so that few are looked at
        and _inode(Path(entry)) in search.outputs
    ):
        return OUTPUTS
    if not entry.is_symlink():
        return ""
    entry.stat()
    if Path(os.path.realpath(entry)).is_relative_to(os.path.realpath(search.root)):
        return LISTED if entry.is_dir() else ""
    return "" if search.follow_symlinks else OUTSIDE


def _by_content(entry: os.DirEntry[str]) -> str:
    if not entry.is_file():
        return SPECIAL
    if is_partial(entry.name):
        return DOWNLOADS
    if not may_be_text(entry.name):
        return ""
    with Path(entry).open("rb") as file:
        return "" if sniff(file.read(HEAD_BYTES)) else TEXTS
