"""A zip (stored or deflated, zip64), by its directory and each file's own header -> its members.

In    an Index of the open archive.
Out   the Index, filled.
Source: PKWARE APPNOTE.TXT 6.3.10, 4.3.7 local file header.
"""

import os
import stat
import struct
import zipfile
from pathlib import PurePosixPath

from cxrscore.inputs.folder import SPECIAL
from cxrscore.inputs.members import Bounded, Index, Member, add_link, head, take, take_links

MAX_DIRECTORY = 1 << 30  # bytes; ten million members with names of usual length
MAX_TARGET = 4096  # bytes of a link's target
LOCAL_HEADER = struct.Struct("<4s5H3I2H")
UTF8_MARK, ENCRYPTED = 0x800, 0x1
METHODS = {9: "Deflate64", 12: "bzip2", 14: "LZMA", 93: "Zstandard", 95: "xz"}  # APPNOTE 4.4.5


def read_zip(index: Index) -> None:
    index.file.limit = MAX_DIRECTORY
    end = os.fstat(index.file.fileno()).st_size
    with zipfile.ZipFile(index.file) as archive:
        members = archive.infolist()
    found, folders = dict[str, Member](), set[str]()
    for member in sorted(members, key=lambda member: member.header_offset):  # a disk reads forward
        name, stored_name = _zip_name(member)
        folders.update(map(str, PurePosixPath(name).parents))
        if name.endswith("/"):
            continue
        offset, fault = _zip_data(index.file, member, stored_name, end)
        deflated = int(member.compress_type == zipfile.ZIP_DEFLATED)
        where = (offset, member.compress_size, member.file_size, member.CRC, deflated)
        mode = member.external_attr >> 16 if member.create_system == 3 else 0  # 3: made on Unix
        if stat.S_ISLNK(mode) and fault is None and member.file_size <= MAX_TARGET:
            add_link(index, name, os.fsdecode(head(index.file, where, MAX_TARGET)), hard=False)
            continue
        found[name] = where, fault
        special = stat.S_IFMT(mode) not in (0, stat.S_IFREG)
        take(index, name, where, reason=SPECIAL if special else "", fault=fault)
    take_links(index, found, folders)


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
