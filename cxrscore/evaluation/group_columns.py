"""A column of the label table, such as sex, scanner or site -> the groups of images that it makes.

In    the label table's file; what was measured (Scored); names of columns; where age bands begin.
Out   Grouping: a group for each image or study. What is blank, or no age, is a group of its own, `unknown`.
"""

import re
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cxrscore.core.errors import UserError, counted
from cxrscore.evaluation.joined_scores import Scored
from cxrscore.tables.csv_table import Table
from cxrscore.tables.datasets.column_names import named, plain
from cxrscore.tables.datasets.patient_ids import near_spellings, some, spellings
from cxrscore.tables.foreign_table import read_foreign_table
from cxrscore.tables.tabular_inputs import values_of

AGE_BAND = "AgeBand"  # made from the column of ages
AGES = ("age", "patientage", "ageyears", "ageinyears", "ageatstudy")
ALSO_CALLED = (  # one column under the names of several datasets
    ("sex", "gender", "patientsex", "patientgender"),
    ("viewposition", "view", "appa"),
    AGES,
)
BANDS = (18, 40, 60, 80)
AGE = re.compile(  # 58, 58.5, 058Y, 011M as DICOM writes it, 90+, > 89
    r"(?:> ?)?([0-9]{1,4}(?:\.[0-9]+)?) ?(?:\+|(Y|M|W|D)|years?|yrs?)?", re.IGNORECASE | re.ASCII
)
PER_YEAR = {"Y": 1.0, "M": 12.0, "W": 52.1775, "D": 365.2425}
OLDEST = 130  # years; NIH ChestX-ray14 has patients of 411
MOST_GROUPS = 50  # a column with more names something, as an id does
MOST_ALIKE = 5  # spellings that a note names
UNKNOWN, SEVERAL = "unknown", "several"


@dataclass(frozen=True)
class Grouping:
    """`member` (n,): each row's place in `groups`, which are in the order that they are shown in."""

    name: str
    groups: tuple[str, ...]
    member: NDArray[np.int64]
    notes: tuple[str, ...] = ()


def groupings(
    scored: Scored, labels_csv: Path, by: Sequence[str], *, id_column: str, bands: Sequence[int] = BANDS
) -> list[Grouping]:
    """One for each name in `by`. Raises UserError for a column that is not there or makes too many groups."""
    if not by:
        raise UserError(f"--by: names no column; list columns of {labels_csv}, such as Sex,AgeBand.")
    table = read_foreign_table(labels_csv)
    images = scored.images or [(name,) for name in scored.table.ids]
    return [_grouping(name, table, images, id_column=id_column, bands=checked_bands(bands)) for name in by]


def _grouping(
    name: str, table: Table, images: Sequence[Sequence[str]], *, id_column: str, bands: Sequence[int]
) -> Grouping:
    column = _column(name, table.columns)
    derived = column is None and plain(name) == plain(AGE_BAND)
    if derived:
        column = named(table.columns, AGES)
    if column is None:
        others = ", ".join(repr(other) for other in table.columns if other != id_column)
        raise UserError(
            f"--by {name}: no such column in {table.path}; there are {others}"
            f"{f'; {AGE_BAND} is made from a column Age' if derived else ''}."
        )
    notes = [] if plain(column) == plain(name) else [f"{name} is read from {column!r}"]
    cells = dict(zip(table.columns[column], values_of(table.columns[column]), strict=True))
    group_of = {value: value or UNKNOWN for value in cells.values()}
    if derived:
        group_of = {value: _band(value, bands) for value in group_of}
        odd = sorted(value for value, group in group_of.items() if value and group == UNKNOWN)
        if odd:
            rows = sum(cells[cell] in odd for cell in table.columns[column])
            notes.append(f"{counted(rows, 'cell')} of {column!r} that no age can be, such as {odd[0]!r}")
    elif UNKNOWN in {value.casefold() for value in group_of}:
        group_of |= {value: UNKNOWN for value in group_of if value.casefold() == UNKNOWN}
    of_image = _by_image(table, column, id_column, {cell: group_of[value] for cell, value in cells.items()})
    of_row = [_common({of_image[image] for image in those}) for those in images]
    notes += [] if derived else _spelt_alike({*of_row} - {UNKNOWN, SEVERAL}, column)
    order = _in_order(set(of_row), _band_names(bands) if derived else ())
    if len(order) > MOST_GROUPS:
        ages = f", or {AGE_BAND}" if plain(column) in AGES else ""
        raise UserError(
            f"--by {name}: {column!r} of {table.path} has {len(order):,} values; name a column of "
            f"{MOST_GROUPS} values or fewer{ages}."
        )
    place = {group: i for i, group in enumerate(order)}
    member = np.array([place[group] for group in of_row], dtype=np.int64)
    return Grouping(name, tuple(order), member, tuple(f"{table.path}: {note}." for note in notes))


