"""Which file becomes which row: ids from paths, and the rows and columns that a template wants.

In    relative paths; a template, as a competition's sample submission is.
Out   ids, positions, notes. Names stay byte for byte what they are.
"""

import os
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from cxrscore.core.errors import UserError, counted
from cxrscore.tables.csv_table import nearest
from cxrscore.tables.foreign_table import read_foreign_table, without_usage
from cxrscore.tables.image_names import match_names, stem
from cxrscore.tables.score_table import unique_ids

FORMULA = ("=", "+", "-", "@", "\t", "\r")  # what spreadsheets run, CWE-1236


ID_OF: dict[str, Callable[[str], str]] = {
    "relpath": str,
    "name": lambda path: PurePosixPath(path).name,
    "stem": stem,
}


@dataclass(frozen=True)
class Template:
    """The rows and columns that a competition wants, in its order. `columns` are without the id column."""

    path: Path
    id_column: str
    ids: list[str]
    columns: list[str]
    notes: tuple[str, ...] = ()


def read_template(path: Path) -> Template:
    """Its values are not looked at. Raises UserError where an id comes twice."""
    table = without_usage(read_foreign_table(path))
    id_column, *columns = table.columns
    return Template(path, id_column, unique_ids(table, id_column), columns, table.notes)


def ids_of(paths: Sequence[str], kind: str, *, notes: list[str]) -> list[str]:
    """Relative paths -> ids: `relpath`, `name` or `stem`. Raises UserError where two files get one id.

    What a table or a spreadsheet may make of them is added to `notes`.
    """
    plain = [ID_OF[kind](path) for path in paths]
    ids = shown_names(plain, of=paths)
    escaped = sum(a != b for a, b in zip(plain, ids, strict=True))
    if escaped:
        notes.append(
            f"{counted(escaped, 'file name is', 'file names are')} not UTF-8; invalid bytes are written as "
            "%XX"
        )
    notes += formula_notes(ids)
    counts = Counter(ids)
    clashes = [f"{path!r} ({name!r})" for path, name in zip(paths, ids, strict=True) if counts[name] > 1]
    if clashes:
        raise UserError(
            f"--id: {counted(len(clashes), 'file')} with the same id ({kind}): {_some(clashes)}; use --id "
            "relpath."
        )
    return ids


def shown_names(names: Sequence[str], *, of: Sequence[str] | None = None) -> list[str]:
    """`writable` of each. Raises UserError where two different names become one, with their files, `of`."""
    shown = [writable(name) for name in names]
    first: dict[str, int] = {}
    for i, name in enumerate(shown):
        other = first.setdefault(name, i)
        if names[other] != names[i]:
            one, two = (os.fsencode((of or names)[at]) for at in (other, i))
            raise UserError(
                f"{one!r} and {two!r} are both written as {name!r}, as a table holds only UTF-8; "
                "rename one of the two."
            )
    return shown


def writable(name: str) -> str:
    """A name as a UTF-8 table can hold it: where bytes of it are not UTF-8, those and % become %XX.

    Names of other files stay byte for byte, so that %FF.jpg can be either; `shown_names` refuses both.
    """
    if name.isascii():
        return name
    odd = [char for char in name if "\udc80" <= char <= "\udcff"]
    if not odd:
        return name
    return "".join(f"%{ord(c) - 0xDC00:02X}" if c in odd else "%25" if c == "%" else c for c in name)


def match_template(
    template: Template, ids: Sequence[str], *, folds_case: bool = False, notes: list[str]
) -> list[int]:
    """For each row of the template, the position of its file in `ids`. What was noticed is added to `notes`.

    Raises UserError where a row has no file.
    """
    match = match_names(template.ids, ids, folds_case=folds_case)
    missing = match.missing(template.ids)
    if missing:
        there = f"; the files are named like {ids[0]!r}" if ids else ""
        raise UserError(
            f"{template.path}: {counted(len(missing), 'id')} without a file: {_some(missing)}{there} (see "
            "--id). Name the folder that has them; --on-error fill writes the prevalences for ids without "
            "a file."
        )
    notes += [f"{template.path}: {note}" for note in match.notes]
    if len(ids) > len(match.files):
        notes.append(
            f"{counted(len(ids) - len(match.files), 'file')} left out, not listed in {template.path}"
        )
    return match.files


def without_file(template: Template, ids: Sequence[str], *, folds_case: bool) -> list[str]:
    """The template's ids that no file may be meant by; where two may be, `match_template` refuses."""
    match = match_names(template.ids, ids, folds_case=folds_case)
    alone = (name for name, at in zip(template.ids, match.files, strict=True) if at < 0)
    return [name for name in alone if name not in match.unclear]


def formula_notes(ids: Iterable[str]) -> list[str]:
    """A note where a spreadsheet would run ids as formulas: by default they are written as they are."""
    count = sum(name.startswith(FORMULA) for name in ids)
    return (
        [
            f"{counted(count, 'id begins', 'ids begin')} like a formula; --csv-safe quotes them for "
            "spreadsheets"
        ]
        if count
        else []
    )


def check_columns(template: Template, findings: Sequence[str]) -> None:
    """Raises UserError where the template's columns are not `findings`, in any order."""
    missing = [name for name in findings if name not in template.columns]
    extra = [name for name in template.columns if name not in findings]
    if not missing and not extra:
        return
    sentences = [f"no column {name!r} ({nearest(name, template.columns)})" for name in missing]
    sentences += [f"column {name!r} is not a finding of this checkpoint" for name in extra]
    raise UserError(f"{template.path}:1: {'; '.join(sentences)}. Name the columns {', '.join(findings)}.")


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:10]) + (", ..." if len(names) > 10 else "")
