"""A tar or a zip, read in place -> its members to decode. Nothing is ever unpacked to disk.

In    an uncompressed tar (v7, ustar, GNU, PAX) or a zip (stored or deflated, zip64), told by its first bytes.
Out   a Listing; its places are offsets into the archive.

Left out and counted are hidden and system files, partial downloads, links, devices, tables and texts, as in a
folder. A file fault, so that it is told and nothing is guessed, are: a name that is no plain relative path, a
name that comes twice, an encrypted or otherwise packed member, a sparse one, a local header that speaks of
another file, and bytes that lie beyond the archive's end. A leading `./` is dropped.
Names are bytes, as a folder's are: those of a tar, and those of a zip without its UTF-8 mark, which many
archivers leave out, are taken as the system takes a file's name; bytes that are not UTF-8 become %XX in
tables.
An archive that was cut has lost what nobody can count: cut within its last member it has a folder fault,
anywhere else it is refused, as is one with data behind its end.
Source: POSIX.1-2017 pax; PKWARE APPNOTE.TXT 6.3.10, 4.3.7 local file header.
"""

import io
import os
import re
import stat
import struct
import tarfile
import zipfile
import zlib
from array import array
from collections import Counter
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from cxrscore.errors import BrokenPromise, UserError
from cxrscore.images import HEAD_BYTES, sniff
from cxrscore.inputs.folder import (
    DOWNLOADS,
    HIDDEN,
    SPECIAL,
    TEXTS,
    Fault,
    Listing,
    by_bytes,
    is_hidden,
    is_partial,
    may_be_text,
    seen,
)
from cxrscore.inputs.place import Identity, Place, identity_of, position

LINKS = "links in the archive"
MAX_TAR_HEADER = 1 << 20  # bytes; PAX headers are hundreds, and a hostile one would fill the memory
MAX_ZIP_DIRECTORY = 1 << 30  # bytes; ten million members with names of usual length
LOCAL_HEADER = struct.Struct("<4s5H3I2H")
UTF8_MARK, ENCRYPTED = 0x800, 0x1
METHODS = {9: "Deflate64", 12: "bzip2", 14: "LZMA", 93: "Zstandard", 95: "xz"}  # APPNOTE 4.4.5
ZIP_STARTS = (b"PK\3\4", b"PK\5\6", b"PK\7\x08")
PACKED = (
    (b"\x1f\x8b", "gzip"),
    (b"BZh", "bzip2"),
    (b"\xfd7zXZ\0", "xz"),
    (b"\x28\xb5\x2f\xfd", "Zstandard"),
    (b"\x04\x22\x4d\x18", "LZ4"),
    (b"7z\xbc\xaf\x27\x1c", "7-Zip"),
    (b"Rar!", "RAR"),
)
Where = tuple[int, int, int, int, int]  # offset, stored, size, CRC-32 or -1, 1 if deflated
DAMAGE = (tarfile.TarError, zipfile.BadZipFile, NotImplementedError, ValueError, struct.error, RecursionError)


@dataclass(frozen=True)
class Members:
    """Places in one archive: 48 bytes a member besides its name."""

    file: str
    identity: Identity
    names: list[str]  # sorted by their bytes
    row: "array[int]"  # of a name, in `where`
    where: "array[int]"  # five numbers a row

    def place(self, path: str) -> Place:
        at = position(self.names, path)
        if at is None:
            raise BrokenPromise(f"{path!r} is asked for, which the archive does not list")
        start = 5 * self.row[at]
        offset, stored, size, crc32, deflated = self.where[start : start + 5]
        checksum = None if crc32 < 0 else crc32
        return Place(self.file, offset, stored, bool(deflated), size, checksum, *self.identity)


@dataclass
class _Index:
    """One archive being read: its members, and the rest accounted for."""

    file: "_Bounded"
    names: list[str] = field(default_factory=list)
    where: "array[int]" = field(default_factory=partial(array, "q"))
    skipped: Counter[str] = field(default_factory=Counter)
    faults: list[Fault] = field(default_factory=list)
    cut: list[Fault] = field(default_factory=list)


class _Bounded(io.BufferedReader):
    """A file whose headers cannot ask for all memory. ValueError, as other damage: see DAMAGE."""

    limit = MAX_TAR_HEADER

    def read(self, size: int | None = -1, /) -> bytes:
        if size is None or size < 0:
            size = os.fstat(self.fileno()).st_size - self.tell()
        if size > self.limit:
            raise ValueError(f"a header of {size:,} bytes")
        return super().read(size)


