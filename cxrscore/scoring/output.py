"""Where a run writes: checked before any work, and the list of the files that could not be scored.

In    paths of the table and of <out>.errors.csv; quarantined files.
Out   UserError, or files. The list is for people: a spreadsheet runs none of its cells.
"""

import tempfile
from collections.abc import Iterable
from pathlib import Path

from cxrscore.errors import UserError
from cxrscore.files import write_table

FORMULA = ("=", "+", "-", "@", "\t", "\r")  # what spreadsheets run, CWE-1236


def check_output(path: Path, *, overwrite: bool) -> None:
    """Raises UserError, before any work, where `path` cannot be written, or what it holds would be lost."""
    if path.is_symlink() or (path.exists() and not path.is_file()):
        raise UserError(
            f"{path}: is no regular file; name the file to write, such as {path.parent / 'sub.csv'}."
        )
    if path.exists() and not overwrite:
        raise UserError(f"{path}: exists; --overwrite replaces it, or choose another name.")
    try:
        with tempfile.TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        raise UserError(f"{path.parent}: cannot be written to ({error.strerror}).") from error


def write_errors(path: Path, rows: Iterable[tuple[str, str, str, str]]) -> None:
    """`rows` are path, stage, kind, message."""
    safe = (["'" + cell if cell.startswith(FORMULA) else cell for cell in row] for row in rows)
    write_table(path, ["path", "stage", "kind", "message"], safe)
