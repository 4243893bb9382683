"""Columns of a table as numbers: training rows decide, and what they have not seen never passes for known."""

import json
from statistics import fmean, pstdev
from typing import Any

import numpy as np
import pytest

from cxrscore.core.errors import UserError
from cxrscore.tables.tabular_inputs import (
    MOST_CATEGORIES,
    Encoding,
    choose_encodings,
    doubts,
    encode,
    with_encodings,
)

AGES = ["61", "47.5", "", "80", "nan", " 33 "]
SEXES = ["M", "F", "M", "", "NA", "F "]


def chosen(**cells: list[str]) -> tuple[Encoding, ...]:
    return choose_encodings(cells, source="labels.csv")


def coded(encodings: tuple[Encoding, ...], **cells: list[str]) -> Any:
    return encode(encodings, cells, source="table.csv")


def test_a_column_of_numbers_is_standardised_by_its_training_values() -> None:
    encodings = chosen(Age=AGES)
    known = [61, 47.5, 80, 33]
    found = coded(encodings, Age=[*AGES, "100"])[:, 0]
    expected = [(age - fmean(known)) / pstdev(known) for age in (*known, 100)]
    assert np.allclose(found[[0, 1, 3, 5, 6]], expected, atol=1e-6)
    assert np.isnan(found[[2, 4]]).all()


def test_other_columns_are_categories_in_the_order_of_their_names() -> None:
    encodings = chosen(Sex=SEXES)
    assert encodings[0].categories == ("F", "M")
    found = coded(encodings, Sex=[*SEXES, "X", "m"])[:, 0]
    assert found.tolist()[:3] == [1, 0, 1]
    assert found[5] == 0
    assert np.isnan(found[[3, 4, 6, 7]]).all()


def test_neither_the_order_of_the_rows_nor_json_changes_an_encoding() -> None:
    ages = [f"{age:.3f}" for age in np.random.default_rng(0).normal(60, 18, 500)]
    forward, backward = chosen(Age=ages, Sex=SEXES), chosen(Age=ages[::-1], Sex=SEXES[::-1])
    assert forward == backward
    told = json.loads(json.dumps(with_encodings({"kind": "lamp"}, forward)))["encodings"]
    assert tuple(map(Encoding.told, told)) == forward


def test_a_head_without_inputs_is_stated_as_before() -> None:
    assert with_encodings({"kind": "lamp"}, ()) == {"kind": "lamp"}


def test_a_constant_column_is_zero_and_not_a_division_by_its_spread() -> None:
    assert coded(chosen(kV=["0.1"] * 7), kV=["0.1", "1.1"]).ravel() == pytest.approx([0, 1])


def test_a_word_in_a_column_of_numbers_is_refused() -> None:
    with pytest.raises(UserError, match=r"table.csv: 'Age' is '061Y'.*numbers there, from 33 to 80"):
        coded(chosen(Age=AGES), Age=["61", "061Y"])


@pytest.mark.parametrize("cell", ["1_000", "1,000", "inf", "1e99", "٣"])
def test_what_only_a_program_takes_for_a_number_is_a_word(cell: str) -> None:
    with pytest.raises(UserError, match="write a number"):
        coded(chosen(Age=AGES), Age=[cell])


def test_a_column_that_is_blank_in_training_is_refused() -> None:
    with pytest.raises(UserError, match="'Sex' is blank in all training rows"):
        chosen(Sex=["", "nan", " "])


def test_a_column_of_too_many_words_is_refused() -> None:
    assert len(chosen(View=[f"v{i}" for i in range(MOST_CATEGORIES)])[0].categories) == MOST_CATEGORIES
    with pytest.raises(UserError, match=r"'Age' has 21 different values.*such as '020Y'"):
        chosen(Age=[f"{20 + i:03d}Y" for i in range(MOST_CATEGORIES + 1)])


def test_what_training_has_not_seen_is_told() -> None:
    encodings = chosen(Age=AGES, Sex=SEXES)
    notes = doubts(encodings, {"Age": ["61", "7", "99", ""], "Sex": ["M", "X", "X", ""]})
    assert notes == [
        "'Age': 2 values outside the training rows' 33 to 80, such as '7'",
        "'Sex': 2 values that no training row has, and that count as unknown, such as 'X'",
    ]
    assert doubts(encodings, {"Age": AGES, "Sex": SEXES}) == []


@pytest.mark.parametrize(
    "change",
    [
        {"column": ""},
        {"categories": ["M", "M"]},
        {"categories": "MF"},
        {"categories": [f"v{i}" for i in range(MOST_CATEGORIES + 1)]},
        {"sd": 0.0},
        {"sd": float("nan")},
        {"mean": "60"},
        {"more": 1},
    ],
)
def test_what_no_training_writes_is_no_encoding(change: dict[str, Any]) -> None:
    about = chosen(Sex=SEXES)[0].as_json()
    assert Encoding.told(about).as_json() == about
    with pytest.raises(ValueError, match=r"fields|names|numbers|categories"):
        Encoding.told(about | change)
