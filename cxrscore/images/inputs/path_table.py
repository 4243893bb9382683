"""A CSV with a column of paths -> the files it names, one row per file.

In    a table; the folder its paths are under, by default the one it lies in.
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

from cxrscore.core.errors import UserError, with_remedy
from cxrscore.images.inputs.byte_source import NUMBERS, UNKNOWN, Files, Identity, identity_of
from cxrscore.images.inputs.file_list import Fault, Listing, in_order
from cxrscore.images.inputs.folder import folds_case
from cxrscore.tables.csv_table import Table
from cxrscore.tables.datasets.column_names import PATIENTS, named
from cxrscore.tables.datasets.patient_ids import spellings, told
from cxrscore.tables.foreign_table import read_foreign_table
from cxrscore.tables.image_names import match_names, spelled, without_blanks

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
    table = read_foreign_table(table_csv)
    root = root or table_csv.parent
    if not root.is_dir():
        raise UserError(f"{root}: no such folder; name the one that the paths in {table_csv} are under.")
    written = _names(table, table.column(path_column or _path_column(table)), root)
    declared = table.columns.get(HASH_COLUMN, [""] * len(written))  # of each file that it is this one
    names, notes = _found(written, root, {name for name, cell in zip(written, declared, strict=True) if cell})
    studies, study_notes = _studies(table, names, study_column) if study_column else ({}, [])
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
        studies=studies,
        notes=[*table.notes, *(f"{table_csv}: {note}" for note in notes), *study_notes],
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
                f"{table.path}:{line}: {cell!r} is on line {line_of[name]} too; keep one row per file."
            )
        line_of[name] = line
    return list(line_of)


def _found(names: list[str], root: Path, fixed: set[str]) -> tuple[list[str], list[str]]:
    """The names, each without a file replaced by the path of the one it means, if any -> names, notes."""
    missing = {name for name in names if name not in fixed and not os.path.lexists(root / name)}
    if not missing:
        return names, []
    one_of_each = {spelled(name).rpartition("/")[0]: name for name in missing}
    there = [path for name in one_of_each.values() for path in _files_beside(root, name)]
    there.sort(key=os.fsencode)
    match = match_names(names, there, folds_case=folds_case(root, there), in_folders=False)
    meant = {name: there[at] for name, at in zip(names, match.files, strict=True) if at >= 0}
    notes = [
        *match.notes,
        *(f"{name!r} means no file: {why}" for name, why in list(match.unclear.items())[:10]),
    ]
    return [meant.get(name, name) if name in missing else name for name in names], notes


def _files_beside(root: Path, name: str) -> list[str]:
    """Paths under `root` of the files in the folder of a name, in whatever Unicode form the folders are."""
    *folders, _ = spelled(name).split("/")
    found = [""]
    for folder in folders:
        inner = ((above, entry) for above in found for entry in _entries(root / above))
        found = [f"{above}{e.name}/" for above, e in inner if spelled(e.name) == folder and e.is_dir()]
    return [f"{folder}{e.name}" for folder in found for e in _entries(root / folder) if e.is_file()]


def _entries(folder: Path) -> "list[os.DirEntry[str]]":
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except OSError:  # no such folder, or not ours to read
        return []


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


def _studies(table: Table, names: list[str], column: str) -> tuple[dict[str, str], list[str]]:
    """Path -> study, and notes. Where one number is the study of several patients, as in tables that number
    the studies of each patient from 1, a study is patient/study.
    """
    cells = [without_blanks(cell) for cell in table.column(column)]
    for study, line in zip(cells, table.lines, strict=True):
        if not study:
            raise UserError(
                f"{table.path}:{line}: no {column}; fill it in; a single image is a study of its own."
            )
    notes = (
        [f"{told(numbers, column)}; each spelling counts as a study"] if (numbers := spellings(cells)) else []
    )
    patient = named([name for name in table.columns if name != column], PATIENTS)
    owners = [without_blanks(cell) for cell in table.columns[patient]] if patient else cells
    if len(set(zip(owners, cells, strict=True))) > len(set(cells)):
        cells = [f"{owner}/{study}" for owner, study in zip(owners, cells, strict=True)]
        notes.append(f"{column!r} repeats from patient to patient; studies are {patient!r}/{column!r}")
    return dict(zip(names, cells, strict=True)), [f"{table.path}: {note}." for note in notes]
