"""What every label format makes of a table: named columns of text, and what a label's cell says."""

import re
from dataclasses import dataclass

from cxrscore.tables.datasets.patient_ids import number
from cxrscore.tables.image_names import without_blanks

BLANK, UNCERTAIN = -2, -1  # codes beside 0 and 1, until a policy has read them
LEGAL = "0, 1, -1 or blank (also 1.0, True and nan)"
WORDS = {"true": 1, "false": 0, **dict.fromkeys(("", "nan", "na", "n/a", "<na>", "#n/a", "null"), BLANK)}
DECIMAL_COMMA = re.compile(r"[-+\u2212]?[01],0{0,2}")  # 1,000 would be a thousand
NUMBERS = {0: 0, 1: 1, -1: UNCERTAIN}


def label_code(cell: str) -> int | None:
    """0, 1, UNCERTAIN or BLANK; None for a cell that is no label. `1.0` is what pandas makes of a column with
    blanks, `1,0` what a spreadsheet of a country with decimal commas makes of that.
    """
    word = without_blanks(cell).casefold()
    if word in WORDS:
        return WORDS[word]
    value = number(word.replace(",", ".") if DECIMAL_COMMA.fullmatch(word) else word)
    return None if value is None else next((code for label, code in NUMBERS.items() if value == label), None)


@dataclass(frozen=True)
class Columns:
    """Lists with one entry per row, `findings` as the cells are."""

    findings: dict[str, list[str]]
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
