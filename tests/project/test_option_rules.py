"""One rule for an option and the argument of its name: the same values, the same words."""

from pathlib import Path

import numpy as np
import pytest

from cxrscore.cli.options import fold_list, view_list
from cxrscore.core.errors import UserError
from cxrscore.project.option_rules import is_whole, table_format
from cxrscore.python_api import arguments


@pytest.mark.parametrize(("text", "folds"), [("0,2", [0, 2]), ("2, 0", [2, 0]), ("1", np.array([1]))])
def test_folds_are_the_same_as_text_and_as_numbers(text: str, folds: list[int]) -> None:
    assert fold_list(text) == arguments.fold_numbers(folds)


@pytest.mark.parametrize(
    ("text", "folds"), [("0,0", [0, 0]), ("0,x", [0, "x"]), ("-1", [-1]), ("1.5", [1.5])]
)
def test_wrong_folds_are_refused_in_the_same_words(text: str, folds: list[int]) -> None:
    with pytest.raises(UserError, match=r"\A--folds: .*; list distinct fold numbers, such as 0,2"):
        fold_list(text)
    with pytest.raises(UserError, match=r"\Afolds: .*; list distinct fold numbers, such as \[0, 2\]"):
        arguments.fold_numbers(folds)


def test_views_are_the_same_as_text_and_as_names() -> None:
    assert view_list("plain,zoom") == arguments.view_names(["plain", "zoom"]) == ("plain", "zoom")
    assert view_list("none") == arguments.view_names("plain") == ("plain",)


@pytest.mark.parametrize("wrong", ["zoom,plain", "plain,plain", "plain,mirror", ""])
def test_wrong_views_are_refused_in_the_same_words(wrong: str) -> None:
    words = "list distinct names of plain, flip, zoom, zoom_flip, plain first"
    with pytest.raises(UserError, match=rf"\A--views: .*{words}"):
        view_list(wrong)
    with pytest.raises(UserError, match=rf"\Aviews: .*{words}"):
        arguments.view_names(wrong.split(","))


def test_a_format_and_a_suffix_may_not_contradict_each_other() -> None:
    assert table_format(Path("sub.txt"), None, called="--format") == "csv"
    assert table_format(Path("sub.parquet"), None, called="--format") == "parquet"
    assert table_format(Path("sub"), "parquet", called="--format") == "parquet"
    with pytest.raises(UserError, match=r"sub\.csv: --format is parquet; name the table accordingly"):
        table_format(Path("sub.csv"), "parquet", called="--format")


@pytest.mark.parametrize(("value", "whole"), [(3, True), (np.int64(3), True), (True, False), (3.0, False)])
def test_a_whole_number_is_no_truth_value_and_no_fraction(value: object, whole: bool) -> None:
    assert is_whole(value) is whole
