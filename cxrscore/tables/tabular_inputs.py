"""Columns such as sex, age and view -> one number per image and column, as the training rows decide.

In    named columns of cells; of the training rows to choose encodings, of any rows to encode.
Out   Encoding, which a checkpoint holds as JSON; values (n, m) float32: a standardised number, or the place
      of a category in its encoding, NaN where a value is unknown.
A column whose training values are all numbers is one of numbers, any other one of categories.
"""

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cxrscore.core.errors import UserError, counted
from cxrscore.core.files import is_number
from cxrscore.tables.datasets.columns import BLANK, label_code
from cxrscore.tables.image_names import without_blanks

MOST_CATEGORIES = 20  # a column with more names something, as an id does
LARGEST = 1e15  # as numbers in JSON are taken for, see core/files.py
NUMBER = re.compile(r"[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]{1,2})?", re.ASCII)
Cells = Mapping[str, Sequence[str]]  # column -> a cell per image


@dataclass(frozen=True)
class Encoding:
    """Of one column. `categories` in the order of their places; a column of numbers has none, but the mean,
    the standard deviation and the extremes of its training values.
    """

    column: str
    categories: tuple[str, ...] = ()
    mean: float = 0.0
    sd: float = 1.0
    least: float = 0.0
    most: float = 0.0

    @property
    def numeric(self) -> bool:
        return not self.categories

    def as_json(self) -> dict[str, Any]:
        return asdict(self) | {"categories": list(self.categories)}

    @classmethod
    def told(cls, about: Any) -> "Encoding":
        """Back from JSON. Raises ValueError where no training has written this."""
        if not isinstance(about, Mapping) or about.keys() != cls.__dataclass_fields__.keys():
            raise ValueError("not the fields of an encoding")
        texts = about["categories"]
        if not isinstance(texts, Sequence) or isinstance(texts, str):
            raise ValueError("categories that are no list")
        names = [about["column"], *texts]
        numbers = [about[name] for name in ("mean", "sd", "least", "most")]
        if not all(isinstance(name, str) and name for name in names) or len({*texts}) < len(texts):
            raise ValueError("names that are not distinct texts")
        if not all(is_number(number, least=-math.inf) for number in numbers) or about["sd"] <= 0:
            raise ValueError("numbers that no column has")
        if len(texts) > MOST_CATEGORIES:
            raise ValueError(f"more than {MOST_CATEGORIES} categories")
        return cls(about["column"], tuple(texts), *map(float, numbers))

    def place(self, value: str) -> float | None:
        """A value that is not blank; None where this encoding does not know it."""
        if self.numeric:
            return (float(value) - self.mean) / self.sd if is_number_cell(value) else None
        return float(self.categories.index(value)) if value in self.categories else None


def is_number_cell(value: str) -> bool:
    return NUMBER.fullmatch(value) is not None and abs(float(value)) <= LARGEST


def values_of(cells: Sequence[str]) -> list[str]:
    """Cells without blanks at their ends; what is blank in a label table (nan, NA, ...) is empty here."""
    known = {cell: "" if label_code(cell) == BLANK else without_blanks(cell) for cell in set(cells)}
    return [known[cell] for cell in cells]


def choose_encodings(cells: Cells, *, source: str) -> tuple[Encoding, ...]:
    """`cells` of the training rows alone; `source` is what errors name. Raises UserError for a column without
    a value, or with too many values that are not numbers.
    """
    return tuple(_choose(column, [v for v in values_of(own) if v], source) for column, own in cells.items())


def _choose(column: str, values: Sequence[str], source: str) -> Encoding:
    if not values:
        raise UserError(
            f"{source}: {column!r} is blank in all training rows; fill it in, or leave it out of "
            "train.head.inputs."
        )
    if all(map(is_number_cell, values)):
        return _of_numbers(column, sorted(map(float, values)))
    categories = sorted(set(values))
    if len(categories) > MOST_CATEGORIES:
        odd = next(value for value in values if not is_number_cell(value))
        raise UserError(
            f"{source}: {column!r} has {len(categories):,} different values in the training rows, and not "
            f"all of them are numbers, such as {odd!r}; use a column of numbers (a decimal point, no unit), "
            f"or one with at most {MOST_CATEGORIES} values."
        )
    return Encoding(column, tuple(categories))


def _of_numbers(column: str, numbers: Sequence[float]) -> Encoding:
    """`numbers` sorted. By sums that round once: no order and no processor changes a bit."""
    least, most = numbers[0], numbers[-1]
    mean = math.fsum(numbers) / len(numbers)
    sd = math.sqrt(math.fsum((number - mean) ** 2 for number in numbers) / len(numbers))
    if least == most:
        mean, sd = least, 1.0  # exactly, where rounding may leave a spread
    return Encoding(column, (), mean, sd, least, most)


def encode(encodings: Sequence[Encoding], cells: Cells, *, source: str) -> NDArray[np.float32]:
    """(n, m), NaN where a cell is blank or its category is not known. Raises UserError for a cell in a column
    of numbers that is none.
    """
    columns = [_encoded(encoding, values_of(cells[encoding.column]), source) for encoding in encodings]
    return np.stack(columns, axis=1).astype(np.float32)


def _encoded(encoding: Encoding, values: Sequence[str], source: str) -> NDArray[np.float64]:
    place = {value: encoding.place(value) for value in set(values) if value}
    wrong = sorted(value for value, at in place.items() if at is None)
    if wrong and encoding.numeric:
        raise UserError(
            f"{source}: {encoding.column!r} is {wrong[0]!r}, and the models were trained with numbers there, "
            f"from {encoding.least:g} to {encoding.most:g}; write a number, or leave the cell blank where it "
            "is unknown."
        )
    known = [place.get(value) for value in values]
    return np.array([np.nan if at is None else at for at in known], dtype=np.float64)


def doubts(encodings: Sequence[Encoding], cells: Cells) -> list[str]:
    """What `encode` takes as unknown though it is not blank, and numbers that no training row has had."""
    found = [_doubt(encoding, Counter(values_of(cells[encoding.column]))) for encoding in encodings]
    return [note for note in found if note]


def _doubt(encoding: Encoding, values: Counter[str]) -> str:
    column = encoding.column
    if encoding.numeric:
        numbers = {value: float(value) for value in values if is_number_cell(value)}
        beyond = [v for v, number in numbers.items() if not encoding.least <= number <= encoding.most]
        what = f"outside the training rows' {encoding.least:g} to {encoding.most:g}"
    else:
        beyond = [value for value in values if value and encoding.place(value) is None]
        what = "that no training row has, and that count as unknown"
    images = sum(values[value] for value in beyond)
    return f"{column!r}: {counted(images, 'value')} {what}, such as {min(beyond)!r}" if beyond else ""


def with_encodings(head: Mapping[str, Any], encodings: Sequence[Encoding]) -> dict[str, Any]:
    """A head's settings as a checkpoint states them; a head without further inputs has none."""
    further = {"encodings": [encoding.as_json() for encoding in encodings]} if encodings else {}
    return {**head, **further}
