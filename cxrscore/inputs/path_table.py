"""A CSV with a column of paths -> the files it names, a row a file.

In    a table; the folder its paths are under, else the one it lies in.
Out   a Listing: every row is in it, also where its file is missing, which the decoder then finds.

Nothing is read outside that folder (CWE-22): `..` is refused, an absolute path is taken only when it lies
under the folder, and is then named relative to it; a link that leads out is a file fault unless
`follow_symlinks`. `./` and `//` are dropped from names. No row is left out for its name, as a folder's files
are: the table asks for each. A manifest that this program wrote is such a table; its hashes are taken too.
"""

import os
import re
import stat
from array import array
from functools import lru_cache
from pathlib import Path

from cxrscore.errors import UserError, with_remedy
from cxrscore.inputs.folder import Fault, Listing, folds_case, in_order, list_images
from cxrscore.inputs.place import NUMBERS, UNKNOWN, Files, Identity, identity_of
from cxrscore.names import match_names
from cxrscore.tables import Table, read_table

PATH_COLUMNS = ("path", "Path", "file", "Image_name", "Image Index", "filename")
HASH_COLUMN = "sha256"


def is_table(path: Path) -> bool:
    return path.name.lower().endswith((".csv", ".csv.gz"))


def list_table(
    table_csv: Path,
    *,
    path_column: str | None = None,
    study_column: str | None = None,
    root: Path | None = None,
    follow_symlinks: bool = False,
) -> Listing:
    """Raises UserError with file and line for a row that leads out of the folder, or names a file again."""
    table = read_table(table_csv)
    root = root or table_csv.parent
    if not root.is_dir():
        raise UserError(f"{root}: no such folder; name the one that the paths in {table_csv} are under.")
    written = _names(table, table.column(path_column or _path_column(table)), root)
    names, notes = written, list[str]()
    if HASH_COLUMN not in table.columns:  # which says of each file that it is this one
        names, notes = _found(written, root, follow_symlinks=follow_symlinks)
    order = sorted(range(len(names)), key=lambda i: os.fsencode(names[i]))
    paths = [names[i] for i in order]
    identities = array("q", (number for path in paths for number in _look(root, path)))
    if all(size < 0 for size in identities[2::NUMBERS]):
        raise UserError(
            f"{table_csv}: none of the {len(paths):,} files it names is there; the first would be "
            f"{root / names[0]}. Name the folder that the paths are under."
        )
    _refuse_one_file_twice(table, names, root)
    faults = [] if follow_symlinks else _links_out(root, paths)
    out = {path for path, _, _ in faults}
    kept = [i for i, path in enumerate(paths) if path not in out]
    paths, identities = [paths[i] for i in kept], in_order(identities, kept)
    return Listing(
        source=str(table_csv),
        paths=paths,
        sizes=identities[2::NUMBERS],
        places=Files(os.fspath(root), paths, identities),
        file_faults=faults,
        sha256=_hashes(table, names),
        studies=_studies(table, names, study_column) if study_column else {},
        notes=[*table.notes, *(f"{table_csv}: {note}" for note in notes)],
    )


def _path_column(table: Table) -> str:
    found = [name for name in PATH_COLUMNS if name in table.columns]
    if not found:
        raise UserError(
            f"{table.path}:1: which column holds the paths? There are {', '.join(map(repr, table.columns))}; "
            f"name one of them, or call it {PATH_COLUMNS[0]!r}."
        )
    return found[0]


def _names(table: Table, cells: list[str], root: Path) -> list[str]:
    """A name relative to `root` for each row. Raises UserError."""
    prefixes = [f"{folder.as_posix().rstrip('/')}/" for folder in (root.absolute(), root.resolve())]
    line_of: dict[str, int] = {}
    for cell, line in zip(cells, table.lines, strict=True):
        name = _relative(cell, f"{table.path}:{line}", prefixes)
        if name in line_of:
            raise UserError(
                f"{table.path}:{line}: {cell!r} is on line {line_of[name]} too; keep one row a file."
            )
        line_of[name] = line
    return list(line_of)


