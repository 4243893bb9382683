"""A tar or a zip, read in place -> its members to decode. Nothing is ever unpacked to disk.

In    an uncompressed tar (v7, ustar, GNU, PAX) or a zip (stored or deflated, zip64), told by its first bytes.
Out   a Listing; its places are offsets into the archive.

A link to a file in the archive, hard or symbolic, is that file under another name: GNU tar writes the second
name of an inode as a link. Left out and counted are hidden and system files, partial downloads, links out of
the archive and to folders, devices, tables and texts, as in a folder. A file fault, so that it is reported
and nothing is guessed, are: a name that is no plain relative path, a name that comes twice, a link to
nothing, an encrypted or otherwise packed member, a sparse one, a local header that speaks of another file,
and bytes that lie beyond the archive's end. A leading `./` is dropped.
Names are bytes, as a folder's are: those of a tar, and those of a zip without its UTF-8 mark, which many
archivers leave out, are taken as the system takes a file's name; bytes that are not UTF-8 become %XX in
tables.
An archive that was cut has lost what nobody can count: cut within its last member it has a folder fault,
anywhere else it is refused, as is one with data behind its end.
"""

import io
import os
import struct
import tarfile
import zipfile
from array import array
from collections import Counter
from pathlib import Path

from cxrscore.core.errors import UserError, with_remedy
from cxrscore.images.inputs.archive_members import Bounded, Index, Members
from cxrscore.images.inputs.byte_source import Identity, identity_of
from cxrscore.images.inputs.folder import Listing, by_bytes, seen
from cxrscore.images.inputs.tar import is_tar, read_tar
from cxrscore.images.inputs.zip import read_zip

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
DAMAGE = (tarfile.TarError, zipfile.BadZipFile, NotImplementedError, ValueError, struct.error, RecursionError)


def is_archive(head: bytes) -> bool:
    """Whether a file with these first 512 bytes is a tar or a zip."""
    return head.startswith(ZIP_STARTS) or is_tar(head)


def packed(head: bytes) -> str | None:
    """The compression that a file's first bytes name, through which no member can be reached alone."""
    return next((name for magic, name in PACKED if head.startswith(magic)), None)


def list_archive(path: Path) -> Listing:
    """Raises UserError where the archive is damaged, cut between members, or holds no image."""
    try:
        with Bounded(io.FileIO(path)) as file:
            identity, index = identity_of(os.fstat(file.fileno())), Index(file)
            read = read_tar if is_tar(file.read(tarfile.BLOCKSIZE)) else read_zip
            read(index)
            still = identity_of(os.fstat(file.fileno())) == identity
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); fetch it again.") from error
    except DAMAGE as error:
        raise UserError(f"{path}: a damaged archive ({error}); fetch it again, or pack it again.") from error
    if not still:
        raise UserError(f"{path}: it was written to while it was listed; start again when it is complete.")
    if not index.names and not index.faults:
        raise UserError(
            f"{path}: no images here{seen(index.skipped)}; name an archive or a folder of images."
        )
    return _listing(path, identity, index)


def _listing(path: Path, identity: Identity, index: Index) -> Listing:
    row = sorted(range(len(index.names)), key=lambda i: os.fsencode(index.names[i]))
    counts = Counter(index.names)
    counts.update({name for name, _, _ in index.faults})
    rows = array("q", (i for i in row if counts[index.names[i]] == 1))
    names = [index.names[i] for i in rows]
    twice = {name for name, count in counts.items() if count > 1}
    message = "the archive holds two files of this name, and which is meant cannot be told; rename one"
    faults = {name: (name, kind, with_remedy(kind, text)) for name, kind, text in index.faults}
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