def is_archive(head: bytes) -> bool:
    """Whether a file with these first 512 bytes is a tar or a zip."""
    return head.startswith(ZIP_STARTS) or _is_tar(head)


def packed(head: bytes) -> str | None:
    """The compression that a file's first bytes name, through which no member can be reached alone."""
    return next((name for magic, name in PACKED if head.startswith(magic)), None)


def _is_tar(head: bytes) -> bool:
    try:  # by its checksum: old tars have no magic number
        tarfile.TarInfo.frombuf(head[: tarfile.BLOCKSIZE], "utf-8", "surrogateescape")
    except tarfile.TarError:
        return False
    return True


def list_archive(path: Path) -> Listing:
    """Raises UserError where the archive is damaged, cut between members, or holds no image."""
    try:
        with _Bounded(io.FileIO(path)) as file:
            identity, index = identity_of(os.fstat(file.fileno())), _Index(file)
            read = _read_tar if _is_tar(file.read(tarfile.BLOCKSIZE)) else _read_zip
            read(index)
            still = identity_of(os.fstat(file.fileno())) == identity
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); fetch it again.") from error
    except DAMAGE as error:
        raise UserError(f"{path}: a damaged archive ({error}); fetch it again, or pack it anew.") from error
    if not still:
        raise UserError(f"{path}: it was written to while it was listed; start again when it is complete.")
    if not index.names and not index.faults:
        raise UserError(f"{path}: no images here{seen(index.skipped)}; name what holds them.")
    return _listing(path, identity, index)


def _listing(path: Path, identity: Identity, index: _Index) -> Listing:
    row = sorted(range(len(index.names)), key=lambda i: os.fsencode(index.names[i]))
    counts = Counter(index.names)
    counts.update({name for name, _, _ in index.faults})
    rows = array("q", (i for i in row if counts[index.names[i]] == 1))
    names = [index.names[i] for i in rows]
    twice = {name for name, count in counts.items() if count > 1}
    message = "the archive holds two files of this name, and which is meant cannot be told; rename one"
    faults = {name: (name, kind, text) for name, kind, text in index.faults}
    faults |= {name: (name, "CORRUPT_DATA", message) for name in twice}
    return Listing(
        source=str(path),
        paths=names,
        sizes=array("q", (index.where[5 * i + 2] for i in rows)),
        places=Members(str(path), identity, names, rows, index.where),
        skipped=dict(sorted(index.skipped.items())),
        file_faults=sorted(faults.values(), key=by_bytes),
        folder_faults=index.cut,
    )


def _take(
    index: _Index, name: str, where: Where, *, reason: str = "", fault: tuple[str, str] | None = None
) -> None:
    """One member that is no folder becomes a path, a count or a fault; `reason` or `fault`: known before."""
    while name.startswith("./"):
        name = name[2:]
    parts = name.split("/")
    if not reason and not _is_plain(name, parts):
        fault = ("CORRUPT_DATA", "its name is no plain relative path with /; rename it in the archive")
    elif not reason:
        reason = HIDDEN if any(map(is_hidden, parts)) else DOWNLOADS if is_partial(name) else ""
    if not reason and fault is None and may_be_text(name) and not sniff(_head(index.file, where)):
        reason = TEXTS
    if reason:
        index.skipped[reason] += 1
    elif fault is not None:
        index.faults.append((name.replace("\0", "%00") or ".", *fault))  # a table holds no NUL
    else:
        index.names.append(name)
        index.where.extend(where)


def _is_plain(name: str, parts: list[str]) -> bool:
    odd = "\\" in name or "\0" in name or re.match("[A-Za-z]:", name)
    return not odd and not {"", ".", ".."} & set(parts)


def _head(file: _Bounded, where: Where) -> bytes:
    offset, stored, _, _, deflated = where
    data = os.pread(file.fileno(), min(stored, 4096), offset)
    try:
        return zlib.decompressobj(-zlib.MAX_WBITS).decompress(data, HEAD_BYTES) if deflated else data
    except zlib.error:
        return b""


