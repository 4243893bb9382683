"""What every label format makes of a table: named columns of text, and how a label is spelled there."""

from collections.abc import Mapping
from dataclasses import dataclass

BLANK, UNCERTAIN = -2, -1  # codes beside 0 and 1, until a policy has read them
WHOLE = {"0": 0, "1": 1, "-1": UNCERTAIN, "": BLANK}


@dataclass(frozen=True)
class Columns:
    """Lists with one entry a row, `findings` as the cells are. `spelling`: each legal cell -> its code."""

    findings: dict[str, list[str]]
    spelling: Mapping[str, int]
    patient: list[str] | None
    study: list[str] | None
    view: list[str] | None
    sex: list[str] | None
    age: list[str] | None


def first_filled(one: list[str] | None, other: list[str] | None) -> list[str] | None:
    """Cell by cell the one, or where it is blank the other; None where there is neither column."""
    if one is None or other is None:
        return one or other
    return [a or b for a, b in zip(one, other, strict=True)]