def _found(names: list[str], root: Path, *, follow_symlinks: bool) -> tuple[list[str], list[str]]:
    """The names, each without a file replaced by the path of the one it means, if any -> names, notes."""
    missing = {name for name in names if not os.path.lexists(root / name)}
    if not missing:
        return names, []
    try:
        listed = list_images(root, follow_symlinks=follow_symlinks).paths
    except UserError:  # nothing there
        return names, []
    match = match_names(names, listed, folds_case=folds_case(root, listed))
    meant = {name: listed[at] for name, at in zip(names, match.files, strict=True) if at >= 0}
    return [meant.get(name, name) if name in missing else name for name in names], match.notes


def _relative(cell: str, where: str, prefixes: list[str]) -> str:
    prefix = next((prefix for prefix in prefixes if cell.startswith(prefix)), "")
    parts = [part for part in cell[len(prefix) :].split("/") if part not in ("", ".")]
    if not parts:
        raise UserError(f"{where}: {cell!r} is not a file path; fill it in, or remove the row.")
    if not prefix and re.match(r"/|[A-Za-z]:[\\/]|\\\\", cell):
        raise UserError(
            f"{where}: {cell!r} is absolute and not under {prefixes[0]}; name the folder that the paths are "
            "under, or write them relative to it."
        )
    if ".." in parts:
        raise UserError(
            f"{where}: {cell!r} goes up by '..'; write the paths relative to a folder above them all, and "
            "name that folder as the one they are under."
        )
    return "/".join(parts)


def _look(root: Path, path: str) -> Identity:
    try:
        about = os.stat(os.path.join(root, path))  # noqa: PTH116, PTH118 - a Path takes longer than the call
    except OSError:
        return UNKNOWN  # the decoder asks again, and says why
    return identity_of(about) if stat.S_ISREG(about.st_mode) else UNKNOWN


def _refuse_one_file_twice(table: Table, names: list[str], root: Path) -> None:
    """Two spellings are one file where the file system takes case lightly. Raises UserError."""
    met: dict[str, int] = {}
    for i, name in enumerate(names):
        first = met.setdefault(name.casefold(), i)
        if first != i and _same_file(root / names[first], root / name):
            raise UserError(
                f"{table.path}:{table.lines[i]}: {name!r} is the file of line {table.lines[first]}: case "
                "does not count here; remove one of the two rows."
            )


def _same_file(one: Path, other: Path) -> bool:
    try:
        return one.samefile(other)
    except OSError:
        return False


def _links_out(root: Path, paths: list[str]) -> list[Fault]:
    home = root.resolve()

    @lru_cache(maxsize=1 << 16)
    def is_inside(folder: Path) -> bool:
        return folder.resolve().is_relative_to(home)

    faults = []
    for path in paths:
        file = root / path
        try:
            is_out = not is_inside(file.parent) or (file.is_symlink() and not is_inside(file))
        except (OSError, RuntimeError) as error:  # too long; a loop of links
            message = with_remedy("IO_ERROR", f"the file cannot be looked at: {error}")
            faults.append((path, "IO_ERROR", message))
            continue
        if is_out:
            message = "a link out of the folder that the paths are under; --follow-symlinks follows it"
            faults.append((path, "IO_ERROR", message))
    return faults


def _hashes(table: Table, names: list[str]) -> dict[str, str]:
    """Blank where a manifest has none, of a file that could not be read. Raises UserError."""
    if HASH_COLUMN not in table.columns:
        return {}
    hashes = {}
    for name, cell, line in zip(names, table.column(HASH_COLUMN), table.lines, strict=True):
        if cell and not re.fullmatch("[0-9a-fA-F]{64}", cell):
            raise UserError(f"{table.path}:{line}: a sha256 is 64 hexadecimal digits or blank, not {cell!r}.")
        if cell:
            hashes[name] = cell.lower()
    return hashes


def _studies(table: Table, names: list[str], column: str) -> dict[str, str]:
    studies = dict(zip(names, table.column(column), strict=True))
    for study, line in zip(studies.values(), table.lines, strict=True):
        if not study.strip():
            raise UserError(
                f"{table.path}:{line}: no {column}; a file that stands alone is its own study: name it."
            )
    return studies
