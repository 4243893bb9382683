"""The score table: one row an image, its id and then a probability a finding.

In    probabilities (n, L) float32 with ids and findings; a template, as a competition's sample submission is.
Out   CSV, `%.7g`, `\\n` line ends, whole or not at all; templates and out-of-fold tables have the same shape.
Names come out byte for byte as they came in. <out>.errors.csv is for people: a spreadsheet runs none of it.
"""

import math
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from cxrscore.errors import UserError
from cxrscore.files import Table, nearest, read_table, write_table

FORMULA = ("=", "+", "-", "@", "\t", "\r")  # what spreadsheets run, CWE-1236
ID_OF: dict[str, Callable[[str], str]] = {
    "relpath": str,
    "name": lambda path: PurePosixPath(path).name,
    "stem": lambda path: PurePosixPath(path).stem,
}


@dataclass(frozen=True)
class Template:
    """The rows and columns that a competition wants, in its order. `columns` are without the id column."""

    path: Path
    id_column: str
    ids: list[str]
    columns: list[str]


def read_template(path: Path) -> Template:
    """Its values are not looked at. Raises UserError where an id comes twice."""
    table = read_table(path)
    id_column, *columns = table.columns
    return Template(path, id_column, _unique_ids(table, id_column), columns)


def ids_of(paths: Sequence[str], kind: str, *, notes: list[str]) -> list[str]:
    """Relative paths -> ids: `relpath`, `name` or `stem`. Raises UserError where two files get one id.

    What a table or a spreadsheet may make of them is added to `notes`.
    """
    plain = [ID_OF[kind](path) for path in paths]
    ids = [_writable(name) for name in plain]
    escaped = sum(a != b for a, b in zip(plain, ids, strict=True))
    if escaped:
        notes.append(f"{escaped} file names are not UTF-8; their odd bytes are written as %XX")
    notes += formula_notes(ids)
    counts = Counter(ids)
    clashes = [f"{path!r} ({name!r})" for path, name in zip(paths, ids, strict=True) if counts[name] > 1]
    if clashes:
        raise UserError(f"{len(clashes)} files share an id ({kind}): {_some(clashes)}; use --id relpath.")
    return ids


def _writable(name: str) -> str:
    """A name as a UTF-8 table can hold it: where bytes of it are not UTF-8, those and % become %XX."""
    odd = [char for char in name if "\udc80" <= char <= "\udcff"]
    if not odd:
        return name
    return "".join(f"%{ord(c) - 0xDC00:02X}" if c in odd else "%25" if c == "%" else c for c in name)


def match_template(
    template: Template, ids: Sequence[str], findings: Sequence[str], *, notes: list[str]
) -> list[int]:
    """For each row of the template, the position of its file in `ids`. What was noticed is added to `notes`.

    Raises UserError where the columns are not `findings`, in any order, or a row has no file.
    """
    _check_columns(template, findings)
    position = {name: i for i, name in enumerate(ids)}
    composed = _unique_when_composed(ids)
    chosen, missing, respelled = [], [], 0
    for name in template.ids:
        at = position.get(name)
        if at is None:
            at = composed.get(unicodedata.normalize("NFC", name))
            respelled += at is not None
        if at is None:
            missing.append(repr(name))
        else:
            chosen.append(at)
    if missing:
        there = f"; the files are named like {ids[0]!r}" if ids else ""
        raise UserError(
            f"{template.path}: {len(missing)} ids have no file: {_some(missing)}{there} (see --id)."
        )
    if len(set(chosen)) < len(chosen):
        raise UserError(f"{template.path}: two ids differ in Unicode form alone and mean one file; keep one.")
    if respelled:
        notes.append(f"{respelled} ids of {template.path} match a file in another Unicode form (NFC, NFD)")
    if len(ids) > len(chosen):
        notes.append(f"{len(ids) - len(chosen)} files are not in {template.path} and are left out")
    return chosen


def formula_notes(ids: Iterable[str]) -> list[str]:
    """A note where a spreadsheet would run ids as formulas: they are written as they are all the same."""
    count = sum(name.startswith(FORMULA) for name in ids)
    return [f"{count} ids begin like a formula; open the table in a spreadsheet with care"] if count else []


def write_scores(
    path: Path, id_column: str, ids: Sequence[str], findings: Sequence[str], probs: NDArray[np.float32]
) -> None:
    """`probs` (n, L): row i belongs to `ids[i]`, column j to `findings[j]`."""
    assert probs.shape == (len(ids), len(findings)), probs.shape
    assert np.isfinite(probs).all(), "a score that is no number"
    rows = ((name, *(f"{prob:.7g}" for prob in row.tolist())) for name, row in zip(ids, probs, strict=True))
    write_table(path, [id_column, *findings], rows)


def read_scores(path: Path) -> tuple[str, list[str], list[str], NDArray[np.float32]]:
    """-> id column, ids, findings, probabilities (n, L). Raises UserError for anything not from 0 to 1."""
    table = read_table(path)
    id_column, *findings = table.columns
    if not findings:
        raise UserError(f"{path}:1: no finding beside {id_column!r}; a score table was expected.")
    probs = np.stack([_probabilities(table, name) for name in findings], axis=1)
    return id_column, _unique_ids(table, id_column), findings, probs


def write_errors(path: Path, rows: Iterable[tuple[str, str, str, str]]) -> None:
    """`rows` are path, stage, kind, message."""
    safe = (["'" + cell if cell.startswith(FORMULA) else cell for cell in row] for row in rows)
    write_table(path, ["path", "stage", "kind", "message"], safe)


def _check_columns(template: Template, findings: Sequence[str]) -> None:
    missing = [name for name in findings if name not in template.columns]
    extra = [name for name in template.columns if name not in findings]
    if not missing and not extra:
        return
    sentences = [f"no column {name!r} ({nearest(name, template.columns)})" for name in missing]
    sentences += [f"column {name!r} is no finding of this checkpoint" for name in extra]
    raise UserError(f"{template.path}:1: {'; '.join(sentences)}. Scored are {', '.join(findings)}.")


def _unique_ids(table: Table, id_column: str) -> list[str]:
    ids = table.columns[id_column]
    lines: dict[str, int] = {}
    for name, line in zip(ids, table.lines, strict=True):
        if name in lines:
            raise UserError(
                f"{table.path}:{line}: id {name!r} is also on line {lines[name]}; keep one. "
                "The first column is taken for the id."
            )
        lines[name] = line
    return ids


def _unique_when_composed(ids: Sequence[str]) -> dict[str, int]:
    """NFC form -> position, for the forms that mean one file: macOS stores NFD, tables hold NFC."""
    positions = defaultdict(list)
    for i, name in enumerate(ids):
        positions[unicodedata.normalize("NFC", name)].append(i)
    return {name: found[0] for name, found in positions.items() if len(found) == 1}


def _probabilities(table: Table, finding: str) -> NDArray[np.float32]:
    cells = table.columns[finding]
    probs = np.array([_number(cell) for cell in cells])
    good = (probs >= 0) & (probs <= 1)
    if not good.all():
        i = int(np.argmin(good))
        raise UserError(f"{table.path}:{table.lines[i]}: {finding}: a number from 0 to 1, not {cells[i]!r}.")
    return probs.astype(np.float32)


def _number(cell: str) -> float:
    try:
        return float(cell)
    except ValueError:
        return math.nan


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:10]) + (", ..." if len(names) > 10 else "")
