"""An uncompressed tar (v7, ustar, GNU, PAX), header by header -> its members.

In    an Index of the open archive.
Out   the Index, filled.
Source: POSIX.1-2017 pax.
"""

import os
import posixpath
import tarfile
from collections import Counter
from collections.abc import Iterator
from pathlib import PurePosixPath

from cxrscore.images.inputs.archive_members import Bounded, Index, Member, add_link, take, take_links
from cxrscore.images.inputs.skipped import SPECIAL


def is_tar(head: bytes) -> bool:
    try:  # by its checksum: old tars have no magic number
        tarfile.TarInfo.frombuf(head[: tarfile.BLOCKSIZE], "utf-8", "surrogateescape")
    except tarfile.TarError:
        return False
    return True


def read_tar(index: Index) -> None:
    end = os.fstat(index.file.fileno()).st_size
    behind = 0
    for member, behind in _tar_members(index.file, end):  # noqa: B007 - where the last one ends
        if member.issym() or member.islnk():
            add_link(index, member.name, member.linkname, hard=member.islnk())
        elif not member.isdir():
            where, fault = _tar_member(member, end)
            take(index, member.name, where, reason="" if member.isreg() else SPECIAL, fault=fault)
    if behind > end:
        message = "the archive is cut, and what followed its last file is lost; fetch it again"
        index.cut.append((".", "TRUNCATED", message))
    else:
        _check_tar_end(index.file, behind)
    if index.links:  # a second look at the headers: to keep every place for a link that may come is too much
        _take_tar_links(index, end)


def _tar_members(file: Bounded, end: int) -> Iterator[tuple[tarfile.TarInfo, int]]:
    """Each header, and where the next begins. Raises ReadError."""
    file.seek(0)
    with tarfile.TarFile(fileobj=file, encoding="utf-8", errors="surrogateescape") as tar:
        while (member := tar.next()) is not None:
            tar.members.clear()  # type: ignore[attr-defined]  # it keeps them all, at 1 KB each
            if member.size < 0 or tar.offset <= member.offset:
                raise tarfile.ReadError(f"a negative size at byte {member.offset}")
            yield member, tar.offset
            if tar.offset > end:
                return


def _tar_member(member: tarfile.TarInfo, end: int) -> Member:
    fault = None
    if member.issparse():
        fault = ("UNSUPPORTED_FORMAT", "a sparse file, which lies in pieces; pack it without --sparse")
    elif member.offset_data + member.size > end:
        fault = ("TRUNCATED", f"the archive ends before the last of its {member.size:,} bytes")
    return (member.offset_data, member.size, member.size, -1, 0), fault


def _take_tar_links(index: Index, end: int) -> None:
    wanted = {name for link in index.links for name in (link.name, link.target)}
    members, folders, names = dict[str, Member](), set[str](), Counter[str]()
    for member, _ in _tar_members(index.file, end):
        name = posixpath.normpath(member.name)
        folders.update(map(str, PurePosixPath(name).parents))
        if member.isdir():
            folders.add(name)
        elif name in wanted:
            names[name] += 1
            if member.isreg():
                members[name] = _tar_member(member, end)
    take_links(index, members, folders, names)


def _check_tar_end(file: Bounded, offset: int) -> None:
    """tarfile takes a damaged header for the end. Raises ReadError."""
    file.seek(offset)
    block, behind = file.read(tarfile.BLOCKSIZE), file.read(1 << 16)
    if len(block) < tarfile.BLOCKSIZE:
        raise tarfile.ReadError("cut: it has no end mark")
    if block.strip(b"\0"):
        raise tarfile.ReadError(f"the header at byte {offset} is damaged")
    if behind.strip(b"\0"):
        raise tarfile.ReadError(
            f"more data behind its end at byte {offset}; join tars with tar --concatenate"
        )
