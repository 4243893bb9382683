"""Ids of patients and studies as tables spell them: blanks around them, several spellings of one number.

In    cells of text.
Out   the cells without those blanks; the ids that spell one number; one id for each number, where the person
      declares that they mean one patient.
Numbers are compared exactly, as decimals: as floats, two ids of 20 digits can be one.
"""

import unicodedata
from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from decimal import Decimal, InvalidOperation

from cxrscore.core.errors import counted


def number(name: str) -> Decimal | None:
    """The number that an id spells, in the digits of any script; None where it is a name.

    1_001 is a name: it joins a patient and a study more often than it groups the digits of one number.
    """
    try:
        value = Decimal(name.replace("\u2212", "-"))  # a minus sign as typeset
    except InvalidOperation:
        return None
    return value if value.is_finite() and "_" not in name else None


def spellings(ids: Sequence[str], *, within: Sequence[str] | None = None) -> list[list[str]]:
    """Groups of two and more ids that spell one number, the shortest id first; `within`: owners, one per id,
    of which each has its own numbers.
    """
    groups: dict[Hashable, set[str]] = defaultdict(set)
    for owner, name in set(zip(within or [""] * len(ids), ids, strict=True)):
        if (value := number(name)) is not None:
            groups[owner, value].add(name)
    return _several(groups)


def near_spellings(ids: Iterable[str]) -> list[list[str]]:
    """Groups of two and more names, not numbers, that differ in case or Unicode form (NFC, NFD) alone."""
    groups: dict[Hashable, set[str]] = defaultdict(set)
    for name in set(ids):
        if number(name) is None:
            groups[unicodedata.normalize("NFC", name.casefold())].add(name)
    return _several(groups)


def one_id_per_number(ids: Sequence[str]) -> list[str]:
    """The shortest spelling for all spellings of a number, so that the order of rows decides nothing."""
    shortest = {name: names[0] for names in spellings(ids) for name in names}
    return [shortest.get(name, name) for name in ids]


def told(groups: Sequence[Sequence[str]], column: str) -> str:
    """How many ids spell how many numbers, with the first as an example."""
    return (
        f"{sum(map(len, groups))} ids of {column!r} spell {counted(len(groups), 'number')} in several ways, "
        f"such as {some(groups[0])}"
    )


def some(names: Sequence[str]) -> str:
    """The first names of a group that has two or more."""
    *others, last = map(repr, names[:3])
    return f"{', '.join(others)} and {last}"


def _several(groups: Mapping[Hashable, Iterable[str]]) -> list[list[str]]:
    ordered = [sorted(names, key=_by_length) for names in groups.values()]
    several = [names for names in ordered if len(names) > 1]
    return sorted(several, key=lambda names: [*map(_by_length, names)])


def _by_length(name: str) -> tuple[int, str]:
    return len(name), name
