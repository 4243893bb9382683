"""What `cxrscore score` is given -> the files to decode: a folder, a pattern, a table of paths, an archive.

In    the argument as it was given. Folders are recognised by the system, archives by their first bytes,
      tables by their extension, patterns by naming nothing that is there.
Out   a Listing. Files known already not to be scored (`file_faults`) are among its paths: they have
      ids and rows as others do, a template may name them, and a run accounts for them once.
"""

import stat
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from cxrscore.core.errors import UserError, counted
from cxrscore.images.inputs.archive import is_archive, list_archive, packed
from cxrscore.images.inputs.file_list import Listing
from cxrscore.images.inputs.folder import list_glob, list_images
from cxrscore.images.inputs.glob_pattern import is_pattern
from cxrscore.images.inputs.path_table import is_table, list_table
from cxrscore.images.reading import sniff

__all__ = ["Listing", "case_notes", "kind_of_input", "list_images", "list_input"]

ACCEPTED = "a folder, a quoted pattern such as 'images/**/*.png', a .csv of paths, a .tar or a .zip"
SPREADSHEETS = (".xlsx", ".xls", ".ods")


def list_input(
    source: str,
    *,
    exclude: Iterable[Path] = (),
    follow_symlinks: bool = False,
    path_column: str | None = None,
    study_column: str | None = None,
    root: Path | None = None,
) -> Listing:
    """`exclude`: this run's outputs. `root`: the folder that a table's paths are under. Raises UserError."""
    path, outputs = Path(source), [Path(output) for output in exclude]
    kind = kind_of_input(source)
    if kind != "table" and (path_column or study_column or root):
        raise UserError(
            f"{source}: {'an' if kind == 'archive' else 'a'} {kind}; give columns and the folder of the "
            "paths "
            "for a .csv only."
        )
    if any(_is_same(path, output) for output in outputs):
        raise UserError(f"{source}: is also an output of this run; choose another name for the outputs.")
    if kind == "archive":
        listing = list_archive(path)
    elif kind == "table":
        columns = {"path_column": path_column, "study_column": study_column}
        listing = list_table(path, **columns, root=root, follow_symlinks=follow_symlinks)
    elif kind == "pattern":
        listing = list_glob(source, exclude=outputs, follow_symlinks=follow_symlinks)
    else:
        listing = list_images(path, exclude=outputs, follow_symlinks=follow_symlinks)
    listing = listing.with_faulty_files()
    return replace(listing, source=source, notes=[*listing.notes, *case_notes(listing.paths)])


def kind_of_input(source: str) -> str:
    """folder, pattern, table or archive. Raises UserError."""
    if not source:
        raise UserError(f"an empty name; give {ACCEPTED}.")  # Path("") would be the working folder
    try:
        mode = Path(source).stat().st_mode
    except (OSError, ValueError) as error:
        if is_pattern(source):
            return "pattern"
        raise UserError(_missing(source, error)) from error
    if stat.S_ISDIR(mode):
        return "folder"
    if not stat.S_ISREG(mode):
        raise UserError(f"{source}: neither a file nor a folder; give {ACCEPTED}.")
    return _kind_of_file(Path(source))


def _missing(source: str, error: OSError | ValueError) -> str:
    pointer = Path(f"{source.rstrip('/')}.dvc")
    if isinstance(error, FileNotFoundError) and pointer.exists():
        return f"{source}: not here yet; `dvc pull {pointer}` brings it."
    return f"{source}: {getattr(error, 'strerror', None) or 'no path'}; give {ACCEPTED}."


def _kind_of_file(path: Path) -> str:
    try:
        with path.open("rb") as file:
            head = file.read(512)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); check its permissions.") from error
    if path.suffix == ".dvc":
        raise UserError(f"{path}: a DVC pointer; `dvc pull {path}` first, then give {path.with_suffix('')}.")
    if path.suffix.lower() in SPREADSHEETS:
        raise UserError(f"{path}: a spreadsheet; save it as CSV with a column of paths.")
    if is_archive(head):
        return "archive"
    if is_table(path):
        return "table"
    if packed(head):
        raise UserError(
            f"{path}: compressed by {packed(head)}, so that no file in it can be reached alone; unpack it "
            "and give the folder, or pack the files in an uncompressed .tar or a .zip."
        )
    found = f"a single {sniff(head)} image; name the folder that holds it" if sniff(head) else "a file"
    raise UserError(f"{path}: {found}; give {ACCEPTED}.")


def _is_same(path: Path, output: Path) -> bool:
    return path.exists() and output.exists() and path.samefile(output)


def case_notes(paths: Iterable[str]) -> list[str]:
    """A note where names differ in case alone: a table of them cannot be joined on macOS or Windows."""
    counts = Counter(path.casefold() for path in paths)
    alike = sum(count for count in counts.values() if count > 1)
    if not alike:
        return []
    return [
        f"{counted(alike, 'name differs', 'names differ')} from another only in case; macOS and Windows "
        "treat them as the same"
    ]
