"""A zip (stored or deflated, zip64), by its directory and each file's own header -> its members.

In    an Index of the open archive.
Out   the Index, filled.
Source: PKWARE APPNOTE.TXT 6.3.10, 4.3.7 local file header.
"""

import os
import stat
import struct
import zipfile
import zlib
from collections import Counter
from collections.abc import Sequence
from pathlib import PurePosixPath

from cxrscore.images.inputs.archive_members import Bounded, Index, Member, add_link, head, take, take_links
from cxrscore.images.inputs.skipped import SPECIAL

MAX_DIRECTORY = 1 << 30  # bytes; ten million members with names of usual length
MAX_END = 22 + 65_535  # bytes of the record at its end, with the longest comment
MAX_TARGET = 4096  # bytes of a link's target
LOCAL_HEADER = struct.Struct("<4s5H3I2H")
UTF8_MARK, ENCRYPTED = 0x800, 0x1
METHODS = {9: "Deflate64", 12: "bzip2", 14: "LZMA", 93: "Zstandard", 95: "xz"}  # APPNOTE 4.4.5


def read_zip(index: Index) -> None:
    index.file.limit = MAX_DIRECTORY
    end = os.fstat(index.file.fileno()).st_size
    with zipfile.ZipFile(index.file) as archive:
        members = archive.infolist()
    _refuse_joined(index.file, members, end)
    found, folders, names = dict[str, Member](), set[str](), Counter[str]()
    for member in sorted(members, key=lambda member: member.header_offset):  # a disk reads forward
        name, stored_name = _zip_name(member)
        folders.update(map(str, PurePosixPath(name).parents))
        if name.endswith("/"):
            continue
        names[name] += 1
        offset, fault = _zip_data(index.file, member, stored_name, end)
        deflated = int(member.compress_type == zipfile.ZIP_DEFLATED)
        where = (offset, member.compress_size, member.file_size, member.CRC, deflated)
        mode = member.external_attr >> 16 if member.create_system == 3 else 0  # 3: made on Unix
        if stat.S_ISLNK(mode) and fault is None and member.file_size <= MAX_TARGET:
            target = head(index.file, where, MAX_TARGET)
            if len(target) == member.file_size and zlib.crc32(target) == member.CRC:
                add_link(index, name, os.fsdecode(target), hard=False)
                continue
            fault = ("CORRUPT_DATA", "a link whose target does not have the CRC-32 that the archive declares")
        elif stat.S_ISLNK(mode):
            fault = fault or ("CORRUPT_DATA", "a link without a target that a system takes")
        found[name] = where, fault
        special = stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFLNK)
        take(index, name, where, reason=SPECIAL if special else "", fault=fault)
    take_links(index, found, folders, names)


def _refuse_joined(file: Bounded, members: Sequence[zipfile.ZipInfo], end: int) -> None:
    """Raises BadZipFile where files lie before the first or behind the end that the directory knows: of two
    zips that were joined, only the last has a directory.
    """
    first = min((member.header_offset for member in members), default=0)
    if first > 0 and os.pread(file.fileno(), 4, first) == b"PK\3\4":
        raise zipfile.BadZipFile("data before its first file: two archives in one? Give them one by one")
    tail = os.pread(file.fileno(), MAX_END, max(0, end - MAX_END))
    at = tail.rfind(b"PK\5\6")
    (comment,) = struct.unpack_from("<H", tail, at + 20)
    if at + 22 + comment != len(tail):
        raise zipfile.BadZipFile("data behind its end: two archives in one? Give them one by one")


def _zip_name(member: zipfile.ZipInfo) -> tuple[str, bytes]:
    """As the system names a file, and as the archive holds it."""
    marked = member.flag_bits & UTF8_MARK
    stored_name = member.orig_filename.encode("utf-8" if marked else "cp437")  # zipfile's decoding undone
    return os.fsdecode(stored_name), stored_name


def _zip_data(
    file: Bounded, member: zipfile.ZipInfo, stored_name: bytes, end: int
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