def _spelt_alike(groups: set[str], column: str) -> list[str]:
    """Groups that may be one: `M` and `m`, `1` and `1.0`. Nothing is merged, as codes can need case."""
    alike = [*spellings(sorted(groups)), *near_spellings(groups)]
    said = "; ".join(some(names) for names in alike[:MOST_ALIKE])
    more = f"; and {counted(len(alike) - MOST_ALIKE, 'more')}" if len(alike) > MOST_ALIKE else ""
    how = "differ only in case, or are one number"
    return [f"groups of {column!r} that {how}: {said}{more}; each is measured apart"] if alike else []


def _column(name: str, columns: Mapping[str, Sequence[str]]) -> str | None:
    """As it is written; else whatever its case and separators; else by another dataset's name for it."""
    if name in columns:
        return name
    others = [words for words in ALSO_CALLED if plain(name) in words]
    return named(columns, (plain(name), *(others[0] if others else ())))


def _by_image(table: Table, column: str, id_column: str, group_of: Mapping[str, str]) -> dict[str, str]:
    """Image -> group. Raises UserError where two rows of one image differ, as those of readers can."""
    found: dict[str, str] = {}
    rows = zip(table.column(id_column), table.columns[column], table.lines, strict=True)
    for image, cell, line in rows:
        if found.setdefault(image, group_of[cell]) != group_of[cell]:
            raise UserError(
                f"{table.path}:{line}: {image!r} is {group_of[cell]!r} in {column!r} here and "
                f"{found[image]!r} above; correct the row, or name another column for --by."
            )
    return found


def _common(groups: set[str]) -> str:
    """What the images of a study agree on, those of which nothing is known apart."""
    known = groups - {UNKNOWN}
    return SEVERAL if len(known) > 1 else next(iter(known), UNKNOWN)


def _in_order(groups: set[str], first: Sequence[str]) -> list[str]:
    """Bands by age, others by name, and at the end what is not one group."""
    last = [name for name in (SEVERAL, UNKNOWN) if name in groups]
    known = [name for name in first if name in groups]
    return [*known, *sorted(groups.difference(known, last)), *last]


def years(cell: str) -> float | None:
    """58, 058Y, 011M, 90+ -> years; None for what is no age."""
    found = AGE.fullmatch(cell)
    value = float(found[1]) / PER_YEAR[(found[2] or "Y").upper()] if found else None
    return value if value is not None and value <= OLDEST else None


def _band(cell: str, bands: Sequence[int]) -> str:
    age = years(cell)
    return UNKNOWN if age is None else _band_names(bands)[bisect_right(bands, age)]


def _band_names(bands: Sequence[int]) -> list[str]:
    """40, 60 -> 0-39, 40-59, 60+."""
    starts = [0, *bands]
    return [*(f"{a}-{b - 1}" for a, b in zip(starts, bands, strict=False)), f"{bands[-1]}+"]


def checked_bands(bands: Sequence[int]) -> Sequence[int]:
    rising = [0, *bands] == sorted({0, *bands})
    if not bands or not rising or bands[-1] > OLDEST:
        given = ",".join(map(str, bands))
        raise UserError(
            f"--age-bands {given}: list the ages at which bands begin, each above the one before, from 1 to "
            f"{OLDEST}, such as {','.join(map(str, BANDS))}."
        )
    return bands