def _read_tar(index: _Index) -> None:
    end = os.fstat(index.file.fileno()).st_size
    index.file.seek(0)
    with tarfile.TarFile(fileobj=index.file, encoding="utf-8", errors="surrogateescape") as tar:
        while (member := tar.next()) is not None:
            tar.members.clear()  # type: ignore[attr-defined]  # it keeps them all, at 1 KB each
            if member.size < 0 or tar.offset <= member.offset:
                raise tarfile.ReadError(f"a negative size at byte {member.offset}")
            if not member.isdir():
                _take_tar_member(index, member, end)
            if tar.offset > end:
                index.cut.append(
                    (".", "TRUNCATED", "the archive is cut; what followed its last file is lost")
                )
                return
        _check_tar_end(index.file, tar.offset)


def _take_tar_member(index: _Index, member: tarfile.TarInfo, end: int) -> None:
    reason = LINKS if member.issym() or member.islnk() else "" if member.isreg() else SPECIAL
    fault = None
    if member.issparse():
        fault = ("UNSUPPORTED_FORMAT", "a sparse file, which lies in pieces; pack it without --sparse")
    elif member.offset_data + member.size > end:
        fault = ("TRUNCATED", f"the archive ends before the last of its {member.size:,} bytes")
    where = (member.offset_data, member.size, member.size, -1, 0)
    _take(index, member.name, where, reason=reason, fault=fault)


def _check_tar_end(file: _Bounded, offset: int) -> None:
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


def _read_zip(index: _Index) -> None:
    index.file.limit = MAX_ZIP_DIRECTORY
    end = os.fstat(index.file.fileno()).st_size
    with zipfile.ZipFile(index.file) as archive:
        members = archive.infolist()
    for member in sorted(members, key=lambda member: member.header_offset):  # a disk reads forward
        if not member.orig_filename.endswith("/"):
            _take_zip_member(index, member, end)


def _take_zip_member(index: _Index, member: zipfile.ZipInfo, end: int) -> None:
    marked = member.flag_bits & UTF8_MARK
    stored_name = member.orig_filename.encode("utf-8" if marked else "cp437")  # zipfile's decoding undone
    mode = member.external_attr >> 16 if member.create_system == 3 else 0  # 3: made on Unix
    reason = LINKS if stat.S_ISLNK(mode) else SPECIAL if stat.S_IFMT(mode) not in (0, stat.S_IFREG) else ""
    offset, fault = _zip_data(index.file, member, stored_name, end)
    deflated = int(member.compress_type == zipfile.ZIP_DEFLATED)
    where = (offset, member.compress_size, member.file_size, member.CRC, deflated)
    _take(index, os.fsdecode(stored_name), where, reason=reason, fault=fault)


def _zip_data(
    file: _Bounded, member: zipfile.ZipInfo, stored_name: bytes, end: int
) -> tuple[int, tuple[str, str] | None]:
    """Where a member's bytes begin, which its local header alone knows; or what is wrong with it."""
    start = member.header_offset
    if member.flag_bits & ENCRYPTED:
        return 0, ("UNSUPPORTED_FORMAT", "encrypted in the archive; pack it without a password")
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        method = METHODS.get(member.compress_type, f"method {member.compress_type}")
        return 0, ("UNSUPPORTED_FORMAT", f"packed by {method}; pack it with deflate or stored")
    if not 0 <= start <= start + member.compress_size <= end:
        return 0, ("TRUNCATED", "its bytes lie beyond the archive's end")
    header = os.pread(file.fileno(), LOCAL_HEADER.size + len(stored_name), start)
    if len(header) < LOCAL_HEADER.size or not header.startswith(b"PK\3\4"):
        return 0, ("CORRUPT_DATA", "the archive's directory points to where no file begins")
    *_, name_bytes, extra_bytes = LOCAL_HEADER.unpack_from(header)
    if name_bytes != len(stored_name) or header[LOCAL_HEADER.size :] != stored_name:
        return 0, ("CORRUPT_DATA", "the archive's directory and the file's own header name two files")
    offset = start + LOCAL_HEADER.size + name_bytes + extra_bytes
    stored = member.compress_type == zipfile.ZIP_STORED
    if member.file_size > 1 << 62 or (stored and member.compress_size != member.file_size):
        return 0, ("CORRUPT_DATA", f"{member.file_size:,} bytes are declared, which the archive cannot hold")
    if offset + member.compress_size > end:
        return 0, ("TRUNCATED", "the archive ends before its last byte")
    return offset, None
